/** blasst: dense attention that leaves out tiles which cannot weigh. */

import { attend, f32, pattern } from '../dsl/index.ts'

/**
 * Skipped softmax (BLASST, 2025): scores are always computed; a tile of `tileQ` queries by `tileKv` keys is
 * left out, values and all, if for each of its queries the tile's greatest logit lies below the running
 * maximum by more than the logarithm of `lambda`. Tiles are visited from the first key on, and the first is
 * never left out.
 *
 * The tile is part of the meaning: larger ones are left out less, and `lambda` is calibrated for one size.
 * A `lambda` of scale / kvLen, which deployments use, is a value for each call; 0 leaves nothing out.
 */
export const blasst = pattern({
  name: 'blasst',
  cite: 'BLASST, arXiv:2512.12087',
  consts: { tileQ: 128, tileKv: 128 },
  params: { lambda: f32(1e-3, { min: 0, max: 1 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, tileQ, tileKv, lambda }) =>
    attend(Q, K, V, undefined, {
      tile: { q: tileQ, kv: tileKv },
      skip: ({ tileMax, rowMax }) => tileMax < rowMax + Math.log(lambda),
    }),
})

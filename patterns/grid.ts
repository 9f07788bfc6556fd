/** grid: rows and columns that recur with a stride, and recent keys. */

import { i32, mod, pattern, perHead } from '../dsl/index.ts'

/**
 * Grid heads of vision-language models (MMInference, 2025): the tokens whose position is `phase` modulo
 * `stride`, often one patch of every frame, are significant: each query sees them as keys, and as queries
 * they see every key. All other pairs are kept inside a band of the last `window` keys. Causal by original
 * position. All count tokens. MMInference searches stride and phase per head online, here they are given; as
 * its kernels are not public, this follows their description.
 */
export const grid = pattern({
  name: 'grid',
  cite: 'MMInference, arXiv:2504.16083',
  params: {
    stride: perHead(i32(64, { min: 1, max: 2 ** 20 })),
    phase: perHead(i32(0, { min: 0, max: 2 ** 20 })),
    window: i32(256, { min: 1, max: 2 ** 24 }),
  },
  mask: ({ q, kv, stride, phase, window }) =>
    kv <= q && (q - kv < window || mod(q - phase, stride) === 0 || mod(kv - phase, stride) === 0),
})

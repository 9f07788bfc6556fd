/** power: blocks at distances that are powers of two. */

import { floorDiv, i32, isPow2, pattern } from '../dsl/index.ts'

/**
 * PowerAttention (2025): causally, each query sees its own block, the blocks 1, 2, 4, 8, .. blocks before it,
 * the last `window` keys and the first `sinkTokens` keys. With few keys a row, information crosses a distance
 * of d blocks in at most log2(d) + 1 layers. `block`, `window` and `sinkTokens` count tokens, the window the
 * query's own included.
 */
export const power = pattern({
  name: 'power',
  cite: 'PowerAttention, arXiv:2503.03588',
  params: {
    block: i32(64, { min: 1, max: 2 ** 22 }),
    window: i32(256, { min: 1, max: 2 ** 24 }),
    sinkTokens: i32(64, { min: 0, max: 2 ** 24 }),
  },
  mask: ({ q, kv, block, window, sinkTokens }) => {
    const distance = floorDiv(q, block) - floorDiv(kv, block)
    return kv <= q && (distance === 0 || isPow2(distance) || q - kv < window || kv < sinkTokens)
  },
})

/** strided: recent keys and every stride-th key before them. */

import { i32, mod, pattern } from '../dsl/index.ts'

/**
 * Strided attention (Sparse Transformer, 2019), both of its heads merged into one: each query sees the last
 * `stride` keys and every `stride`-th key before it, counted back from itself. `stride` counts tokens; near
 * the square root of the length it makes both parts cost the same.
 */
export const strided = pattern({
  name: 'strided',
  cite: 'Sparse Transformer, arXiv:1904.10509',
  params: { stride: i32(128, { min: 1, max: 2 ** 20 }) },
  mask: ({ q, kv, stride }) => kv <= q && (q - kv < stride || mod(q - kv, stride) === 0),
})

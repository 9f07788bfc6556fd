/** fixed: the query's own block and the last columns of every block before it. */

import { floorDiv, i32, mod, pattern } from '../dsl/index.ts'

/**
 * Fixed attention (Sparse Transformer, 2019), both of its heads merged into one: each query sees its own
 * block of `stride` keys and, of every block, the last `summary` columns, causally. Heads take turns over
 * `groups` adjacent groups of such columns, head 0 the last group, head 1 the one before it; 1 gives all
 * heads the same. `stride` and `summary` count tokens; groups * summary should not exceed stride, as columns
 * before the block's start do not exist.
 */
export const fixed = pattern({
  name: 'fixed',
  cite: 'Sparse Transformer, arXiv:1904.10509',
  params: {
    stride: i32(128, { min: 1, max: 2 ** 20 }),
    summary: i32(8, { min: 1, max: 2 ** 16 }),
    groups: i32(1, { min: 1, max: 64 }),
  },
  mask: ({ q, kv, head, stride, summary, groups }) => {
    const end = stride - mod(head, groups) * summary
    const column = mod(kv, stride)
    return (
      kv <= q && (floorDiv(q, stride) === floorDiv(kv, stride) || (column >= end - summary && column < end))
    )
  },
})

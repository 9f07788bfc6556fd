/** minference: heads that select by columns and diagonals, by blocks, or by position, each as its numbers say. */

import {
  attend,
  blocks,
  dot,
  i32,
  pattern,
  perHead,
  pool,
  skew,
  slice,
  softmax,
  topK,
  union,
  where,
  whole,
  within,
} from '../dsl/index.ts'

const budget = (tokens: number) => perHead(i32(tokens, { min: 0, max: 2 ** 22 }))

/**
 * The three kinds of heads of MInference (2024) in one program, so that one launch a stage serves a whole
 * layer whatever its heads are. A head's kind is which of its numbers are not 0; the stages of the other kinds
 * select nothing for it:
 *
 * - vertical-slash: the `vertical` keys and the `slash` distances that the last `last` queries weigh most, as
 *   in minference-vertical-slash;
 * - block-sparse: for each block of queries the `k` blocks of keys of the greatest pooled inner product, as in
 *   minference-block;
 * - A-shape: the first `sinkTokens` keys and the last `window`, as in a-shape.
 *
 * A head with several kinds of numbers attends the union. The first `firstKeys` keys are forced where the head
 * has verticals at all, the `nearest` distances where it has slashes. readProfile() and paramsOf() of
 * heddle/runtime make the numbers from a configuration that MInference's search wrote.
 */
export const minference = pattern({
  name: 'minference',
  cite: 'MInference, arXiv:2407.02490',
  consts: { block: 64, last: 64, firstKeys: 30, nearest: 100 },
  params: {
    vertical: budget(1000),
    slash: budget(6096),
    k: budget(0),
    window: budget(0),
    sinkTokens: budget(0),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, block, last, firstKeys, nearest, vertical, slash, k, window, sinkTokens }) => {
    const shape = where(({ q, kv, head }) => q - kv < window.at(head) || kv < sinkTokens.at(head))
    const byBlock = dot(pool(Q, blocks(block), 'sum'), pool(K, blocks(block), 'sum'))
    // Without the limit heads that take no block would still compute a score for every pair of blocks.
    const taking = where(k, (n) => n > 0)
    const near = topK(within(byBlock, taking), k)
    const p = softmax(dot(slice(Q, -last), K, { scale }))
    const verticals = topK(pool(p, { q: whole }, 'sum'), vertical, {
      force: ({ kv, head }) => kv.index < firstKeys && vertical.at(head) > 0,
    })
    const slashes = topK(pool(skew(p), { q: whole }, 'sum'), slash, {
      force: ({ kv, head }) => kv.index < nearest && slash.at(head) > 0,
    })
    return attend(Q, K, V, union(shape, pool(slashes, { q: blocks(block) }, 'any'), near, verticals))
  },
})

/** minference-vertical-slash: key columns and diagonals that the last queries weigh most. */

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
  whole,
} from '../dsl/index.ts'

/**
 * Verticals and slashes (MInference, 2024): the attention of the last `last` queries is summed by key and
 * by distance; the `vertical` greatest keys and the `slash` greatest distances are kept for all queries.
 * Distances are drawn for blocks of `block` queries: a block sees the keys at one of them from any of its
 * queries. The first `firstKeys` keys and the `nearest` distances are forced and cost of the budgets, but
 * are never dropped.
 *
 * This is the exact set. The release's index builder rounds runs of keys up to whole blocks, which adds up
 * to `block` - 1 keys to each, and drops verticals right of a block's last run. Under chunked prefill the
 * last queries are those of the chunk.
 */
export const minferenceVerticalSlash = pattern({
  name: 'minference-vertical-slash',
  cite: 'MInference, arXiv:2407.02490',
  consts: { block: 64, last: 64, firstKeys: 30, nearest: 100 },
  params: {
    vertical: perHead(i32(1000, { min: 1, max: 2 ** 22 })),
    slash: perHead(i32(6096, { min: 1, max: 2 ** 22 })),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, block, last, firstKeys, nearest, vertical, slash }) => {
    const p = softmax(dot(slice(Q, -last), K, { scale }))
    const byKey = pool(p, { q: whole }, 'sum')
    const byDistance = pool(skew(p), { q: whole }, 'sum')
    const verticals = topK(byKey, vertical, { force: ({ kv }) => kv.index < firstKeys })
    const slashes = topK(byDistance, slash, { force: ({ kv }) => kv.index < nearest })
    return attend(Q, K, V, union(pool(slashes, { q: blocks(block) }, 'any'), verticals))
  },
})

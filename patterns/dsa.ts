/** dsa: the tokens that a small learned indexer scores best, one set for all heads. */

import { attend, dot, i32, map, max, pattern, pool, quantize, rows, table, topK } from '../dsl/index.ts'

/**
 * DeepSeek Sparse Attention (DeepSeek-V3.2, 2025): an indexer with heads of its own scores every earlier
 * token in fp8; the positive parts of its heads' inner products are added up by the query's weights, and
 * each query attends the `k` best tokens, the same for all heads. Nothing is forced.
 *
 * `qIndex` and `kIndex` are the indexer's queries and its one head of keys, after its rotary embedding;
 * `weight` [batch, row, index head] holds what the query gives each index head, its scales included.
 */
export const dsa = pattern({
  name: 'dsa',
  cite: 'DeepSeek-V3.2, arXiv:2512.02556',
  params: { k: i32(2048, { min: 1, max: 2 ** 22 }) },
  tables: {
    qIndex: rows('q', 'indexHead'),
    kIndex: rows('kv', 'request'),
    weight: table('f32', ['batch', 'qLen', 'indexHead']),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, qLen, kvLen, k, qIndex, kIndex, weight }) => {
    const logits = dot(quantize(qIndex, 'fp8'), quantize(kIndex, 'fp8'))
    const weighed = map(
      logits,
      (s, { q, head, batch }) => weight.at(batch, q.first - (kvLen - qLen), head) * max(s, 0),
    )
    return attend(Q, K, V, topK(pool(weighed, { share: 'request' }, 'sum'), k))
  },
})

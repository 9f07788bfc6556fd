/** hisa: a learned indexer that looks at blocks first, and at tokens of the best blocks alone. */

import {
  attend,
  blocks,
  dot,
  floorDiv,
  i32,
  map,
  max,
  pattern,
  pool,
  quantize,
  rows,
  table,
  topK,
  within,
  type UnitPair,
} from '../dsl/index.ts'

/**
 * Hierarchical indexing (HISA, 2026) of DeepSeek Sparse Attention: the indexer's fp8 keys are averaged over
 * blocks of `block` tokens and rounded to fp8 again; each query scores the means as it would tokens and
 * keeps the `coarse` best blocks, the first and its own among them. Of the tokens of those blocks it
 * attends the `k` best, the same for all heads.
 *
 * `qIndex`, `kIndex` and `weight` are what dsa reads. With `coarse` as large as the number of blocks the
 * sets are those of dsa.
 */
export const hisa = pattern({
  name: 'hisa',
  cite: 'HISA, arXiv:2603.28458',
  consts: { block: 128 },
  params: { coarse: i32(64, { min: 2, max: 2 ** 20 }), k: i32(2048, { min: 1, max: 2 ** 22 }) },
  tables: {
    qIndex: rows('q', 'indexHead'),
    kIndex: rows('kv', 'request'),
    weight: table('f32', ['batch', 'qLen', 'indexHead']),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, qLen, kvLen, block, coarse, k, qIndex, kIndex, weight }) => {
    const [queries, keys] = [quantize(qIndex, 'fp8'), quantize(kIndex, 'fp8')]
    const means = quantize(pool(keys, blocks(block), 'mean'), 'fp8')
    const weigh = (s: number, { q, head, batch }: UnitPair) =>
      weight.at(batch, q.first - (kvLen - qLen), head) * max(s, 0)
    const byBlock = pool(map(dot(queries, means), weigh), { share: 'request' }, 'sum')
    const byToken = pool(map(dot(queries, keys), weigh), { share: 'request' }, 'sum')
    const candidates = topK(byBlock, coarse, {
      force: ({ q, kv }) => kv.index === 0 || kv.index === floorDiv(q.first, block),
    })
    return attend(Q, K, V, topK(within(byToken, candidates), k))
  },
})

/** nsa: compressed keys, the blocks that they point at, and a window, added up by gates. */

import {
  attend,
  blocks,
  dot,
  floorDiv,
  gated,
  i32,
  linear,
  pattern,
  pool,
  softmax,
  table,
  topK,
  where,
  windows,
} from '../dsl/index.ts'

/**
 * Native sparse attention (NSA, 2025): windows of `size` keys and values, one every `step` tokens, are
 * compressed by a learned linear map, and each query attends those that lie wholly before it. The same
 * probabilities, added up over the heads of a group and over blocks of `block` tokens (a window that
 * straddles blocks counts by its tokens in each), rank the blocks: each query of the group attends the `n`
 * best, of which the first block and its last two are forced. The third branch is the last `window` keys.
 * Each branch has a softmax of its own; their outputs are added up by `gate`.
 *
 * `wk` and `wv` [kv head, window member, channel, channel] with `bk` and `bv` [kv head, channel] are the
 * maps, position embeddings folded into the latter; `gate` [batch, head, row, branch] holds the gates,
 * after their sigmoid. Keys, and values, which are as wide, are shared by the branches.
 */
export const nsa = pattern({
  name: 'nsa',
  cite: 'NSA, arXiv:2502.11089',
  consts: { size: 32, step: 16, block: 64 },
  params: { n: i32(16, { min: 1, max: 2 ** 20 }), window: i32(512, { min: 1, max: 2 ** 22 }) },
  tables: {
    wk: table('f32', ['kvHead', 'size', 'headDim', 'headDim']),
    bk: table('f32', ['kvHead', 'headDim']),
    wv: table('f32', ['kvHead', 'size', 'headDim', 'headDim']),
    bv: table('f32', ['kvHead', 'headDim']),
    gate: table('f32', ['batch', 'head', 'qLen', 3]),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, qLen, kvLen, size, step, block, n, window, wk, bk, wv, bv, gate }) => {
    const keys = linear(pool(K, windows(size, step), 'concat'), wk, bk)
    const values = linear(pool(V, windows(size, step), 'concat'), wv, bv)
    const p = softmax(dot(Q, keys, { scale, visible: 'all' }))
    const importance = pool(pool(p, { share: 'kvHead' }, 'sum'), { kv: blocks(block) }, 'sum')
    const chosen = topK(importance, n, {
      force: ({ q, kv }) => kv.index === 0 || floorDiv(q.first, block) - kv.index < 2,
    })
    const row = (q: number) => q - (kvLen - qLen)
    return gated(
      [
        attend(Q, keys, values, undefined, { visible: 'all' }),
        ({ batch, head, q }) => gate.at(batch, head, row(q), 0),
      ],
      [attend(Q, K, V, chosen), ({ batch, head, q }) => gate.at(batch, head, row(q), 1)],
      [
        attend(
          Q,
          K,
          V,
          where(({ q, kv }) => q - kv < window),
        ),
        ({ batch, head, q }) => gate.at(batch, head, row(q), 2),
      ],
    )
  },
})

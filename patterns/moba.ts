/** moba: each query routed to the key blocks whose mean it likes best. */

import { attend, blocks, dot, floorDiv, i32, pattern, pool, topK } from '../dsl/index.ts'

/**
 * Mixture of block attention (MoBA, 2025): each query of each head attends `k` blocks of `block` keys, its
 * own among them and the others by the inner product, unscaled, with the mean of their keys. A block is
 * open to a query from its first token on; FlashMoBA opens it behind its last, which is `visible: 'all'`.
 */
export const moba = pattern({
  name: 'moba',
  cite: 'MoBA, arXiv:2502.13189',
  consts: { block: 512 },
  params: { k: i32(3, { min: 1, max: 2 ** 20 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, block, k }) => {
    const gate = dot(Q, pool(K, blocks(block), 'mean'))
    const routed = topK(gate, k, { force: ({ q, kv }) => kv.index === floorDiv(q.first, block) })
    return attend(Q, K, V, routed)
  },
})

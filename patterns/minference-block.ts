/** minference-block: the key blocks that a query block's pooled inner product picks. */

import { attend, blocks, dot, i32, pattern, perHead, pool, topK } from '../dsl/index.ts'

/**
 * Block-sparse heads (MInference, 2024): queries and keys are summed over blocks of `block` tokens, and each
 * query block attends the `k` key blocks of the greatest inner product. Sums rank as MInference's means do,
 * which count the padding of the last block; neither a scale nor a softmax changes the order. No block is
 * forced, so a query may miss its own. Differs from the release where the length is a multiple of the block:
 * there a block of padding is ranked with the others.
 */
export const minferenceBlock = pattern({
  name: 'minference-block',
  cite: 'MInference, arXiv:2407.02490',
  consts: { block: 64 },
  params: { k: perHead(i32(100, { min: 1, max: 2 ** 20 })) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, block, k }) => {
    const scores = dot(pool(Q, blocks(block), 'sum'), pool(K, blocks(block), 'sum'))
    return attend(Q, K, V, topK(scores, k))
  },
})

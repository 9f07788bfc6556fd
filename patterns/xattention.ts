/** xattention: the key blocks that hold a share of the mass that antidiagonals estimate. */

import { attend, blocks, dot, f32, pattern, perHead, pool, softmax, topP } from '../dsl/index.ts'

/**
 * Antidiagonal scoring (XAttention, 2025): each patch of `step` by `step` logits is estimated by the sum
 * along its antidiagonal, and a softmax over the patches of a row gives weights, which are summed over
 * blocks of `block` tokens. A query block attends the first key block, its own, and the next greatest until
 * they hold `mass` of the row's weight; the block that reaches it is taken.
 *
 * This is the rule as intended: in the release, the first chunk of an estimate takes one more block,
 * because the flag of the first block is overwritten there. Sums along the antidiagonals of the diagonal's
 * patches cross it, so tokens are scored with the mask off and patches with it on.
 */
export const xattention = pattern({
  name: 'xattention',
  cite: 'XAttention, arXiv:2503.16428',
  consts: { block: 128, step: 16 },
  params: { mass: perHead(f32(0.9, { min: 0, max: 1 })) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, block, step, mass }) => {
    const patches = pool(
      dot(Q, K, { scale: scale / step, visible: 'off' }),
      { q: blocks(step), kv: blocks(step) },
      'sum',
      ({ q, kv, into }) => q.index - into.q.index * step + (kv.index - into.kv.index * step) === step - 1,
    )
    const weights = pool(softmax(patches), { q: blocks(block), kv: blocks(block) }, 'sum')
    const chosen = topP(weights, mass, { force: ({ q, kv }) => kv.index === 0 || kv.index === q.index })
    return attend(Q, K, V, chosen)
  },
})

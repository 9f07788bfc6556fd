/** anchor: keys that come within a distance of the best of a region attended before. */

import { attend, blocks, dot, f32, floorDiv, pattern, pool, where } from '../dsl/index.ts'

/**
 * Difference-aware stripes (AnchorAttention, 2025): the first block of `block` keys and a query's own group
 * of `group` queries are attended exactly. The mean of their row maxima over a block of queries is its
 * anchor; a key before the group is kept for all of it if, for any of its blocks, the logit with the
 * block's mean query reaches the anchor less `theta`, in natural-log units. Attention goes on over these
 * keys in the same softmax.
 *
 * The regions are the paper's. The released kernels begin with the first `group` keys instead and draw
 * stripes from the second block on, so that some keys count twice and the block before the group never
 * does.
 */
export const anchor = pattern({
  name: 'anchor',
  cite: 'AnchorAttention, arXiv:2505.23520',
  consts: { block: 128, group: 2048 },
  params: { theta: f32(12) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, block, group, theta }) => {
    const base = attend(
      Q,
      K,
      V,
      where(({ q, kv }) => kv < block || floorDiv(q, group) === floorDiv(kv, group)),
    )
    const bar = pool(base.max, { q: blocks(block) }, 'mean')
    const near = where(dot(pool(Q, blocks(block), 'mean'), K, { scale }), bar, (s, m) => s + theta >= m)
    return attend(Q, K, V, pool(near, { q: blocks(group) }, 'any'), { after: base })
  },
})

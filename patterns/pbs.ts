/** pbs: blocks of keys that were sorted within segments by what the last queries weigh. */

import {
  argsort,
  attend,
  blocks,
  dot,
  f32,
  floorDiv,
  map,
  pattern,
  permute,
  pool,
  slice,
  softmax,
  topP,
  union,
  where,
  whole,
} from '../dsl/index.ts'

/**
 * Permuted block-sparse attention (PBS-Attn, 2025): in every whole segment of `segment` keys the keys are
 * put in falling order of the mean probability that the last `block` queries give them, causality aside.
 * Blocks of sorted keys are then estimated by pooled queries and keys, and a query block attends the least
 * blocks of earlier segments that hold `mass` of the probability, its own segment, and the block of the
 * first token.
 *
 * Means count the padding of the last block. `segment` is a multiple of `block`; keys behind the last whole
 * segment keep their order. Causality is that of the sequence's positions throughout.
 */
export const pbs = pattern({
  name: 'pbs',
  cite: 'PBS-Attn, arXiv:2510.21270',
  consts: { block: 128, segment: 256 },
  params: { mass: f32(0.9, { min: 0, max: 1 }) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, kvLen, block, segment, mass }) => {
    const end = floorDiv(kvLen, segment) * segment
    const logits = dot(slice(Q, -block), K, { scale, visible: 'off' })
    const inSegments = map(logits, (s, { kv }) => (kv.first < end ? s : -Infinity))
    const p = pool(softmax(inSegments), { q: whole }, 'mean')
    const order = argsort(p, { descending: true, per: blocks(segment) })
    const [Ks, Vs] = [permute(K, order), permute(V, order)]
    const own = (q: number, kv: number) => floorDiv(q * block, segment) === floorDiv(kv * block, segment)
    const qMean = map(pool(Q, blocks(block), 'sum'), (x) => x / block)
    const kMean = map(pool(Ks, blocks(block), 'sum'), (x) => x / block)
    const earlier = map(dot(qMean, kMean, { scale }), (s, { q, kv }) =>
      own(q.index, kv.index) ? -Infinity : s,
    )
    const weights = softmax(earlier)
    const fixed = where(weights, (_, { q, kv }) => own(q.index, kv.index) || kv.first === 0)
    return attend(Q, Ks, Vs, union(topP(weights, mass), fixed))
  },
})

/** relative-bias: causal attention with a learned bias per head and bucket of distance. */

import { max, pattern, table } from '../dsl/index.ts'

/**
 * The least distances of buckets 17 to 31: 16 * 2^(3j/16) rounded up, as logarithms of positions are not
 * integers.
 */
const STARTS = [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]

/**
 * T5's bucket of a distance >= 0, for 32 buckets and a greatest distance of 128: 0 to 15 exactly, then
 * logarithmic.
 */
export const bucketOf = (distance: number): number => {
  if (distance < 16) return distance
  for (let i = 0; i < 15; i++) {
    if (distance < STARTS[i]!) return 16 + i
  }
  return 31
}

/**
 * Bucketed relative position bias (T5, 2019), as in its decoder: causal, and each logit gains `bias[head,
 * bucket]`, the bucket being that of the distance in tokens: one each for 0 to 15, sixteen logarithmic ones
 * up to 128, the last for all beyond. `bias` is the transpose of T5's embedding of 32 buckets. T5 does not
 * scale its logits: call with scale 1.
 */
export const relativeBias = pattern({
  name: 'relative-bias',
  cite: 'T5, arXiv:1910.10683',
  tables: { bias: table('f32', ['head', 32]) },
  mask: ({ q, kv }) => kv <= q,
  score: (s, { head, q, kv, bias }) => s + bias.at(head, bucketOf(max(0, q - kv))),
})

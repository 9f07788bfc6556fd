/** alibi: causal attention whose logits fall with the distance. */

import { pattern, table } from '../dsl/index.ts'

/**
 * The slopes that ALiBi trains with, one per query head: 2^(-8 / n), 2^(-16 / n), .. for a power of two n of
 * heads; for other numbers those of the next lower power, then every other one of the next higher.
 */
export function alibiSlopes(heads: number): Float32Array {
  const power = 2 ** Math.floor(Math.log2(Math.max(1, heads)))
  const slope = (step: number) => 2 ** ((-8 * step) / power)
  return Float32Array.from({ length: heads }, (_, h) => (h < power ? slope(h + 1) : slope(h - power + 0.5)))
}

/**
 * Attention with linear biases (ALiBi, 2021): causal, and each logit loses `slope` times the distance in
 * tokens between query and key. `slope` holds one factor per query head; alibiSlopes(heads) gives those of
 * the paper.
 */
export const alibi = pattern({
  name: 'alibi',
  cite: 'ALiBi, arXiv:2108.12409',
  tables: { slope: table('f32', ['head']) },
  mask: ({ q, kv }) => kv <= q,
  score: (s, { head, q, kv, slope }) => s - slope.at(head) * (q - kv),
})

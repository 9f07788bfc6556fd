/** moa-span: a window per head that grows with the length. */

import { clamp, f32, floorDiv, i32, pattern, perHead } from '../dsl/index.ts'

/**
 * Mixture of attention spans (MoA, 2024): head by head a causal window of `alpha + beta * N` keys, N the
 * number of keys, clipped to 128..N and rounded up to 64, besides the first `sinkTokens` keys. `alpha` counts
 * tokens, `beta` is a part of the length. MoA fixes N at the prompt's length plus 1024 when generation
 * starts; here N is kvLen, so spans grow on.
 */
export const moaSpan = pattern({
  name: 'moa-span',
  cite: 'MoA, arXiv:2406.14909',
  params: {
    alpha: perHead(f32(1024, { min: -(2 ** 24), max: 2 ** 24 })),
    beta: perHead(f32(0, { min: 0, max: 1 })),
    sinkTokens: i32(64, { min: 0, max: 2 ** 24 }),
  },
  mask: ({ q, kv, kvLen, alpha, beta, sinkTokens }) => {
    const span = clamp(Math.ceil(alpha + beta * kvLen), 128, kvLen)
    const rounded = floorDiv(span + 63, 64) * 64
    return kv <= q && (q - kv < rounded || kv < sinkTokens)
  },
})

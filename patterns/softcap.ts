/** softcap: causal attention with bounded logits. */

import { f32, pattern } from '../dsl/index.ts'

/**
 * Soft-capped logits (Gemma 2, 2024): causal, each logit s becomes `cap * tanh(s / cap)`, which is nearly s
 * while small and never beyond +-cap. `cap` is in units of the scaled logit; Gemma 2 uses 50.
 */
export const softcap = pattern({
  name: 'softcap',
  cite: 'Gemma 2, arXiv:2408.00118',
  params: { cap: f32(50, { min: 0.001, max: 1e6 }) },
  mask: ({ q, kv }) => kv <= q,
  score: (s, { cap }) => cap * Math.tanh(s / cap),
})

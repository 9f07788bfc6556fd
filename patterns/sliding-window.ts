/** sliding-window: every query meets the latest keys. */

import { i32, pattern } from '../dsl/index.ts'

/**
 * Causal window (Longformer, 2020; Mistral 7B, 2023): each query sees the last `window` keys. `window` counts
 * tokens, the query's own included, so 1 is the diagonal.
 */
export const slidingWindow = pattern({
  name: 'sliding-window',
  cite: 'Longformer, arXiv:2004.05150; Mistral 7B, arXiv:2310.06825',
  params: { window: i32(4096, { min: 1, max: 2 ** 24 }) },
  mask: ({ q, kv, window }) => kv <= q && q - kv < window,
})

/** dilated-window: a causal window with gaps. */

import { i32, mod, pattern } from '../dsl/index.ts'

/**
 * Dilated sliding window (Longformer, 2020), in its causal form: each query sees `window` keys, its own and
 * every `dilation`-th one before it, so it reaches back `window * dilation` tokens at the price of `window`.
 * Both count tokens; a dilation of 1 is the sliding window.
 */
export const dilatedWindow = pattern({
  name: 'dilated-window',
  cite: 'Longformer, arXiv:2004.05150',
  params: { window: i32(512, { min: 1, max: 2 ** 18 }), dilation: i32(4, { min: 1, max: 4096 }) },
  mask: ({ q, kv, window, dilation }) => kv <= q && q - kv < window * dilation && mod(q - kv, dilation) === 0,
})

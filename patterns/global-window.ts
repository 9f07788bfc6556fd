/** global-window: a two-sided window, and tokens that see and are seen by all. */

import { i32, pattern } from '../dsl/index.ts'

/**
 * Window with global tokens (Longformer, 2020), bidirectional: each query sees the keys at most `reach`
 * tokens away on either side; the first `globalTokens` tokens are seen by every query and see every key. Both
 * count tokens; Longformer's window of 512 is a reach of 256. Its separate projections for global tokens are
 * outside attention.
 */
export const globalWindow = pattern({
  name: 'global-window',
  cite: 'Longformer, arXiv:2004.05150',
  params: { reach: i32(256, { min: 0, max: 2 ** 24 }), globalTokens: i32(1, { min: 0, max: 2 ** 24 }) },
  mask: ({ q, kv, reach, globalTokens }) =>
    (q - kv <= reach && kv - q <= reach) || q < globalTokens || kv < globalTokens,
})

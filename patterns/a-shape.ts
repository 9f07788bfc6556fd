/** a-shape: attention sinks and a sliding window. */

import { i32, pattern } from '../dsl/index.ts'

/**
 * Sink and recent tokens (StreamingLLM, 2023), which MInference (2024) calls the A-shape: each query sees the
 * first `sinkTokens` keys and the last `window` keys, causally. Both count tokens; `window` counts the
 * query's own. MInference's paper uses 1024 and 4096, its shipped configurations 100 and 800.
 */
export const aShape = pattern({
  name: 'a-shape',
  cite: 'StreamingLLM, arXiv:2309.17453; MInference, arXiv:2407.02490',
  params: { window: i32(1024, { min: 1, max: 2 ** 24 }), sinkTokens: i32(128, { min: 0, max: 2 ** 24 }) },
  mask: ({ q, kv, window, sinkTokens }) => kv <= q && (q - kv < window || kv < sinkTokens),
})

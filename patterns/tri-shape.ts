/** tri-shape: the A-shape, and dense rows at the end of the prompt. */

import { i32, pattern } from '../dsl/index.ts'

/**
 * Tri-shape (SCBench, 2024): each query sees the first `sinkTokens` and the last `window` keys, as in the
 * A-shape, but the last `lastRows` queries of the sequence see every key before them, so that the question at
 * the end of a long prompt reads all of it. All three count tokens; the window counts the query's own.
 */
export const triShape = pattern({
  name: 'tri-shape',
  cite: 'SCBench, arXiv:2412.10319',
  params: {
    window: i32(1024, { min: 1, max: 2 ** 24 }),
    sinkTokens: i32(128, { min: 0, max: 2 ** 24 }),
    lastRows: i32(100, { min: 0, max: 2 ** 24 }),
  },
  mask: ({ q, kv, kvLen, window, sinkTokens, lastRows }) =>
    kv <= q && (q - kv < window || kv < sinkTokens || q >= kvLen - lastRows),
})

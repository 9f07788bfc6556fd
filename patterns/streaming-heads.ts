/** streaming-heads: some heads dense, the others with sinks and recent tokens. */

import { i32, pattern, perHead } from '../dsl/index.ts'

/**
 * Retrieval and streaming heads (DuoAttention, 2024): a head with `retrieval` 1 is dense and causal, one with
 * 0 sees the first `sinkTokens` and the last `recent` keys. Both count tokens, `recent` the query's own
 * included. DuoAttention decides per kv head; give the query heads of a group the same flag.
 */
export const streamingHeads = pattern({
  name: 'streaming-heads',
  cite: 'DuoAttention, arXiv:2410.10819',
  params: {
    retrieval: perHead(i32(0, { min: 0, max: 1 })),
    recent: i32(256, { min: 1, max: 2 ** 24 }),
    sinkTokens: i32(64, { min: 0, max: 2 ** 24 }),
  },
  mask: ({ q, kv, retrieval, recent, sinkTokens }) =>
    kv <= q && (retrieval === 1 || q - kv < recent || kv < sinkTokens),
})

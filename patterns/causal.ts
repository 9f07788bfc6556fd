/** causal: every query meets itself and all keys before it. */

import { pattern } from '../dsl/index.ts'

/**
 * Dense causal attention (Vaswani et al., 2017): each query sees its own position and all before it. With
 * fewer queries than keys the queries are the last ones, so the same pattern serves prefill, chunked prefill
 * and decode.
 */
export const causal = pattern({
  name: 'causal',
  cite: 'Attention Is All You Need, arXiv:1706.03762',
  mask: ({ q, kv }) => kv <= q,
})

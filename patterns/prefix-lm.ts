/** prefix-lm: a bidirectional prefix, causal after it. */

import { i32, pattern } from '../dsl/index.ts'

/**
 * Prefix language model (UniLM, 2019; T5, 2019): the first `prefixTokens` keys, the prompt, are seen by every
 * query, those of the prompt included; all other pairs are causal. `prefixTokens` counts tokens.
 */
export const prefixLm = pattern({
  name: 'prefix-lm',
  cite: 'UniLM, arXiv:1905.03197; T5, arXiv:1910.10683',
  params: { prefixTokens: i32(512, { min: 0, max: 2 ** 24 }) },
  mask: ({ q, kv, prefixTokens }) => kv <= q || kv < prefixTokens,
})

/** sink-logit: causal attention with a learned logit in the denominator. */

import { pattern, table } from '../dsl/index.ts'

/**
 * Learned attention sink (gpt-oss, 2025): causal, and the softmax's denominator has one more term,
 * exp(`sink`), one learned logit per query head and in units of the scaled logit, so a head may attend to
 * nothing. It has no key and no value. A first token that stays visible is another thing of the same name:
 * see a-shape.
 */
export const sinkLogit = pattern({
  name: 'sink-logit',
  cite: 'gpt-oss, arXiv:2508.10925',
  tables: { sink: table('f32', ['head']) },
  mask: ({ q, kv }) => kv <= q,
  sinkLogit: ({ head, sink }) => sink.at(head),
})

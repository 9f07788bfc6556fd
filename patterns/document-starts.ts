/** document-starts: causal attention inside each of many packed documents, told apart by where they start. */

import { pattern, table } from '../dsl/index.ts'

/**
 * Sequence packing without cross-contamination (Krell et al., 2021) for contiguous documents: each query sees
 * the keys from its document's first token to itself. `docStart` holds, for each token, the position of its
 * document's first token; it never decreases, and says so, which turns the mask into one range of keys a row.
 */
export const documentStarts = pattern({
  name: 'document-starts',
  cite: 'Efficient Sequence Packing without Cross-contamination, arXiv:2107.02027',
  tables: { docStart: table('i32', ['batch', 'kvLen'], { monotone: true, min: 0 }) },
  mask: ({ batch, q, kv, docStart }) => kv <= q && kv >= docStart.at(batch, q),
})

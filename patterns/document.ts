/** document: causal attention inside each of many packed documents, told apart by ids. */

import { pattern, table } from '../dsl/index.ts'

/**
 * Sequence packing without cross-contamination (Krell et al., 2021): each query sees the earlier keys that
 * carry its own document's id. `docId` holds one id a token, in any order and of any value, so documents may
 * be interleaved; where each document is one contiguous run, document-starts says the same and finds its
 * tiles without looking at the table's values.
 */
export const document = pattern({
  name: 'document',
  cite: 'Efficient Sequence Packing without Cross-contamination, arXiv:2107.02027',
  tables: { docId: table('i32', ['batch', 'kvLen']) },
  mask: ({ batch, q, kv, docId }) => kv <= q && docId.at(batch, q) === docId.at(batch, kv),
})

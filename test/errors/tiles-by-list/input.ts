import { pattern, table } from 'heddle'

export const documents = pattern({
  name: 'documents',
  tables: { docId: table('i32', ['kvLen']) },
  mask: ({ q, kv, docId }) => kv <= q && docId.at(q) === docId.at(kv),
})

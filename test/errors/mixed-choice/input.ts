import { pattern, table } from 'heddle'

export const mixed = pattern({
  name: 'mixed',
  tables: { a: table('i32', ['kvLen']), b: table('i32', ['kvLen']) },
  mask: ({ q, kv, a, b }) => (kv > 4 ? a : b).at(q) > 0 || (q > 3 ? kv : kv <= q) === true,
})

import { pattern, table } from 'heddle'

export const numbers = pattern({
  name: 'numbers',
  tables: { ids: table('i32', ['kvLen']) },
  mask: ({ q, kv, ids }) => q - (kv > 3 as never) < 4 || ids as never > q || q + 'x' === 'y',
})

import { pattern, table } from 'heddle'

export const empty = pattern({
  name: 'empty',
  consts: { buckets: 0 },
  tables: { ids: table('i32', ['buckets']) },
  mask: ({ kv, ids }) => ids.at(kv) > 0,
})

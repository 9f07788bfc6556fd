import { pattern, table } from 'heddle'

export const ranks = pattern({
  name: 'ranks',
  tables: { ids: table('i32', ['batch', 'kvLen']) },
  // @ts-expect-error: the editor says so too
  mask: ({ q, kv, ids }) => ids.at(q) === ids.at(0, kv, 1),
})

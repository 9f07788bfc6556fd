import { pattern, table } from 'heddle'

export const rows = pattern({
  name: 'rows',
  consts: { block: 64 },
  // @ts-expect-error: the editor says so too
  tables: { ids: table('i32', ['kvLenght']), tops: table('i32', ['blok']) },
  mask: ({ q, kv, ids, tops }) => ids.at(kv) < tops.at(q),
})

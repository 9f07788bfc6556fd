import { i32, pattern, table } from 'heddle'

export const taken = pattern({
  name: 'taken',
  // @ts-expect-error: the editor says so too
  params: { kvLen: i32(8) },
  // @ts-expect-error: the editor says so too
  tables: { head: table('i32', ['kvLen']) },
  mask: ({ q, kv }) => kv <= q,
})

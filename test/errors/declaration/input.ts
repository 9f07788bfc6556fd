import { i32, pattern, perHead, rename, table } from 'heddle'

export const wrong = pattern({
  name: 3 as never,
  params: { window: 4 as never, reach: perHead(perHead(i32(2))), span: i32('4' as never) },
  tables: { ids: table('i64' as never, ['kvLen']), rows: table('i32', []), flags: i32(3) as never },
  mask: () => true,
})
export const title = rename(wrong, {}, `wrong` + '' as never)

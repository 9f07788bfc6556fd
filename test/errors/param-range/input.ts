import { i32, pattern, table } from 'heddle'

export const bounds = pattern({
  name: 'bounds',
  params: { reach: i32(4, { min: 8, max: 2 }) },
  tables: { ids: table('i32', ['kvLen'], { min: 1, max: 0 }) },
  mask: ({ q, kv, reach, ids }) => q - kv < reach && ids.at(kv) > 0,
})

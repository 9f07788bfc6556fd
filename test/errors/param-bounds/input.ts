import { f32, i32, pattern, table } from 'heddle'

export const bounds = pattern({
  name: 'bounds',
  params: { window: i32(1, { min: 0.5 }), share: f32(1, { max: 1e300 }) },
  tables: { ids: table('i32', ['kvLen'], { max: 2 ** 31 }) },
  mask: ({ q, kv, window, ids }) => q - kv < window && ids.at(kv) > 0,
})

import { i32, pattern } from 'heddle'

export const shifts = pattern({
  name: 'shifts',
  params: { k: i32(3, { min: 0, max: 8 }) },
  mask: ({ q, kv, k }) => q >> k === kv << 40 || kv >>> 0 > q,
})

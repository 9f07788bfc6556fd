import { i32, pattern } from 'heddle'

const near = 3

export const calls = pattern({
  name: 'calls',
  mask: ({ q, kv }) => Math.hypot(q, kv) < 5 || i32(4).min < kv || (near as never as () => boolean)(),
})

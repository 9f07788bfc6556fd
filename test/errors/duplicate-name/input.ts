import { i32, pattern } from 'heddle'

export const twice = pattern({
  name: 'twice',
  consts: { size: 8 },
  // @ts-expect-error: the editor says so too
  params: { size: i32(8) },
  mask: ({ q, kv }) => kv <= q,
})

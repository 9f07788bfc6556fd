import { i32, mod, pattern } from 'heddle'

export const strided = pattern({
  name: 'strided',
  params: { stride: i32(48, { min: 1 }) },
  mask: ({ q, kv, stride }) => kv <= q && mod(q - kv, stride) === 0,
})

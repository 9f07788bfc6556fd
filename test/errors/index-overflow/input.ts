import { i32, pattern } from 'heddle'

export const products = pattern({
  name: 'products',
  params: { stride: i32(64, { min: 1 }) },
  mask: ({ q, kv, stride }) => q * stride < kv * kv,
})

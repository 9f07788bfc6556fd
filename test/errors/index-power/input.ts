import { i32, pattern } from 'heddle'

export const square = pattern({
  name: 'square',
  params: { k: i32(3, { min: 0, max: 20 }) },
  mask: ({ q, kv, k }) => (q - kv) ** 2 < 100 || 2 ** k > kv || Math.pow(kv, k) < q,
})

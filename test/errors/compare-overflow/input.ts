import { f32, pattern } from 'heddle'

export const spans = pattern({
  name: 'spans',
  params: { beta: f32(0.25) },
  mask: ({ q, kv, beta }) => q + kv * 500 < beta,
})

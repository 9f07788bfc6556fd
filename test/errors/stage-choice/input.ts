import { attend, gated, i32, pattern } from 'heddle'

export const mine = pattern({
  name: 'mine',
  params: { one: i32(0) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, one }) => (one > 0 ? attend(Q, K, V) : gated([attend(Q, K, V), () => 0.5])),
})

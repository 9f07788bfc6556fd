import { dot, pattern } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K }) => dot(Q, K) as never,
})

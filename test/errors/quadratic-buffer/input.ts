import { attend, dot, pattern, where } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, where(dot(Q, K), (s) => s > 4)),
})

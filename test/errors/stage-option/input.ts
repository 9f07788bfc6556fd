import { attend, dot, pattern, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, topK(dot(Q, K, { visable: 'all' } as never), 4)),
})

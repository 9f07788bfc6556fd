import { attend, dot, linear, pattern, table, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  tables: { weight: table('f32', ['head']) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, weight }) => attend(Q, K, V, topK(dot(linear(Q, weight), linear(K, weight)), 4)),
})

import { attend, blocks, dot, pattern, pool, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, topK(dot(Q, pool(K, blocks(64), 'mean'), { visible: 'off' }), 4)),
})

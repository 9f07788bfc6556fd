import { attend, blocks, dot, pattern, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, topK(dot(Q, K), 4, { force: () => blocks(4).grain === 'block' })),
})

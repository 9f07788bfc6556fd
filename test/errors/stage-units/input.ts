import { attend, blocks, dot, map, pattern, pool, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => {
    const coarse = dot(Q, pool(K, blocks(64), 'mean'))
    const fine = dot(Q, pool(K, blocks(32), 'mean'))
    return attend(Q, K, V, topK(map(coarse, fine, (a, b) => a + b), 4))
  },
})

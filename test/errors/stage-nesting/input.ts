import { attend, blocks, dot, pattern, pool, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => {
    const s = dot(Q, pool(K, blocks(96), 'mean'))
    return attend(Q, K, V, topK(pool(s, { kv: blocks(64) }, 'max'), 4))
  },
})

import { attend, blocks, dot, mod, pattern, pool, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => {
    const odd = pool(dot(Q, K), { kv: blocks(64) }, 'max', ({ kv }) => mod(kv.index, 2) === 1)
    return attend(Q, K, V, topK(odd, 4))
  },
})

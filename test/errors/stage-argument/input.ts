import { attend, dot, pattern, pool, skew, topK, windows } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => {
    const s = dot(Q, pool(K, windows(32, 16), 'mean'))
    const lines = topK(skew(s as never), 4)
    return attend(Q, K, V, lines as never)
  },
})

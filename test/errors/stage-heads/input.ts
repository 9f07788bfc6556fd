import { attend, dot, pattern, rows, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  tables: { index: rows('q', 'indexHead') },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, index }) => {
    const s = dot(index, K)
    return attend(Q, K, V, topK(s as never, 4))
  },
})

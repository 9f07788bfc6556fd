import { attend, blocks, dot, i32, pattern, pool, softmax, topK, topP, union } from 'heddle'

export const mine = pattern({
  name: 'mine',
  params: { size: i32(64) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, size }) => {
    const s = softmax(dot(Q, pool(K, blocks(64), 'mean')))
    const cut = pool(K, blocks(size), 'mean')
    return attend(Q, K, V, union(topK(s, 0), topP(s, 0), topK(dot(Q, cut), 4), topK(dot(Q, pool(K, blocks(0), 'mean')), 4)))
  },
})

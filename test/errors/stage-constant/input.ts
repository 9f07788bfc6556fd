import { attend, blocks, dot, f32, i32, pattern, pool, softmax, topK, topP, union } from 'heddle'

export const mine = pattern({
  name: 'mine',
  params: { size: i32(64), share: f32(2.5) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, size, share }) => {
    const s = softmax(dot(Q, pool(K, blocks(64), 'mean')))
    const cut = pool(K, blocks(size), 'mean')
    const parts = union(topK(s, 2.5), topK(s, Infinity), topK(s, share), topP(s, -0.5))
    return attend(Q, K, V, union(parts, topK(s, 0), topP(s, 0), topK(dot(Q, cut), 4), topK(dot(Q, pool(K, blocks(0), 'mean')), 4)))
  },
})

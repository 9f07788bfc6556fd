import { attend, clusters, dot, map, pattern, pool, table, topK } from 'heddle'

export const mine = pattern({
  name: 'mine',
  tables: { topics: table('i32', ['kvLen']), voices: table('i32', ['kvLen']) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, topics, voices }) => {
    const byTopic = dot(Q, pool(K, clusters(topics), 'mean'))
    const byVoice = dot(Q, pool(K, clusters(voices), 'mean'))
    return attend(Q, K, V, topK(map(byTopic, byVoice, (a, b) => a + b), 4))
  },
})

import { argsort, attend, pattern, permute, table, values } from 'heddle'

export const mine = pattern({
  name: 'mine',
  tables: { key: table('f32', ['kvLen']) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, key }) => {
    const rising = argsort(values(K, (t) => key.at(t.first)))
    const falling = argsort(values(K, (t) => key.at(t.first)), { descending: true })
    return attend(Q, permute(K, rising), permute(V, falling))
  },
})

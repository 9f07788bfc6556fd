import { attend, dot, i32, pattern, pool, where, whole } from 'heddle'

export const mine = pattern({
  name: 'mine',
  params: { dense: i32(0) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, kvLen, dense }) => {
    const near = attend(Q, K, V, where(({ q, kv }) => q - kv < 64))
    if (kvLen < 1024) return attend(Q, K, V)
    const far = pool(dot(Q, K), { q: whole, kv: whole }, 'max')
    return far ? near : attend(Q, K, V)
  },
})

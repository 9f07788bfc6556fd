import { attend, merge, pattern, where } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) =>
    merge(attend(Q, K, V, where(({ kv }) => kv < 64)), attend(Q, K, V, where(({ q, kv }) => q - kv < 64))),
})

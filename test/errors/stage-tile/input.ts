import { attend, pattern } from 'heddle'

export const mine = pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V }) => attend(Q, K, V, undefined, { skip: ({ tileMax, rowMax }) => tileMax < rowMax - 8 }),
})

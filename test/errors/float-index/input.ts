import { pattern, table } from 'heddle'

export const buckets = pattern({
  name: 'buckets',
  tables: { bias: table('f32', [32]) },
  mask: ({ q, kv }) => kv <= q,
  score: (s, { q, kv, bias }) => s + bias.at(Math.floor(Math.log2(1 + q - kv))) + (Math.round(s) & 1),
})

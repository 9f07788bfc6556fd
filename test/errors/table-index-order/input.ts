import { pattern, table } from 'heddle'

export const swapped = pattern({
  name: 'swapped',
  tables: { bias: table('f32', ['head', 'kvLen']), rows: table('f32', ['qLen']), gates: table('f32', ['kvHead']) },
  mask: ({ q, kv }) => kv <= q,
  score: (s, { q, kv, head, bias, rows, gates }) => s + bias.at(kv, head) + rows.at(q) + gates.at(head),
})

import { f32, pattern, table } from 'heddle'

const root = (x: number): number => Math.sqrt(x)

export const decay = pattern({
  name: 'decay',
  params: { alpha: f32(2) },
  tables: { gate: table('f32', ['kvLen']) },
  mask: ({ q, kv, alpha, gate }) =>
    root(q) < 4 || gate.at(kv) > 0.5 || q - kv - alpha < 0 || Math.floor(alpha * kv) === q || kv < q - kv * 0.5,
})

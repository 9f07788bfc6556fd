/** Patterns out of patterns, for compiled.test.ts: run as they are, and read by the compiler. */

import { and, f32, i32, mod, not, or, pattern, perHead, rename, table } from '../../dsl/index.ts'
import { causal, documentStarts, neighborhood1d, slidingWindow, softcap } from '../../patterns/index.ts'

export const mine = pattern({
  name: 'mine',
  cite: 'nobody, 2026',
  consts: { size: 4 },
  params: { window: perHead(i32(2, { min: 1, max: 1000 })), gain: f32(3) },
  tables: { bias: table('f32', ['head', 'size']), rank: table('i32', ['kvLen'], { min: 0, max: 99 }) },
  mask: ({ q, kv, window, rank }) => q - kv < window || rank.at(kv) < rank.at(q),
  score: (s, { head, kv, gain, bias, size }) => s * gain + bias.at(head, mod(kv, size)),
  sinkLogit: ({ head, bias }) => bias.at(head, 0),
})

export const both = and(causal, or(documentStarts, not(mine)))

export const renamed = rename(
  mine,
  { window: 'recent', size: 'width', bias: 'offsets', rank: 'order', gain: 'window' },
  'other',
)

export const twice = or(
  slidingWindow,
  and(rename(slidingWindow, { window: 'late' }), rename(renamed, { window: 'g' })),
)

export const capped = and(neighborhood1d, softcap, causal)

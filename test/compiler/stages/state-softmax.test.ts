/** Softmaxes that an attend sums up: which programs have them, what a chunk then stores, and which softmaxes stay as they are. */

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { createCompiler } from '../../../compiler/index.ts'
import { isWord } from '../../../compiler/stages/graph.ts'
import type { StagePlan } from '../../../compiler/stages/plan.ts'
import { scoresOf } from '../../../compiler/stages/typing.ts'

const compiler = createCompiler()
const HERE = fileURLToPath(new URL('generated.ts', import.meta.url))

interface Parts {
  /** What both the attend and the choice are of. */
  readonly keys?: string
  readonly logits?: string
  readonly attended?: string
  readonly pooled?: string
  readonly score?: string
}

/** Blocks that the heads of a kv head choose together, by the probabilities of windows that an attend meets too. */
function planOf({
  keys = 'h.pool(K, h.windows(8, 4), "mean")',
  logits = 'h.dot(Q, keys, { scale, visible: "all" })',
  attended = 'h.attend(Q, keys, h.pool(V, h.windows(8, 4), "mean"), undefined, { visible: "all" })',
  pooled = 'h.pool(p, { share: "kvHead" }, "sum")',
  score = '',
}: Parts): StagePlan {
  const text = `import * as h from 'heddle'
export const mine = h.pattern({
  name: 'mine',
  mask: ({ q, kv }) => kv <= q,
  ${score}
  forward: ({ Q, K, V, scale }) => {
    const keys = ${keys}
    const p = h.softmax(${logits})
    const chosen = h.topK(h.pool(${pooled}, { kv: h.blocks(16) }, 'sum'), 4)
    return h.gated([${attended}, () => 0.5], [h.attend(Q, K, V, chosen), () => 0.5])
  },
})`
  const { patterns, diagnostics } = compiler.compile(HERE, { text })
  const errors = diagnostics.filter((d) => d.severity !== 'note')
  if (errors.length > 0) throw new Error(errors.map((d) => `${d.code}: ${d.text}`).join('\n'))
  return patterns[0]!.stages!
}

const has = (plan: StagePlan, word: 'softmax' | 'stateLse') => plan.graph.nodes.some((n) => n.word === word)
const kernels = (plan: StagePlan) =>
  plan.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels)).map((k) => k.kind)

test("an attend's sums are the softmax's: a chunk stores what heads add up to, and no logits", () => {
  const plan = planOf({})
  expect([has(plan, 'softmax'), has(plan, 'stateLse')]).toEqual([false, true])
  expect(kernels(plan)).not.toContain('statistics')
  const stored = plan.buffers.filter((b) => b.holds === 'scores')
  expect(stored.map((b) => [b.life, b.share, scoresOf(b.node).kv.units.kind])).toEqual([
    ['chunk', 'kvHead', 'window'],
    ['chunk', 'kvHead', 'block'],
  ])
  const weights = plan.graph.nodes.find((n) => isWord(n, 'map'))!
  expect(weights.src.map((n) => n.word)).toEqual(['dot', 'stateLse'])
})

describe('a softmax stays as it is where', () => {
  test.each<readonly [string, Parts]>([
    ['its logits are scaled otherwise', { logits: 'h.dot(Q, keys, { scale: scale * 2, visible: "all" })' }],
    ['it sees other units', { logits: 'h.dot(Q, keys, { scale, visible: "any" })' }],
    [
      'it is of other keys',
      { logits: 'h.dot(Q, h.pool(K, h.windows(8, 4), "max"), { scale, visible: "all" })' },
    ],
    [
      'the attend adds a bias',
      {
        attended:
          'h.attend(Q, keys, h.pool(V, h.windows(8, 4), "mean"), undefined, { visible: "all", bias: ({ head }) => head })',
      },
    ],
    [
      'the attend is of some keys',
      { attended: 'h.attend(Q, K, V, h.where(({ q, kv }) => q - kv < 8))', keys: 'K' },
    ],
    ['the pattern changes scores', { score: 'score: (s) => s * 0.5,' }],
  ])('%s', (_, parts) => {
    const plan = planOf(parts)
    expect([has(plan, 'softmax'), has(plan, 'stateLse')]).toEqual([true, false])
    expect(kernels(plan)).toContain('statistics')
  })
})

/** Patterns for the decode skeleton's tests: one for each thing that its kernels do differently. */

import type { KernelPlan } from '../../compiler/plan.ts'
import type { Pattern } from '../../dsl/index.ts'
import { DSL, program } from '../helpers.ts'

export interface TestPattern {
  readonly pattern: Pattern
  readonly plan: KernelPlan
}

function make(name: string, how: KernelPlan['tiles']['how'], fields: string): TestPattern {
  const { pattern, compiled } = program(`import { i32, pattern, table } from '${DSL}'
    export const program = pattern({ name: '${name}', ${fields} })`)
  if (compiled.plan.tiles.how !== how)
    throw new Error(`${name} finds its tiles by ${compiled.plan.tiles.how}`)
  return { pattern, plan: compiled.plan }
}

export const PATTERNS = {
  full: make('full', 'ranges', 'mask: () => true'),
  causal: make('causal', 'ranges', 'mask: ({ q, kv }) => kv <= q'),
  aShape: make(
    'a-shape',
    'ranges',
    `params: { window: i32(40, { min: 1 }), sinkTokens: i32(3, { min: 0 }) },
    mask: ({ q, kv, window, sinkTokens }) => kv <= q && (q - kv < window || kv < sinkTokens)`,
  ),
  scored: make(
    'scored',
    'ranges',
    `mask: ({ q, kv }) => kv <= q,
    score: (s, { q, kv, head }) => 5 * Math.tanh(s / 5) + (head + 1) * 0.01 * (kv - q),
    sinkLogit: ({ head }) => head * 0.3 - 0.5`,
  ),
  /** Early queries attend nothing but a sink logit. */
  distant: make(
    'distant',
    'ranges',
    'mask: ({ q, kv }) => kv <= q - 70, sinkLogit: ({ head }) => head * 0.3 - 0.5',
  ),
  headWindow: make('head-window', 'ranges', 'mask: ({ q, kv, head }) => kv <= q && q - kv < 16 * (head + 1)'),
  /** Every fifth run of 32 keys: tiles are asked for one by one. */
  tested: make('tested', 'test', 'mask: ({ q, kv }) => kv <= q && (kv >> 5) % 5 === 0'),
  listed: make(
    'listed',
    'list',
    `tables: { tag: table('i32', ['kvLen'], { min: 0, max: 3 }) },
    mask: ({ q, kv, tag }) => kv <= q && tag.at(kv) === 2`,
  ),
} as const satisfies Record<string, TestPattern>

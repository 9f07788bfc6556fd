/** Filters of pools as intervals: what passes the filter is what lies in the interval, whatever the units. */

import { describe, expect, test } from 'vitest'
import { evaluate, type Environment, type Expr } from '../../../compiler/ir.ts'
import { filterRange } from '../../../compiler/stages/filter-range.ts'
import { isWord } from '../../../compiler/stages/graph.ts'
import type { VarName } from '../../../compiler/vars.ts'
import { seededRandom } from '../../../runtime/testing/draw.ts'
import { compileMethod, METHODS } from './methods.ts'

const filtersOf = (method: string) => {
  const { graph, typing } = compileMethod(method).stages!
  return graph.nodes.flatMap((node) =>
    isWord(node, 'poolScores') && node.arg.of ? [{ of: node.arg.of, range: filterRange(typing, node)! }] : [],
  )
}
const FILTERED = METHODS.filter((m) => filtersOf(m).length > 0)

test('the methods have filters', () => {
  expect(FILTERED).toEqual(['hip', 'infinite-hip', 'mminference-2d', 'xattention'])
})

describe.each(FILTERED)('%s', (method) => {
  test('passes what lies in the interval', () => {
    const uniform = seededRandom(7)
    const draw = (least: number, most: number) => least + Math.floor(uniform() * (most - least + 1))
    let passed = 0
    for (const { of, range } of filtersOf(method)) {
      for (let i = 0; i < 400; i++) {
        // Units of a target near those of the source, so that filters of a few columns are met.
        const [at, length] = [draw(0, 40), draw(1, 32)]
        const unit = (slot: string, first: number, last: number) =>
          Object.entries({ index: first, first, last, length: last - first + 1 }).map(([f, v]) => [
            `${slot}.${f}`,
            v,
          ])
        const kv = draw(at, at + length)
        const vars: Partial<Record<VarName, number>> = Object.fromEntries([
          ...unit('q', kv + draw(-2, 2), kv + 2),
          ...unit('kv', kv, kv),
          ...unit('into.q', at, at + length - 1),
          ...unit('into.kv', at, at + length - 1),
        ])
        const env: Environment = {
          var: (name) => vars[name] ?? 24,
          param: () => 4,
          derived: () => 0,
          load: () => 0,
        }
        const number = (e: Expr | null, none: number) => (e ? (evaluate(e, env) as number) : none)
        const inside =
          evaluate(range.when, env) === true &&
          number(range.lo, -Infinity) <= kv &&
          kv <= number(range.hi, Infinity)
        expect(inside).toBe(evaluate(of, env))
        passed += Number(inside)
      }
    }
    expect(passed).toBeGreaterThan(0)
  })
})

/** merge and gated: states of several attends in, one softmax over all, or their weighted sum, out. */

import type { IndexRecord } from '../record.ts'
import { patternError } from '../messages.ts'
import { pairAt, sharerAt, type Share } from './call.ts'
import { checkCall, checkKind, checkWidth } from './check.ts'
import type { Scores } from './scores.ts'
import { mergedState, outputOf, type Held, type Output, type State } from './state.ts'
import { sameUnits, type QTokens, type Whole } from './units.ts'

/**
 * One softmax over the keys of all states. No row may hold a key twice: build the second set by difference(),
 * or go on with `after`.
 *
 * @throws PatternError `states-overlap`
 */
export function merge(first: State, ...rest: readonly State[]): State {
  for (const state of [first, ...rest]) checkKind('merge', state, 'state')
  return rest.reduce((a, b) => {
    checkCall('merge', a.call, b.call)
    checkWidth('merge', a.width, b.width)
    for (const x of a.held) for (const y of b.held) checkDisjoint(x, y, a.call.qStart)
    return mergedState(a, b)
  }, first)
}

function checkDisjoint(a: Held, b: Held, qStart: number): void {
  const same = a.units === null || b.units === null ? a.units === b.units : sameUnits(a.units, b.units)
  if (!same) return
  a.keys.forEach((rows, head) =>
    rows.forEach((keys, row) =>
      keys.forEach((has, kv) => {
        if (has === 1 && b.keys[head]![row]![kv] === 1) {
          throw patternError('states-overlap', { head, q: row + qStart, kv })
        }
      }),
    ),
  )
}

/** A function of the query, or a column of scores. */
export type Weight = ((ix: Omit<IndexRecord, 'kv'>) => number) | Scores<Share, QTokens, Whole<'kv'>>

/**
 * The sum of each state's own normalised output times its weight. It is an output, not a state: it has no
 * log-sum-exp, so it cannot be merged or gone on with.
 *
 * @throws PatternError `widths-differ`
 */
export function gated(...branches: readonly (readonly [state: State, weight: Weight])[]): Output {
  for (const [state] of branches) checkKind('gated', state, 'state')
  const [first] = branches
  if (!first) throw patternError('bad-value', { word: 'gated', due: 'a state of attend()', got: 'nothing' })
  const { call } = first[0]
  for (const [state] of branches) {
    checkCall('gated', call, state.call)
    checkWidth('gated', first[0].width, state.width)
  }
  const weights = branches.map(([, weight]) => weightAt(weight))
  const rows = first[0].rows.map((line, head) =>
    line.map((_, row) => {
      const parts = branches.map(([state], b) => ({
        out: outputOf(call, state.rows[head]![row]!),
        weight: weights[b]!(first[0], head, row),
      }))
      return parts[0]!.out.map((_, i) => parts.reduce((sum, p) => sum + p.weight * p.out[i]!, 0))
    }),
  )
  return { kind: 'output', call, rows, branches: branches.map(([state]) => state) }
}

const weightAt =
  (weight: Weight) =>
  ({ call }: State, head: number, row: number): number => {
    if (typeof weight === 'function') return weight(pairAt(call, head, call.qStart + row, 0))
    checkKind('gated', weight, 'scores')
    checkCall('gated', call, weight.call)
    return weight.values[sharerAt(weight.share, 'head', head, call)]![row]![0]!
  }

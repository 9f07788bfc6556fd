/** skew and unskew: scores by key in, scores by distance out, and back. */

import { patternError } from '../messages.ts'
import type { Share } from './call.ts'
import { checkKind, nameOf } from './check.ts'
import { HIDDEN, scoresOf, type Scores, type Visibility } from './scores.ts'
import { indexOfToken, isOffsets } from './sets.ts'
import {
  evenly,
  members,
  unitsAt,
  type Grain,
  type Members,
  type Offsets,
  type Order,
  type Units,
} from './units.ts'

type OffsetsOf<K extends Units> = K extends Units<'kv', infer G, infer O> ? Offsets<G, O> : never
type Unoffset<K> = K extends Offsets<infer G, infer O> ? Units<'kv', G, O> : never

/** The number of each query unit, counted as keys are; a whole axis is seen from its last query. */
function rowNumbers(q: Units, kv: Units): readonly number[] {
  const keys = unitsAt(kv, 0)
  const numberOf = indexOfToken(keys)
  const even = q.lists.length === 1 && kv.lists.length === 1 && kv.order === 'natural'
  // Queries beyond the last key are cut as the others are, which no key can tell.
  const aligned = (unit: Members) => unit.tokens.every((t) => (numberOf.get(t) ?? unit.index) === unit.index)
  const rows = unitsAt(q, 0).map((unit) => {
    if (q.grain !== 'whole') return unit.index
    return kv.grain === 'token' ? unit.last : (numberOf.get(unit.last) ?? keys.at(-1)?.index ?? 0)
  })
  if (!even || (q.grain !== 'whole' && !(q.grain === kv.grain && unitsAt(q, 0).every(aligned)))) {
    throw patternError('units-differ', { word: 'skew', side: 'kv', first: nameOf(q), second: nameOf(kv) })
  }
  return rows
}

/**
 * Scores by distance: the cell of query unit u and key unit v becomes that of u and o = u - v, so that a
 * diagonal becomes a column. Query and key units are cut alike, or q is `whole` and seen from its last unit.
 * Distances of which no pair exists are invisible.
 *
 * @throws PatternError `units-differ`
 */
export function skew<H extends Share, Q extends Units<'q'>, K extends Units<'kv', 'token' | 'block'>>(
  s: Scores<H, Q, K>,
): Scores<H, Q, OffsetsOf<K>> {
  checkKind('skew', s, 'scores')
  const rows = rowNumbers(s.q, s.kv)
  const columns = unitsAt(s.kv, 0)
  const at = new Map(columns.map((unit, column) => [unit.index, column]))
  const least = Math.min(...rows) - (columns.at(-1)?.index ?? 0)
  const most = Math.max(...rows) - (columns[0]?.index ?? 0)
  const count = rows.length > 0 && columns.length > 0 ? most - least + 1 : 0
  const distances = Array.from({ length: count }, (_, i) => members(least + i, []))
  const offsets = {
    ...evenly('kv', 'offset', s.kv.order as Order, distances),
    of: s.kv,
  } as Units as OffsetsOf<K>
  return scoresOf(s.call, s.share, s.q, offsets, ({ sharer, row, kv }) =>
    cell(s, sharer.at, row, at.get(rows[row]! - kv.index)),
  )
}

/**
 * Scores by key again: the inverse of skew(). A vector, whose q is `whole`, lies as seen from the last query
 * unit.
 *
 * @throws PatternError `units-differ`
 */
export function unskew<H extends Share, Q extends Units<'q'>, K extends Units<'kv', 'offset'>>(
  s: Scores<H, Q, K>,
): Scores<H, Q, Unoffset<K>> {
  checkKind('unskew', s, 'scores')
  const axis: Units = s.kv
  if (!isOffsets(axis)) {
    throw patternError('bad-value', { word: 'unskew', due: 'scores by distance', got: nameOf(s.kv) })
  }
  const rows = rowNumbers(s.q, axis.of)
  const at = new Map(unitsAt(axis, 0).map((unit, column) => [unit.index, column]))
  return scoresOf(
    s.call,
    s.share,
    s.q,
    axis.of as Units<'kv', Grain, Order> as Unoffset<K>,
    ({ sharer, row, kv }) => cell(s, sharer.at, row, at.get(rows[row]! - kv.index)),
  )
}

function cell(s: Scores, at: number, row: number, column: number | undefined) {
  if (column === undefined) return { value: -Infinity, visible: HIDDEN } as const
  return {
    value: s.values[at]![row]![column]!,
    visible: s.visible[at]![row]![column]! as Visibility,
  }
}

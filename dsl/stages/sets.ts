/** Sets of (head, query, key) pairs: as cells over units, as a rule on positions, or as algebra over both. */

import type { IndexRecord } from '../record.ts'
import { patternError } from '../messages.ts'
import { headsOf, pairAt, sharerAt, sharersOf, type Call, type Share, type Sharer } from './call.ts'
import { checkUnits } from './check.ts'
import { axisFor } from './rows.ts'
import { VISIBLE, type Scores, type Visibility } from './scores.ts'
import { sameUnits, unitsAt, type Members, type Offsets, type Units } from './units.ts'

/**
 * A set of (sharer, query unit, key unit), which stands for a set of pairs of tokens: all pairs of a query in
 * the one unit and a key in the other. Its axes are those of the scores that it was chosen by.
 */
export interface Sel<H extends Share = Share, Q extends Units = Units, K extends Units = Units> {
  readonly kind: 'set'
  readonly share: H
  readonly q: Q
  readonly kv: K
  readonly body: Cells | Rule | Spans | Algebra
}
export type AnySet = Sel

/** Units chosen one by one. */
interface Cells {
  readonly form: 'cells'
  readonly call: Call
  /** By sharer and query unit: 1 for each key unit that is in the set. */
  readonly has: readonly (readonly Uint8Array[])[]
  readonly visible: readonly (readonly Uint8Array[])[]
  /** Ranks of the chosen by falling score, where the list is to be visited in that order. */
  readonly ranks: readonly (readonly Int32Array[])[] | null
}

/** Every pair of positions for which a function is true. */
interface Rule {
  readonly form: 'rule'
  readonly holds: (ix: IndexRecord) => boolean
}

/** Spans of keys given by a function of the query unit; what they are is known where a call is. */
interface Spans {
  readonly form: 'spans'
  readonly spansOf: (call: Call) => Sel
}

interface Algebra {
  readonly form: 'union' | 'intersect' | 'difference'
  readonly sets: readonly Sel[]
}

/** A set of cells. */
export function cellsOf<H extends Share, Q extends Units, K extends Units>(
  call: Call,
  share: H,
  q: Q,
  kv: K,
  has: (sharer: Sharer, row: number, column: number) => boolean,
  visible: (sharer: Sharer, row: number, column: number) => Visibility,
  ranks: Cells['ranks'] = null,
): Sel<H, Q, K> {
  const grid = (cell: (sharer: Sharer, row: number, column: number) => number): Uint8Array[][] =>
    Array.from({ length: sharersOf(share, call) }, (_, at) =>
      unitsAt(q, at).map((_, row) =>
        Uint8Array.from(unitsAt(kv, at, row), (_, column) => cell({ call, share, at }, row, column)),
      ),
    )
  const body: Cells = {
    form: 'cells',
    call,
    has: grid((s, r, c) => Number(has(s, r, c))),
    visible: grid(visible),
    ranks,
  }
  return { kind: 'set', share, q, kv, body }
}

/** The set of those visible cells of scores for which a function is true. */
export const chosenFrom = <H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  chosen: (sharer: number, row: number, column: number) => boolean,
  ranks: Cells['ranks'] = null,
): Sel<H, Q, K> => {
  const visible = (sharer: number, row: number, column: number) =>
    s.visible[sharer]![row]![column]! as Visibility
  return cellsOf(
    s.call,
    s.share,
    s.q,
    s.kv,
    ({ at }, row, column) => visible(at, row, column) === VISIBLE && chosen(at, row, column),
    ({ at }, row, column) => visible(at, row, column),
    ranks,
  )
}

/** The units of a set that is made of cells; of spans, the cells that they are in a call. */
export function cellForm(word: string, set: Sel, call: Call | null): Sel & { readonly body: Cells } {
  const { body } = set
  if (body.form === 'cells') return { ...set, body }
  if (body.form === 'spans' && call) return cellForm(word, body.spansOf(call), call)
  throw patternError('no-units', { word })
}

/**
 * The chosen units of a set as an axis of keys: each sharer's and query unit's own.
 *
 * @param q the queries that they are for, cut as the set's are unless those are whole
 */
export function chosenUnits(word: string, set: Sel, q: Units, share: Share, call: Call): Units {
  const made = cellForm(word, set, call)
  if (made.q.grain !== 'whole') checkUnits(word, q, axisFor(made.q, made.share, share, call))
  const lists = made.body.has.map((rows, at) =>
    rows.map((has, row) => unitsAt(made.kv, at, row).filter((_, column) => has[column] === 1)),
  )
  return axisFor({ ...made.kv, lists }, made.share, share, call)
}

/** Whether a sharer's pair of tokens, given by positions, is in a set. */
export type Member = (sharer: Sharer, q: number, kv: number) => boolean

/** Which units of a line hold each token. */
export function indexesOf(units: readonly Members[]): ReadonlyMap<number, readonly number[]> {
  const holding = new Map<number, number[]>()
  units.forEach((unit, at) => {
    for (const token of unit.tokens) {
      const list = holding.get(token)
      if (list) list.push(at)
      else holding.set(token, [at])
    }
  })
  return holding
}

/** Whether a set holds a pair of tokens. */
export function membership(set: Sel, call: Call): Member {
  const { body } = set
  switch (body.form) {
    case 'rule':
      return (sharer, q, kv) => headsOf(sharer).some((head) => body.holds(pairAt(call, head, q, kv)))
    case 'spans':
      return membership(body.spansOf(call), call)
    case 'cells':
      return cellMembership({ ...set, body })
    default: {
      const members = body.sets.map((s) => membership(s, call))
      return combined(body.form, members)
    }
  }
}

export const combined = (form: Algebra['form'], members: readonly Member[]): Member => {
  const [first, ...rest] = members
  switch (form) {
    case 'union':
      return (...pair) => members.some((m) => m(...pair))
    case 'intersect':
      return (...pair) => members.every((m) => m(...pair))
    case 'difference':
      return (...pair) => first!(...pair) && !rest.some((m) => m(...pair))
  }
}

function cellMembership(set: Sel & { readonly body: Cells }): Member {
  const { share, q, kv, body } = set
  const lines = body.has.map((rows, s) => ({
    rows,
    qUnits: indexesOf(unitsAt(q, s)),
    kvUnits: rows.map((_, row) => (row > 0 && kvIsEven(kv, s) ? null : indexesOf(unitsAt(kv, s, row)))),
  }))
  const offsets = isOffsets(kv) ? offsetMembership(kv, unitsAt(kv, 0), q) : null
  return (sharer, qToken, kvToken) => {
    const line = lines[sharerAt(share, sharer.share, sharer.at, body.call)]!
    return (line.qUnits.get(qToken) ?? []).some((row) => {
      const has = line.rows[row]!
      if (offsets) return offsets(has, qToken, kvToken)
      const units = line.kvUnits[row] ?? line.kvUnits[0]!
      return (units.get(kvToken) ?? []).some((column) => has[column] === 1)
    })
  }
}

const kvIsEven = (axis: Units, sharer: number): boolean =>
  axis.lists[axis.lists.length === 1 ? 0 : sharer]!.length === 1

export const isOffsets = (axis: Units): axis is Offsets => axis.grain === 'offset'

/** Distances hold a pair whose key lies at one of them from the query, both counted in the units of `of`. */
function offsetMembership(
  axis: Offsets,
  distances: readonly Members[],
  q: Units,
): (has: Uint8Array, q: number, kv: number) => boolean {
  const columnOf = new Map(distances.map((unit, column) => [unit.index, column]))
  const kvIndex = indexOfToken(unitsAt(axis.of, 0))
  // Queries are counted as keys are: a whole axis or one of tokens stands for each of its tokens.
  const qIndex = q.grain === axis.of.grain ? indexOfToken(unitsAt(q, 0)) : kvIndex
  return (has, qToken, kvToken) => {
    const [i, j] = [qIndex.get(qToken), kvIndex.get(kvToken)]
    if (i === undefined || j === undefined) return false
    const column = columnOf.get(i - j)
    return column !== undefined && has[column] === 1
  }
}

export const indexOfToken = (units: readonly Members[]): ReadonlyMap<number, number> =>
  new Map(units.flatMap((unit) => unit.tokens.map((token) => [token, unit.index] as const)))

/** Whether sets are cells over the same axes, shared alike. */
export const sameCells = (sets: readonly Sel[]): sets is readonly (Sel & { readonly body: Cells })[] =>
  sets.every(
    (s) =>
      s.body.form === 'cells' &&
      s.share === sets[0]!.share &&
      sameUnits(s.q, sets[0]!.q) &&
      sameUnits(s.kv, sets[0]!.kv),
  )

/** Whether a set holds some pair of tokens of two units. */
export const meets = (set: Member, sharer: Sharer, q: Members, kv: Members): boolean =>
  q.tokens.some((i) => kv.tokens.some((j) => set(sharer, i, j)))

/** Scores, a number for each pair of units and each sharer, and which pairs are visible. */

import { headIndex, headsOf, sharerAt, sharersOf, type Call, type Share, type Sharer } from './call.ts'
import { unitsAt, type Members, type Unit, type Units } from './units.ts'

/**
 * A matrix of query units by key units for each sharer; a vector or a number where an axis is `whole`.
 *
 * A cell is visible or not, by the mask. An invisible one scores -Infinity, stays so under map(), weighs 0 in
 * softmax(), is no member in pool(), and can never be selected: that is the whole causality of selection.
 */
export interface Scores<H extends Share = Share, Q extends Units = Units, K extends Units = Units> {
  readonly kind: 'scores'
  readonly call: Call
  readonly share: H
  readonly q: Q
  readonly kv: K
  /** By sharer and query unit, a number for each key unit. */
  readonly values: readonly (readonly Float64Array[])[]
  readonly visible: readonly (readonly Uint8Array[])[]
}

/** Why a cell cannot be selected: the mask hides it, or within() left it out, which pooling does not undo. */
export const HIDDEN = 0
export const VISIBLE = 1
export const OUTSIDE = 2
export type Visibility = typeof HIDDEN | typeof VISIBLE | typeof OUTSIDE

/** What functions see of a cell: who, and which units. */
export interface UnitPair {
  readonly batch: number
  /**
   * The query head; of values shared more widely, the first that shares it; of an indexer's, its own head.
   */
  readonly head: number
  readonly kvHead: number
  readonly q: Unit
  readonly kv: Unit
}

export interface Cell {
  readonly value: number
  readonly visible: Visibility
}

/** Where a cell stands: the sharer, the places of both units in their lists, and the units. */
export interface CellPlace {
  readonly sharer: Sharer
  readonly row: number
  readonly column: number
  readonly q: Members
  readonly kv: Members
}

/** Scores made cell by cell. */
export function scoresOf<H extends Share, Q extends Units, K extends Units>(
  call: Call,
  share: H,
  q: Q,
  kv: K,
  cellAt: (place: CellPlace) => Cell,
): Scores<H, Q, K> {
  const values: Float64Array[][] = []
  const visible: Uint8Array[][] = []
  for (let at = 0; at < sharersOf(share, call); at++) {
    const sharer = { call, share, at }
    const rows = unitsAt(q, at).map((qUnit, row) => {
      const units = unitsAt(kv, at, row)
      const line = { values: new Float64Array(units.length), visible: new Uint8Array(units.length) }
      units.forEach((kvUnit, column) => {
        const cell = cellAt({ sharer, row, column, q: qUnit, kv: kvUnit })
        line.values[column] = cell.visible === VISIBLE ? cell.value : -Infinity
        line.visible[column] = cell.visible
      })
      return line
    })
    values.push(rows.map((row) => row.values))
    visible.push(rows.map((row) => row.visible))
  }
  return { kind: 'scores', call, share, q, kv, values, visible }
}

export const unitPair = ({ sharer, q, kv }: Pick<CellPlace, 'sharer' | 'q' | 'kv'>): UnitPair => ({
  batch: sharer.call.batch,
  ...headIndex(sharer),
  q,
  kv,
})

/**
 * The cell of scores that a finer or equal share, and an equal or whole axis, reads by NumPy's
 * broadcasting.
 */
export function cellOf(s: Scores, share: Share, { sharer, row, column }: CellPlace): Cell {
  const at = sharerAt(s.share, share, sharer.at, s.call)
  const rowAt = s.q.grain === 'whole' ? 0 : row
  const columnAt = s.kv.grain === 'whole' ? 0 : column
  return {
    value: s.values[at]![rowAt]![columnAt]!,
    visible: s.visible[at]![rowAt]![columnAt]! as Visibility,
  }
}

/**
 * Which pairs of units a score may be given for: those with an allowed pair of tokens, only such pairs, or
 * all.
 */
export type Visible = 'any' | 'all' | 'off'

/** What the mask says of a pair of units, for the heads that a sharer stands for. */
export function seen(rule: Visible, sharer: Sharer, q: Members, kv: Members): Visibility {
  if (rule === 'off') return VISIBLE
  const heads = headsOf(sharer)
  const keeps = (head: number): boolean =>
    rule === 'any'
      ? q.tokens.some((i) => kv.tokens.some((j) => sharer.call.keeps(head, i, j)))
      : q.tokens.every((i) => kv.tokens.every((j) => sharer.call.keeps(head, i, j)))
  if (q.length === 0 || kv.length === 0) return HIDDEN
  return (rule === 'any' ? heads.some(keeps) : heads.every(keeps)) ? VISIBLE : HIDDEN
}

/** Places: a cell of scores, or a pair of units of a set, as the functions of a file pass it on; its units as variables; whether it is read. */

import type { KvTiles } from '../../compiler/plan.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Code } from '../kernel.ts'
import type { Sharer, StageText, Vars } from './text.ts'
import { joinVars, unitVars, type Unit } from './units.ts'

/** A pair of units, of the set's own axes or of finer ones that lie inside them. */
export interface Pair {
  readonly of: Sharer
  readonly q: Unit
  readonly kv: Unit
}

/** A node's cell whose value and visibility a kernel has at hand, and the nodes whose cells are made of it. */
export interface Given {
  readonly node: StageNode
  readonly value: Code
  readonly seen: Code
  readonly path: ReadonlySet<StageNode>
}

/** What a file's functions of scores share: the file, the tiles of the pattern's mask, and the question to a set. */
export interface Cells {
  readonly text: StageText
  readonly tiles: KvTiles
  readonly given: Given | null
  /** The same where something else is at hand. */
  readonly with: (given: Given) => Cells
  readonly holds: (set: StageNode, pair: Pair) => Code
  readonly value: (node: StageNode, place: CellPlace) => Code
  readonly seen: (node: StageNode, place: CellPlace) => Code
}

/** A cell by the places of its units. */
export interface CellPlace {
  readonly of: Sharer
  readonly q: Code
  readonly kv: Code
}

export const unitsOf = (node: StageNode, { of, q, kv }: CellPlace): { q: Unit; kv: Unit } => {
  const type = scoresOf(node)
  return { q: { axis: type.q, place: q, of }, kv: { axis: type.kv, place: kv, of } }
}

export const cellVars = (t: StageText, units: { q: Unit; kv: Unit }): Vars =>
  joinVars(unitVars(t, 'q', units.q), unitVars(t, 'kv', units.kv))

/** True of cells that are read, and made of what is read by a few operations. */
export const isRead = (t: StageText, node: StageNode): boolean => {
  const stored = t.find(node, 'scores')
  if (stored) return !t.writes(stored)
  return isWord(node, 'map', 'softmax', 'skew', 'unskew') && node.src.every((n) => isRead(t, n))
}

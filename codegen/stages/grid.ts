/** Grid: which unit of a stage's value a thread or a workgroup has, and which element of it a thread that works alone. */

import type { Share } from '../../compiler/stages/graph.ts'
import { Block } from '../block.ts'
import {
  add,
  fromU32,
  i32,
  le,
  lt,
  min,
  mul,
  op,
  quotient,
  remainder,
  sub,
  toU32,
  u32,
  type Code,
  type Entry,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import type { Sharer, StageText } from './text.ts'

/** Threads of a workgroup whose threads work alone. */
export const ALONE = 64

/** A unit of the grid: a sharer and a q unit, by its place along its axis. */
export interface GridUnit {
  readonly of: Sharer
  readonly row: Code
}

/** The workgroup's number. */
export const groupOf = (t: StageText): Code =>
  add(op('u32', 'groupX'), mul(op('u32', 'groupY'), t.uniform('gridX')))

export function unitAt(t: StageText, block: Block, share: Share, number: Code): GridUnit {
  const units = t.uniform('unitCount')
  const row = block.let('row', add(t.uniform('unitBase'), remainder(number, units)))
  return { of: sharerAt(t, block, share, block.let('pair', quotient(number, units))), row }
}

function sharerAt(t: StageText, block: Block, share: Share, pair: Code): Sharer {
  const at = block.let('sharer', remainder(pair, t.sharers(share)))
  const batch = block.let('batch', quotient(pair, t.sharers(share)))
  return { batch, share, at }
}

/** The unit of one of the teams of a workgroup, which have units of one sharer one behind the other; the last of all may have none. */
export function unitOfTeam(
  t: StageText,
  block: Block,
  share: Share,
  group: Code,
  team: Code,
  teams: number,
): GridUnit & { readonly there: Code } {
  const units = t.uniform('unitCount')
  const number = block.let('number', fromU32(group))
  const down = block.let('down', tiles(units, teams))
  const of = sharerAt(t, block, share, block.let('pair', quotient(number, down)))
  const place = block.let('place', add(mul(remainder(number, down), i32(teams)), team))
  const there = block.let('there', lt(place, units))
  const row = block.let('row', add(t.uniform('unitBase'), min(place, sub(units, i32(1)))))
  return { of, row, there }
}

const tiles = (n: Code, side: number): Code => quotient(add(n, i32(side - 1)), i32(side))

/** One thread for each of `inner` elements of each unit. */
export function elementwise(
  t: StageText,
  share: Share,
  inner: Code,
  body: (block: Block, unit: GridUnit, element: Code) => void,
): Entry {
  const block = new Block(t.names.child())
  // Elements may be more than an i32 counts, though their units are not.
  const index = block.let('index', add(mul(groupOf(t), u32(ALONE)), op('u32', 'thread')))
  const units = toU32(mul(mul(t.uniform('batches'), t.sharers(share)), t.uniform('unitCount')))
  const count = block.let('inner', toU32(inner))
  block.if(le(mul(units, count), index), (b) => b.return())
  const element = block.let('element', fromU32(remainder(index, count)))
  const number = block.let('number', fromU32(quotient(index, count)))
  body(block, unitAt(t, block, share, number), element)
  return { name: 'run', threads: ALONE, body: block.stmts }
}

/** A tile of cells: the block that has them, their sharer, and where the tile begins among the rows and columns there are. */
export interface GridTile {
  readonly block: Block
  readonly of: Sharer
  /** Rows of the dispatch, and the q unit of the first of them. */
  readonly rows: Code
  readonly columns: Code
  readonly base: Code
  readonly firstRow: Code
  readonly firstColumn: Code
}

/** One workgroup for each rectangle of as many rows and columns as a tile has. */
export function tileAt(t: StageText, share: Share, width: Code, { q, kv }: Products['tile']): GridTile {
  const block = new Block(t.names.child())
  const own = block.let('own', groupOf(t))
  block.if(le(t.uniform('groupCount'), own), (b) => b.return())
  const rows = t.uniform('unitCount')
  const columns = block.let('columns', width)
  const across = block.let('across', tiles(columns, kv))
  const down = block.let('down', tiles(rows, q))
  const number = block.let('number', fromU32(own))
  const above = block.let('above', quotient(number, across))
  return {
    block,
    of: sharerAt(t, block, share, block.let('pair', quotient(above, down))),
    rows,
    columns,
    base: t.uniform('unitBase'),
    firstRow: block.let('firstRow', mul(remainder(above, down), i32(q))),
    firstColumn: block.let('firstColumn', mul(remainder(number, across), i32(kv))),
  }
}

/** Candidates: a row of scores in; its cells out, by keys that compare as their values do and that a team keeps. */

import type { StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, and, eq, f32, i32, lt, max, min, not, op, select, sub, u32 } from '../kernel.ts'
import type { Code } from '../kernel.ts'
import { LOW, seenAt, valueAt } from './cells.ts'
import type { GridUnit } from './grid.ts'
import { isShuffled, type Team } from './team.ts'
import { countOf } from './units.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'

/** The key of a cell that is taken whatever its value is: no number's bits give it. That of one that cannot be chosen is 0. */
export const FORCED = 2 ** 32 - 1
export const isForced = (key: Code): Code => eq(key, u32(FORCED))
/** True of a cell that is chosen by its value: neither 0 nor FORCED, in one comparison. */
export const isOpen = (key: Code): Code => lt(sub(key, u32(1)), u32(FORCED - 1))
/** The same of those at or above a key that is not 0. */
export const isOpenFrom = (least: Code, key: Code): Code => lt(sub(key, least), sub(u32(FORCED), least))

/** A cell of the row when it is first met. */
export interface Candidate {
  readonly key: Code
  readonly value: Code
}

export interface Row {
  readonly columns: Code
  /** How many there are at most; null: any number. */
  readonly most: number | null
  /** Where they are in registers: a thread's keys, of every column that is its lane and a multiple of the team's threads. */
  readonly slots: readonly Code[] | null
  /** Threads of the team one beside the other, each a column; all cells are met once in this way before any other. */
  readonly first: (b: Block, visit: (b: Block, cell: Candidate) => void) => void
  /** Columns from `from` to before `end`; `from` is a multiple of the threads. */
  readonly again: (
    b: Block,
    from: Code,
    end: Code,
    visit: (b: Block, column: Code, key: Code) => void,
  ) => void
}

/** How a team goes over a row, and how many of its keys it keeps: those beyond are made anew. */
export interface Keeping {
  readonly ahead: number
  readonly kept: number
  /** No more than are kept; null: rows of any length. */
  readonly most: number | null
}

export function candidates(
  c: Cells,
  node: StageNode<'topK'> | StageNode<'topP'>,
  { of, row }: GridUnit,
  team: Team,
  { ahead, kept, most }: Keeping,
): Row {
  const { threads, lane, room } = team
  const { text: t } = c
  const source = node.src[0]!
  const { force } = node.arg
  const columns = countOf(t, scoresOf(source).kv)
  const cellAt = (b: Block, column: Code): Candidate => {
    const place: CellPlace = { of, q: row, kv: column }
    const seen = b.let('seen', seenAt(c, source, place))
    const value = b.let('value', valueAt(c, source, place))
    const open = and(seen, lt(f32(LOW), value))
    const key = select(open, orderKey(b, value), u32(0))
    if (!force) return { key: b.let('key', key), value }
    const forced = and(seen, t.write(b, force, { ...of, vars: cellVars(t, unitsOf(source, place)) }))
    return { key: b.let('key', select(forced, u32(FORCED), key)), value }
  }
  if (most !== null && isShuffled(team)) return inRegisters(columns, most, team, cellAt)
  const keys = room('keys', kept)
  const sweep = (
    b: Block,
    from: Code,
    end: Code,
    visit: (b: Block, column: Code, cell: Candidate) => void,
  ): void =>
    b.for('column', add(from, lane), end, threads * ahead, (d, column) => {
      if (ahead === 1) return visit(d, column, cellAt(d, column))
      // Read whether they are there or not, so that no branch parts the reads and a thread waits for all together.
      const cells = [...Array(ahead).keys()].map((i) => {
        const own = d.let('own', add(column, i32(i * threads)))
        return { own, cell: cellAt(d, d.let('there', min(own, sub(end, i32(1))))) }
      })
      for (const { own, cell } of cells) d.if(lt(own, end), (e) => visit(e, own, cell))
    })
  return {
    columns,
    most,
    slots: null,
    first: (b, visit) =>
      sweep(b, i32(0), columns, (d, column, cell) => {
        const keep = (e: Block): void => e.set(keys(column), cell.key)
        if (most === null) d.if(lt(column, i32(kept)), keep)
        else keep(d)
        visit(d, cell)
      }),
    again: (b, from, end, visit) => {
      b.for('column', add(from, lane), most === null ? min(end, i32(kept)) : end, threads, (d, column) =>
        visit(d, column, d.let('key', keys(column))),
      )
      if (most === null) sweep(b, max(from, i32(kept)), end, (d, column, { key }) => visit(d, column, key))
    },
  }
}

/** All cells of a row at once: those beyond its end have the key of one that cannot be chosen. */
function inRegisters(
  columns: Code,
  most: number,
  { threads, lane }: Team,
  cellAt: (b: Block, column: Code) => Candidate,
): Row {
  const slots: Code[] = []
  const places = [...Array(most / threads).keys()].map((i) => add(lane, i32(i * threads)))
  return {
    columns,
    most,
    slots,
    first: (b, visit) => {
      const last = b.let('last', sub(columns, i32(1)))
      // Read whether they are there or not, so that no branch parts the reads.
      const cells = places.map((column) => cellAt(b, b.let('within', min(column, last))))
      for (const [i, { key }] of cells.entries())
        slots.push(b.let('kept', select(lt(places[i]!, columns), key, u32(0))))
      for (const [i, { value }] of cells.entries()) visit(b, { key: slots[i]!, value })
    },
    again: (b, _, __, visit) => {
      for (const [i, key] of slots.entries()) visit(b, places[i]!, key)
    },
  }
}

/** Bits that compare as the numbers do, above zero for every number; both zeros are one. */
function orderKey(b: Block, value: Code): Code {
  const bits = b.let('bits', op('u32', 'floatBits', select(eq(value, f32(0)), f32(0), value)))
  const negative = not(eq(op('u32', 'bitAnd', bits, u32(2 ** 31)), u32(0)))
  return select(negative, op('u32', 'bitNot', bits), op('u32', 'bitOr', bits, u32(2 ** 31)))
}

/** The value that a key stands for. */
export function valueOfKey(key: Code): Code {
  const positive = not(eq(op('u32', 'bitAnd', key, u32(2 ** 31)), u32(0)))
  const bits = select(positive, op('u32', 'bitAnd', key, u32(2 ** 31 - 1)), op('u32', 'bitNot', key))
  return op('f32', 'bitsFloat', bits)
}

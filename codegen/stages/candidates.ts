/** Candidates: a row of scores in; its cells out, by keys that compare as their values do and that a workgroup keeps. */

import type { StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { RowSchedule } from '../schedule.ts'
import type { Block } from '../block.ts'
import { add, and, at, eq, f32, i32, lt, not, op, select, sub, u32 } from '../kernel.ts'
import type { Code } from '../kernel.ts'
import { seenAt, valueAt } from './cells.ts'
import type { GridUnit } from './grid.ts'
import type { Team } from './team.ts'
import { countOf } from './units.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'

/** Below it a value counts as -Infinity. */
const LOW = -3.0e38

/** The key of a cell that is taken whatever its value is: no number's bits give it. That of one that cannot be chosen is 0. */
export const FORCED = 2 ** 32 - 1
export const isForced = (key: Code): Code => eq(key, u32(FORCED))
/** True of a cell that is chosen by its value: neither 0 nor FORCED, in one comparison. */
export const isOpen = (key: Code): Code => lt(sub(key, u32(1)), u32(FORCED - 1))

/** A cell of the row when it is first met. */
export interface Candidate {
  readonly key: Code
  readonly value: Code
}

export interface Row {
  readonly columns: Code
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

export function candidates(
  c: Cells,
  node: StageNode<'topK'> | StageNode<'topP'>,
  { of, row }: GridUnit,
  { threads, lane, room }: Team,
  { ahead, kept }: RowSchedule,
): Row {
  const { text: t } = c
  const source = node.src[0]!
  const { force } = node.arg
  const columns = countOf(t, scoresOf(source).kv)
  const keys = room('keys', kept)
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
  // Of several columns at once the reads come first, so that a thread waits for all of them together.
  const sweep = (
    b: Block,
    from: Code,
    end: Code,
    read: (b: Block, column: Code) => Candidate,
    visit: (b: Block, column: Code, cell: Candidate) => void,
  ): void =>
    b.for('column', add(from, lane), end, threads * ahead, (d, column) => {
      if (ahead === 1) return visit(d, column, read(d, column))
      const cells = [...Array(ahead).keys()].map((i) => {
        const own = d.let('own', add(column, i32(i * threads)))
        const key = d.var('ownKey', u32(0))
        const value = d.var('ownValue', f32(0))
        d.if(lt(own, end), (e) => {
          const cell = read(e, own)
          e.set(key, cell.key)
          e.set(value, cell.value)
        })
        return { own, cell: { key, value } }
      })
      for (const { own, cell } of cells) d.if(lt(own, end), (e) => visit(e, own, cell))
    })
  const keep = (b: Block, column: Code, { key }: Candidate): void =>
    b.if(lt(column, i32(kept)), (d) => d.set(at(keys, column), key))
  const known = (b: Block, column: Code): Candidate => {
    const key = b.var('key', u32(0))
    b.if(
      lt(column, i32(kept)),
      (d) => d.set(key, at(keys, column)),
      (d) => d.set(key, cellAt(d, column).key),
    )
    return { key, value: f32(0) }
  }
  return {
    columns,
    first: (b, visit) =>
      sweep(b, i32(0), columns, cellAt, (d, column, cell) => {
        keep(d, column, cell)
        visit(d, cell)
      }),
    again: (b, from, end, visit) => sweep(b, from, end, known, (d, column, { key }) => visit(d, column, key)),
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

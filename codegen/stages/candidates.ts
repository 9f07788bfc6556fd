/** Candidates: a row of scores in; its cells by keys that compare as their values do, and which of them are forced, out. */

import type { StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { and, bool, eq, f32, lt, not, op, select, u32, type Code } from '../kernel.ts'
import { seenAt, valueAt } from './cells.ts'
import { TOGETHER, type GridUnit } from './grid.ts'
import { countOf } from './units.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'

/** Below it a value counts as -Infinity. */
const LOW = -3.0e38

/** A cell of the row that is chosen from. */
export interface Candidate {
  /** 0 where it cannot be chosen but by force. */
  readonly key: (b: Block) => Code
  readonly forced: (b: Block) => Code
  readonly value: Code
  readonly column: Code
}

export interface Row {
  readonly columns: Code
  readonly at: (b: Block, column: Code) => Candidate
  readonly each: (b: Block, lane: Code, visit: (b: Block, cell: Candidate) => void) => void
}

export function candidates(
  c: Cells,
  node: StageNode<'topK'> | StageNode<'topP'>,
  { of, row }: GridUnit,
): Row {
  const { text: t } = c
  const source = node.src[0]!
  const { force } = node.arg
  const columns = countOf(t, scoresOf(source).kv)
  const at = (b: Block, column: Code): Candidate => {
    const place: CellPlace = { of, q: row, kv: column }
    const seen = b.let('seen', seenAt(c, source, place))
    const value = b.let('value', valueAt(c, source, place))
    const forced = force
      ? b.let('forced', and(seen, t.write(b, force, { ...of, vars: cellVars(t, unitsOf(source, place)) })))
      : bool(false)
    const open = b.let('open', and(seen, not(forced), lt(f32(LOW), value)))
    return {
      value,
      column,
      forced: () => forced,
      key: (d) => d.let('key', select(open, orderKey(d, value), u32(0))),
    }
  }
  return {
    columns,
    at,
    each: (b, lane, visit) =>
      b.for('column', lane, columns, TOGETHER, (d, column) => visit(d, at(d, column))),
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

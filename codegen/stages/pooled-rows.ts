/** Pooled rows: pools of the same rows over the same units in; a component of each, from one sweep over the units that go into it, out. */

import type { Args, StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, f32, lt, max, min, op, select, type Code } from '../kernel.ts'
import type { StageText } from './text.ts'
import { sourcesOf, unitVars, type Unit } from './units.ts'

/** The least f32: what stands for -Infinity where no infinity can be written. */
export const LOWEST = -3.4028234663852886e38

const STARTS: Partial<Readonly<Record<Args['poolRows']['how'], number>>> = { max: LOWEST, min: -LOWEST }

/** @param read the operand's component of a unit */
export function pooledRows(
  t: StageText,
  b: Block,
  nodes: readonly StageNode<'poolRows'>[],
  unit: Unit,
  read: (member: Code) => Code,
): readonly Code[] {
  const [first] = nodes
  const source = rowsOf(first!.src[0]!)
  const filter = first!.arg.of
  const { lo, hi } = sourcesOf(t, source.axis, unit)
  const hows = nodes.map(({ arg }) => arg.how)
  const totals = hows.map((how) => b.var('total', f32(STARTS[how] ?? 0)))
  const count = b.var('count', f32(0))
  b.for('member', lo, hi, 1, (c, member) => {
    const take = (d: Block) => {
      const value = nodes.length === 1 ? read(member) : d.let('value', read(member))
      for (const [i, how] of hows.entries()) {
        const total = totals[i]!
        d.set(
          total,
          how === 'max' ? max(total, value) : how === 'min' ? min(total, value) : add(total, value),
        )
      }
      d.set(count, add(count, f32(1)))
    }
    if (!filter) return take(c)
    const own: Unit = { axis: source.axis, place: member, of: unit.of }
    c.if(t.write(c, filter, { ...unit.of, vars: unitVars(t, 'unit', own) }), take)
  })
  return totals.map((total, i) => {
    const value = hows[i] === 'mean' ? op('f32', 'div', total, max(count, f32(1))) : total
    return select(lt(f32(0), count), value, f32(0))
  })
}

/** Pooled rows: pools of the same rows over the same units in; components of each, from one sweep over the units that go into it, out. */

import type { Args, StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, f32, lt, max, min, op, select, type Code } from '../kernel.ts'
import type { StageText } from './text.ts'
import { sourcesOf, unitVars, type Unit } from './units.ts'

/** The least f32: what stands for -Infinity where no infinity can be written. */
export const LOWEST = -3.4028234663852886e38

const STARTS: Partial<Readonly<Record<Args['poolRows']['how'], number>>> = { max: LOWEST, min: -LOWEST }

/**
 * @param width how many components
 * @param read those of the operand's vector of a unit
 * @returns of each node those components
 */
export function pooledRows(
  t: StageText,
  b: Block,
  nodes: readonly StageNode<'poolRows'>[],
  unit: Unit,
  width: number,
  read: (d: Block, member: Code) => readonly Code[],
): readonly (readonly Code[])[] {
  const [first] = nodes
  const source = rowsOf(first!.src[0]!)
  const filter = first!.arg.of
  const { lo, hi } = sourcesOf(t, source.axis, unit)
  const hows = nodes.map(({ arg }) => arg.how)
  const totals = hows.map((how) => Array.from({ length: width }, () => b.var('total', f32(STARTS[how] ?? 0))))
  const count = b.var('count', f32(0))
  b.for('member', lo, hi, 1, (c, member) => {
    const take = (d: Block) => {
      const values = read(d, member).map((e) => (nodes.length === 1 ? e : d.let('value', e)))
      for (const [i, how] of hows.entries())
        for (const [n, value] of values.entries()) {
          const total = totals[i]![n]!
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
  return totals.map((own, i) =>
    own.map((total) => {
      const value = hows[i] === 'mean' ? op('f32', 'div', total, max(count, f32(1))) : total
      return select(lt(f32(0), count), value, f32(0))
    }),
  )
}

/** The kernels whose workgroups have a row each: statistics of a softmax, orders. A kernel of the plan in, its entry out. */

import { isWord } from '../../compiler/stages/graph.ts'
import type { SortKernel, StatisticsKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  f32,
  i32,
  lt,
  max,
  mul,
  op,
  or,
  sub,
  type Code,
  type Entry,
  type Memory,
} from '../kernel.ts'
import { seenAt, storedRow, valueAt } from './cells.ts'
import { reduceAll, rowwise, TOGETHER } from './grid.ts'
import { LOWEST } from './rows.ts'
import { countOf, tokensOf, Unsupported } from './units.ts'
import type { CellPlace, Cells } from './place.ts'

/** An entry, and the workgroup memory that it declares. */
export interface Made {
  readonly entry: Entry
  readonly memory: readonly Memory[]
}

const LOW = -3.0e38

/** The greatest visible cell of each row, and the sum of the exponentials of all less it. */
export function statisticsEntry(c: Cells, { node, grid }: StatisticsKernel): Made {
  const { text: t } = c
  const source = node.src[0]!
  const scratch = t.workgroup('scratch', 'f32', [TOGETHER])
  const [tops, sums] = [t.stored(t.find(node, 'max')!), t.stored(t.find(node, 'sum')!)]
  const entry = rowwise(t, grid.share, (b, { of, row }, lane) => {
    const columns = countOf(t, scoresOf(source).kv)
    const each = (d: Block, visit: (e: Block, value: Code) => void) =>
      d.for('column', lane, columns, TOGETHER, (e, column) => {
        const place: CellPlace = { of, q: row, kv: column }
        e.if(seenAt(c, source, place), (f) => visit(f, f.let('value', valueAt(c, source, place))))
      })
    const own = b.var('own', f32(LOWEST))
    each(b, (d, value) => d.set(own, max(own, value)))
    const top = reduceAll(b, scratch, lane, own, max, 'top')
    const part = b.var('part', f32(0))
    each(b, (d, value) =>
      d.if(lt(f32(LOW), value), (e) => e.set(part, add(part, op('f32', 'exp', sub(value, top))))),
    )
    const sum = reduceAll(b, scratch, lane, part, add, 'sum')
    b.if(eq(lane, i32(0)), (d) => {
      const index = storedRow(t, node, 'max', { of, q: row })
      d.set(at(tops, index), top)
      d.set(at(sums, index), sum)
    })
  })
  return { entry, memory: [scratch] }
}

/** Each token's place is the number of those of its group that stand before it: groups are small, so it is counted. */
export function sortEntry(c: Cells, { node, grid }: SortKernel): Made {
  const { text: t } = c
  if (!isWord(node, 'argsort')) throw new Unsupported(`an order of ${node.word}`)
  const { per, descending } = node.arg
  const source = node.src[0]!
  const axis = scoresOf(source).kv
  if (per === null || per.kind !== 'block') throw new Unsupported('an order of a whole side')
  const target = t.stored(t.find(node, 'order')!)
  const group = { ...axis, units: per }
  const entry = rowwise(t, grid.share, (b, { of, row }, lane) => {
    const { lo, hi } = tokensOf(t, { axis: group, place: row, of })
    const [first, end] = [b.let('first', lo), b.let('end', hi)]
    const length = axis.side === 'q' ? t.qLen : t.kvLen
    const base = axis.side === 'q' ? t.qStart : i32(0)
    const begin = b.let('begin', mul(add(mul(of.batch, t.sharers(of.share)), of.at), length))
    const valueOf = (token: Code) => valueAt(c, source, { of, q: i32(0), kv: token })
    b.for('token', add(first, lane), end, TOGETHER, (d, token) => {
      const own = d.let('own', valueOf(token))
      const place = d.var('place', first)
      d.for('other', first, end, 1, (e, other) => {
        const theirs = e.let('theirs', valueOf(other))
        const ahead = descending ? lt(own, theirs) : lt(theirs, own)
        const tied = and(eq(own, theirs), lt(other, token))
        e.if(or(ahead, tied), (f) => f.set(place, add(place, i32(1))))
      })
      d.set(at(target, add(begin, place)), add(base, token))
    })
  })
  return { entry, memory: [] }
}

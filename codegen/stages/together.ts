/** The kernels whose workgroups have a row each: statistics of a softmax, quantized vectors, orders. A kernel of the plan in, its entry out. */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { ExtentsKernel, RowsKernel, SortKernel, StatisticsKernel } from '../../compiler/stages/plan.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  f32,
  fromU32,
  i32,
  lt,
  max,
  min,
  mul,
  op,
  or,
  select,
  sub,
  toU32,
  u32,
  type Code,
} from '../kernel.ts'
import { LOW, seenAt, storedRow, valueAt } from './cells.ts'
import { codeOf, rounded, scaleOf } from './quantized.ts'
import { LOWEST } from './pooled-rows.ts'
import { channelsOf, codeWords, element, rowIndex, unitIndex } from './rows.ts'
import type { ShortRows } from '../schedule.ts'
import type { GridUnit } from './grid.ts'
import { besides, reduceAll, together, type Made, type Team } from './team.ts'
import { countOf, extentIndex, positionAt, rowScheduleOf, tokensOf, Unsupported } from './units.ts'
import { isRead, type CellPlace, type Cells } from './place.ts'

/** Cells of a short row whose reads a thread has under way at once. */
const SHORT_AHEAD = 8

/**
 * The greatest visible cell of each row, and the sum of the exponentials of all less it, in one sweep: each thread's sum is of
 * exponentials less the greatest that it has met.
 * @param short null: a workgroup has a row of any length
 */
export function statisticsEntry(c: Cells, { node, grid }: StatisticsKernel, short: ShortRows | null): Made {
  const { text: t } = c
  const source = node.src[0]!
  const { kv } = scoresOf(source)
  const { threads, ahead } = short
    ? { threads: short.team, ahead: Math.min(SHORT_AHEAD, short.most / short.team) }
    : rowScheduleOf(t, kv)
  const each = isRead(t, source) ? ahead : 1
  const [tops, sums] = [t.stored(t.find(node, 'max')!), t.stored(t.find(node, 'sum')!)]
  const made = (b: Block, { of, row }: GridUnit, team: Team): void => {
    const { lane, there: isThere } = team
    const columns = countOf(t, kv)
    const own = b.var('own', f32(LOWEST))
    const part = b.var('part', f32(0))
    b.for('column', lane, columns, threads * each, (d, column) => {
      const values = [...Array(each).keys()].map((i) => {
        const place = (kv: Code): CellPlace => ({ of, q: row, kv })
        if (each === 1) {
          // A cell that is not read may cost an inner product.
          const value = d.var('value', f32(LOWEST))
          d.if(seenAt(c, source, place(column)), (e) => e.set(value, valueAt(c, source, place(column))))
          return value
        }
        const own = d.let('ownColumn', add(column, i32(i * threads)))
        const there = place(d.let('there', min(own, sub(columns, i32(1)))))
        const seen = and(lt(own, columns), seenAt(c, source, there))
        return d.let('value', select(seen, valueAt(c, source, there), f32(LOWEST)))
      })
      const next = d.let('next', values.reduce(max, own))
      const less = (value: Code) => op('f32', 'exp', sub(value, next))
      const terms = values.map((value) => select(lt(f32(LOW), value), less(value), f32(0)))
      d.set(part, terms.reduce(add, mul(part, less(own))))
      d.set(own, next)
    })
    const top = reduceAll(b, team, own, max, 'top')
    const sum = reduceAll(b, team, mul(part, op('f32', 'exp', sub(own, top))), add, 'sum')
    b.if(and(isThere, eq(lane, i32(0))), (d) => {
      const index = storedRow(t, node, 'max', { of, q: row })
      d.set(at(tops, index), top)
      d.set(at(sums, index), sum)
    })
  }
  return short ? besides(t, grid.share, short, made) : together(t, grid.share, threads, made)
}

/** Threads of a vector, which is seldom longer than a few of them. */
const VECTOR = 64

/** Rows of which every component hangs on the greatest: that is found once a row. */
export function quantizeEntry({ text: t }: Cells, node: StageNode<'quantize'>, { grid }: RowsKernel): Made {
  const [x] = node.src as [StageNode]
  const channels = channelsOf(t, rowsOf(node))
  const codes = t.find(node, 'codes')
  const target = t.stored(codes ?? t.find(node, 'rows')!)
  const { precision } = node.arg
  return together(t, grid.share, VECTOR, (b, { of, row }, team) => {
    const each = (d: Block, visit: (e: Block, channel: Code, value: Code) => void) =>
      d.for('channel', team.lane, channels, VECTOR, (e, channel) =>
        visit(e, channel, e.let('value', element(t, x, of, row, channel))),
      )
    const own = b.var('own', f32(0))
    each(b, (d, _, value) => d.set(own, max(own, op('f32', 'abs', value))))
    const most = reduceAll(b, team, own, max, 'most')
    if (codes && precision !== 'sign') {
      const scale = b.let('scale', scaleOf(precision, most))
      const unit = b.let('unit', unitIndex(t, node, of, row))
      b.if(eq(team.lane, i32(0)), (d) => d.set(at(t.stored(t.find(node, 'scales')!), unit), scale))
      const words = b.let('words', codeWords(t, node))
      b.for('word', team.lane, words, VECTOR, (d, word) => {
        const bitsOf = (channel: Code) => {
          const value = d.var('value', f32(0))
          d.if(lt(channel, channels), (e) => e.set(value, element(t, x, of, row, channel)))
          return op('u32', 'floatBits', codeOf(d, precision, value, most, scale))
        }
        const [low, high] = [bitsOf(mul(word, i32(2))), bitsOf(add(mul(word, i32(2)), i32(1)))]
        const two = op(
          'u32',
          'bitOr',
          op('u32', 'shr', low, u32(16)),
          op('u32', 'bitAnd', high, u32(0xffff0000)),
        )
        d.set(at(target, add(mul(unit, words), word)), two)
      })
      return
    }
    each(b, (d, channel, value) => {
      const made = rounded(d, node.arg.precision, value, most)
      d.set(at(target, rowIndex(t, node, of, row, channel)), made)
    })
  })
}

/** Values of a group that a workgroup has before it at once. */
const STAGED = 1024

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
  const staged = Math.min(per.size, STAGED)
  const { threads } = t.problem.rows.blocks
  return together(t, grid.share, threads, (b, { of, row }, { lane, room }) => {
    const values = room('values', staged)
    const valueOf = (word: Code) => op('f32', 'bitsFloat', word)
    const { lo, hi } = tokensOf(t, { axis: group, place: row, of })
    const [first, end] = [b.let('first', lo), b.let('end', hi)]
    const length = axis.side === 'q' ? t.qLen : t.kvLen
    const base = axis.side === 'q' ? t.qStart : i32(0)
    const begin = b.let('begin', mul(add(mul(of.batch, t.sharers(of.share)), of.at), length))
    // As many tokens as threads at once, each of which meets the whole group.
    b.for('from', first, end, threads, (d, from) => {
      const token = d.let('token', add(from, lane))
      const own = d.var('own', f32(0))
      const place = d.var('place', first)
      d.if(lt(token, end), (e) => e.set(own, valueAt(c, source, { of, q: i32(0), kv: token })))
      d.for('stretch', first, end, staged, (e, stretch) => {
        const most = e.let('most', min(sub(end, stretch), i32(staged)))
        e.barrier()
        e.for('n', lane, most, threads, (f, n) => {
          const value = valueAt(c, source, { of, q: i32(0), kv: add(stretch, n) })
          f.set(values(n), op('u32', 'floatBits', value))
        })
        e.barrier()
        e.for('n', i32(0), most, 1, (f, n) => {
          const theirs = f.let('theirs', valueOf(values(n)))
          const ahead = descending ? lt(own, theirs) : lt(theirs, own)
          const tied = and(eq(own, theirs), lt(add(stretch, n), token))
          f.set(place, add(place, select(or(ahead, tied), i32(1), i32(0))))
        })
      })
      d.if(lt(token, end), (e) => e.set(at(target, add(begin, place)), add(base, token)))
    })
  })
}

/** The least and the greatest original position of a unit's tokens. */
export function extentsEntry({ text: t }: Cells, { axis, grid }: ExtentsKernel): Made {
  const target = t.stored(t.extents(axis)!)
  return together(t, grid.share, VECTOR, (b, { of, row }, team) => {
    const { lo, hi } = tokensOf(t, { axis, place: row, of })
    const [first, end] = [b.let('first', lo), b.let('end', hi)]
    const position = (place: Code): Code => toU32(positionAt(t, axis, of, place))
    // Every thread has some token of the unit.
    const own = b.let('some', position(min(add(first, team.lane), sub(end, i32(1)))))
    const [least, greatest] = [b.var('least', own), b.var('greatest', own)]
    b.for('token', add(first, team.lane), end, VECTOR, (d, token) => {
      const here = d.let('here', position(token))
      d.set(least, min(least, here))
      d.set(greatest, max(greatest, here))
    })
    const extremes = [
      ['first', reduceAll(b, team, least, min, 'leastOfAll')],
      ['last', reduceAll(b, team, greatest, max, 'greatestOfAll')],
    ] as const
    b.if(eq(team.lane, i32(0)), (d) => {
      for (const [field, value] of extremes)
        d.set(at(target, extentIndex(t, axis, of, row, field)), fromU32(value))
    })
  })
}

/**
 * Linear maps of many vectors: a kernel of rows in; the entry whose workgroups have a tile of units and channels out. A weight is
 * read once for all units that a thread has, and what comes in is staged a few channels at a time, for all threads.
 */

import type { StageNode } from '../../compiler/stages/graph.ts'
import type { RowsKernel } from '../../compiler/stages/plan.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import { literalOf } from '../constant.ts'
import {
  add,
  and,
  at,
  f32,
  fromU32,
  i32,
  lane,
  lt,
  min,
  mul,
  op,
  quotient,
  remainder,
  select,
  sub,
  type Code,
} from '../kernel.ts'
import { tileAt } from './grid.ts'
import { biasAt, weightAt } from './linear.ts'
import type { Cells } from './place.ts'
import { channelsOf, element, rowIndex } from './rows.ts'
import type { Made } from './team.ts'

const THREADS = 256
/** Units and channels of a workgroup; a thread has some units of one channel. */
export const LINEAR_TILE = { q: 32, kv: 64 } as const
const OWN = (LINEAR_TILE.q * LINEAR_TILE.kv) / THREADS
/** Channels of what comes in that are staged at once: four a thread. */
const CHUNK = (4 * THREADS) / LINEAR_TILE.q
/** Fewer units leave most of a tile empty. */
export const LEAST_UNITS = 8

const range = (n: number): readonly number[] => Array.from({ length: n }, (_, i) => i)

export function linearRowsEntry({ text: t }: Cells, { grid }: RowsKernel, node: StageNode<'linear'>): Made {
  const target = t.stored(t.find(node, 'rows')!)
  const [x] = node.src as [StageNode]
  const staged = t.workgroup('staged', 'f32x4', [LINEAR_TILE.q, CHUNK / 4])
  const { block, of, base, rows, columns, firstRow, firstColumn } = tileAt(
    t,
    grid.share,
    channelsOf(t, rowsOf(node)),
    LINEAR_TILE,
  )
  const thread = block.let('thread', fromU32(op('u32', 'thread')))
  const top = block.let('top', add(base, firstRow))
  const end = block.let('end', add(base, rows))
  const column = block.let('column', add(firstColumn, remainder(thread, i32(LINEAR_TILE.kv))))
  // Of those beyond the last the last is read, and nothing written.
  const channel = block.let('channel', min(column, sub(columns, i32(1))))
  const own = block.let('own', mul(quotient(thread, i32(LINEAR_TILE.kv)), i32(OWN)))
  const bias = block.let('bias', biasAt(t, node, of, channel))
  const sums = range(OWN).map(() => block.var('sum', bias))
  const count = block.let('count', channelsOf(t, rowsOf(x)))
  const known = literalOf(channelsOf(t, rowsOf(x)))
  const isWhole = known !== null && known % CHUNK === 0
  const within = (i: Code): Code => (isWhole ? i : min(i, sub(count, i32(1))))

  block.for('begin', i32(0), count, CHUNK, (b, begin) => {
    b.barrier()
    const [unit, piece] = [quotient(thread, i32(CHUNK / 4)), remainder(thread, i32(CHUNK / 4))]
    const row = b.let('row', min(add(top, unit), sub(end, i32(1))))
    const from = b.let('from', add(begin, mul(piece, i32(4))))
    const parts = range(4).map((n) => {
      const i = add(from, i32(n))
      const value = element(t, x, of, row, within(i))
      return b.let('part', isWhole ? value : select(lt(i, count), value, f32(0)))
    })
    b.set(at(staged, unit, piece), op('f32x4', 'vector4', ...parts))
    b.barrier()
    b.for('n', i32(0), i32(CHUNK / 4), 1, (c, n) => {
      const next = c.let('next', add(begin, mul(n, i32(4))))
      const weights = range(4).map((l) =>
        c.let('weight', weightAt(t, node, of, within(add(next, i32(l))), channel)),
      )
      for (const [u, sum] of sums.entries()) {
        const four = c.let('four', at(staged, add(own, i32(u)), n))
        c.set(
          sum,
          weights.reduce((s, w, l) => op('f32', 'mad', lane(four, l), w, s), sum),
        )
      }
    })
  })
  for (const [u, sum] of sums.entries()) {
    const row = block.let('unit', add(top, add(own, i32(u))))
    block.if(and(lt(row, end), lt(column, columns)), (b) =>
      b.set(at(target, rowIndex(t, node, of, row, column)), sum),
    )
  }
  return { entry: { name: 'run', threads: THREADS, body: block.stmts }, memory: [staged] }
}

/**
 * Cells of a dot in tiles: a kernel of the plan in; its entry out, whose workgroups have CELLS x CELLS cells each. Vectors are staged
 * in workgroup memory a few channels at a time, so that each is read once a tile and not once a cell.
 */

import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
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
  min,
  mul,
  op,
  quotient,
  remainder,
  u32,
  type Entry,
  type Memory,
} from '../kernel.ts'
import { HIDDEN_BITS, scaleOf, seenAt, storedIndex } from './cells.ts'
import { tileAt } from './grid.ts'
import type { CellPlace, Cells } from './place.ts'
import { leafChannels, leafRows, type Leaf } from './panels.ts'
import { element } from './rows.ts'
import { countOf } from './units.ts'

/** Cells of a tile's side, those of a thread, and the channels that are staged at once. */
export const CELLS = 64
const EACH = 4
const STEP = 16
/** Threads of a row of threads: thread (y, x) has the cells y + 16 i, x + 16 j. */
const SIDE = CELLS / EACH
const THREADS = SIDE * SIDE
/** A row of the staged channels; one more, so that the threads that store a vector's channels meet different banks. */
const PITCH = CELLS + 1

const times = [...Array(EACH).keys()]

export function dotEntry(
  c: Cells,
  { node, grid }: ScoresKernel,
  leaf: Leaf,
): { readonly entry: Entry; readonly memory: readonly Memory[] } {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  const staged = [
    t.workgroup('queries', 'f32', [STEP, PITCH]),
    t.workgroup('keys', 'f32', [STEP, PITCH]),
  ] as const
  const votes = t.workgroup('votes', 'u32', [], true)
  const word = t.workgroup('word', 'u32', [])

  const { block, of, rows, columns, base, firstRow, firstColumn } = tileAt(
    t,
    grid.share,
    countOf(t, scoresOf(node).kv),
    { q: CELLS, kv: CELLS },
  )
  const lane = block.let('lane', fromU32(op('u32', 'thread')))
  const [y, x] = [block.let('y', quotient(lane, i32(SIDE))), block.let('x', remainder(lane, i32(SIDE)))]
  const rowAt = (i: number) => add(add(firstRow, y), i32(SIDE * i))
  const columnAt = (j: number) => add(add(firstColumn, x), i32(SIDE * j))
  const placeAt = (i: number, j: number): CellPlace => ({ of, q: add(base, rowAt(i)), kv: columnAt(j) })
  const inside = (i: number, j: number) => and(lt(rowAt(i), rows), lt(columnAt(j), columns))

  block.comment('is any cell visible')
  const first = (then: (b: Block) => void) => block.if(eq(lane, i32(0)), then)
  first((b) => b.atomic('store', at(votes), u32(0)))
  block.barrier()
  const sees = block.var('sees', u32(0))
  for (const i of times)
    for (const j of times)
      block.if(inside(i, j), (b) =>
        b.if(seenAt(c, node, placeAt(i, j)), (d) =>
          d.set(sees, op('u32', 'bitOr', sees, u32(2 ** (EACH * i + j)))),
        ),
      )
  block.if(lt(u32(0), sees), (b) => b.atomic('or', at(votes), u32(1)))
  block.barrier()
  first((b) => b.set(at(word), op('u32', 'atomicLoad', at(votes))))

  const sums = times.map((i) => times.map((j) => block.var(`sum${i}${j}`, f32(0))))
  block.if(lt(u32(0), block.let('some', op('u32', 'uniformLoad', at(word)))), (b) => {
    const channels = b.let('channels', leafChannels(t, leaf))
    const vectors = [
      leafRows(t, leaf, 'q', of, add(base, firstRow), (row) => lt(add(firstRow, row), rows)),
      leafRows(t, leaf, 'kv', of, firstColumn, (row) => lt(add(firstColumn, row), columns)),
    ] as const
    b.for('begin', i32(0), channels, STEP, (d, begin) => {
      d.barrier()
      d.for('n', lane, i32(STEP * CELLS), THREADS, (e, n) => {
        const channel = e.let('channel', remainder(n, i32(STEP)))
        const unit = e.let('unit', quotient(n, i32(STEP)))
        const wanted = e.let('wanted', add(begin, channel))
        vectors.forEach(({ node: from, at: rowAt }, which) => {
          const value = e.var('value', f32(0))
          e.if(lt(wanted, channels), (f) => {
            const { place, channel: own, there } = rowAt(f, unit, { at: wanted, first: wanted, chunk: null })
            f.if(there, (g) => g.set(value, element(t, from, of, place, own)))
          })
          e.set(at(staged[which]!, channel, unit), value)
        })
      })
      d.barrier()
      d.for('k', i32(0), min(i32(STEP), d.let('left', add(channels, mul(begin, i32(-1))))), 1, (e, k) => {
        const a = times.map((i) => e.let(`a${i}`, at(staged[0], k, add(y, i32(SIDE * i)))))
        const z = times.map((j) => e.let(`b${j}`, at(staged[1], k, add(x, i32(SIDE * j)))))
        for (const i of times)
          for (const j of times) e.set(sums[i]![j]!, op('f32', 'mad', a[i]!, z[j]!, sums[i]![j]!))
      })
    })
  })
  const scale = block.let('scaled', scaleOf(t, block, leaf.dot, of))
  for (const i of times)
    for (const j of times)
      block.if(inside(i, j), (b) => {
        const bits = b.var('bits', u32(HIDDEN_BITS))
        const mine = op('u32', 'bitAnd', sees, u32(2 ** (EACH * i + j)))
        b.if(lt(u32(0), mine), (d) => d.set(bits, op('u32', 'floatBits', mul(sums[i]![j]!, scale))))
        b.set(at(target, storedIndex(t, node, placeAt(i, j))), op('f32', 'bitsFloat', bits))
      })
  return { entry: { name: 'run', threads: THREADS, body: block.stmts }, memory: [...staged, votes, word] }
}

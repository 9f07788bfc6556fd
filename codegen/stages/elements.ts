/** The kernels whose threads have an element each: rows, cells, bits of a where. A kernel of the plan in, its entry out. */

import { isWord } from '../../compiler/stages/graph.ts'
import type { FilterKernel, RowsKernel, ScoresKernel } from '../../compiler/stages/plan.ts'
import { rowsOf, scoresOf, setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import { add, and, at, i32, lt, mul, op, quotient, u32, type Entry, WORD } from '../kernel.ts'
import { seenAt, storeCell, storedIndex, valueAt } from './cells.ts'
import { elementwise } from './grid.ts'
import { recordOf, wordsOf } from './layout.ts'
import { pooledOnce } from './pooled.ts'
import { pooledRows } from './pooled-rows.ts'
import { channelsOf, element, rowIndex } from './rows.ts'
import { stretchwise, type Made } from './team.ts'
import { countOf, type Unit } from './units.ts'
import type { Cells } from './place.ts'

export function rowsEntry({ text: t }: Cells, { node, also, grid }: RowsKernel): Entry {
  const type = rowsOf(node)
  const targets = [node, ...also].map((n) => t.stored(t.find(n, 'rows')!))
  return elementwise(t, grid.share, channelsOf(t, type), (b, { of, row }, channel) => {
    const made =
      also.length > 0 && isWord(node, 'poolRows')
        ? pooledRows(t, b, [node, ...also], { axis: type.axis, place: row, of }, 1, (_, member) => [
            element(t, node.src[0]!, of, member, channel),
          ]).map(([value]) => value!)
        : [element(t, node, of, row, channel)]
    for (const [i, value] of made.entries())
      b.set(at(targets[i]!, rowIndex(t, node, of, row, channel)), value)
  })
}

export function scoresEntry(c: Cells, { node, grid }: ScoresKernel): Entry {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  return elementwise(t, grid.share, countOf(t, scoresOf(node).kv), (b, { of, row }, column) => {
    const place = { of, q: row, kv: column }
    const once = isWord(node, 'poolScores') ? pooledOnce(c, b, node, place) : null
    const seen = once?.seen ?? seenAt(c, node, place)
    const value = () => once?.value ?? valueAt(c, node, place)
    storeCell(b, seen, value, () => at(target, storedIndex(t, node, place)))
  })
}

/** Threads one beside the other have columns one beside the other; their bits meet in workgroup memory. */
export function filterEntry(c: Cells, { node, grid }: FilterKernel): Made {
  const { text: t } = c
  const type = setOf(node)
  const target = t.stored(t.find(node, 'bits')!)
  const { threads } = t.problem.rows.blocks
  return stretchwise(t, grid.share, threads, countOf(t, type.kv), (b, { of, row }, begin, { lane, room }) => {
    const flags = room('flags', threads / WORD, true)
    const own = lt(lane, i32(threads / WORD))
    b.if(own, (d) => d.atomic('store', flags(lane), u32(0)))
    b.barrier()
    const column = b.let('column', add(begin, lane))
    const q: Unit = { axis: type.q, place: row, of }
    const kv: Unit = { axis: type.kv, place: column, of }
    b.if(lt(column, countOf(t, type.kv)), (d) =>
      d.if(c.holds(node, { of, q, kv }), (e) => {
        const bit = op('u32', 'shl', u32(1), op('u32', 'toU32', op('i32', 'bitAnd', lane, i32(WORD - 1))))
        e.atomic('or', flags(quotient(lane, i32(WORD))), bit)
      }),
    )
    b.barrier()
    const words = b.let('words', wordsOf(t, node))
    const word = b.let('word', add(quotient(begin, i32(WORD)), lane))
    b.if(and(own, lt(word, words)), (d) => {
      const place = add(mul(recordOf(t, node, of, row), words), word)
      d.set(at(target, add(place, i32(LIST_HEADER))), op('u32', 'atomicLoad', flags(lane)))
    })
  })
}

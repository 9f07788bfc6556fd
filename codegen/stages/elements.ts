/** The kernels whose threads work alone: rows, cells, bits of a where, runs of distances. A kernel of the plan in, its entry out. */

import type { FilterKernel, ListsKernel, RowsKernel, ScoresKernel } from '../../compiler/stages/plan.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf, scoresOf, setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  i32,
  le,
  lt,
  max,
  min,
  mul,
  not,
  op,
  sub,
  u32,
  type Buffer,
  type Code,
  type Entry,
} from '../kernel.ts'
import { HIDDEN_BITS, seenAt, storedIndex, valueAt } from './cells.ts'
import { elementwise } from './grid.ts'
import { countIndex, idsIndex, mostOf, recordOf, startIndex, wordsOf } from './layout.ts'
import type { StageText } from './text.ts'
import { channelsOf, element, rowIndex } from './rows.ts'
import { countOf, fieldOf, Unsupported, type Unit } from './units.ts'
import type { Cells } from './place.ts'

export function rowsEntry({ text: t }: Cells, { node, grid }: RowsKernel): Entry {
  const type = rowsOf(node)
  const target = t.stored(t.find(node, 'rows')!)
  return elementwise(t, grid.share, channelsOf(t, type), (b, { of, row }, channel) =>
    b.set(at(target, rowIndex(t, node, of, row, channel)), element(t, node, of, row, channel)),
  )
}

export function scoresEntry(c: Cells, { node, grid }: ScoresKernel): Entry {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  return elementwise(t, grid.share, countOf(t, scoresOf(node).kv), (b, { of, row }, column) => {
    const place = { of, q: row, kv: column }
    const bits = b.var('bits', u32(HIDDEN_BITS))
    b.if(seenAt(c, node, place), (d) => d.set(bits, op('u32', 'floatBits', valueAt(c, node, place))))
    b.set(at(target, storedIndex(t, node, place)), op('f32', 'bitsFloat', bits))
  })
}

export function filterEntry(c: Cells, { node, grid }: FilterKernel): Entry {
  const { text: t } = c
  const type = setOf(node)
  const target = t.stored(t.find(node, 'bits')!)
  const columns = countOf(t, type.kv)
  return elementwise(t, grid.share, wordsOf(t, node), (b, { of, row }, word) => {
    const bits = b.var('bits', u32(0))
    const first = b.let('first', mul(word, i32(32)))
    b.for('column', first, min(add(first, i32(32)), columns), 1, (d, column) => {
      const q: Unit = { axis: type.q, place: row, of }
      const kv: Unit = { axis: type.kv, place: column, of }
      d.if(c.holds(node, { of, q, kv }), (e) => {
        const bit = op('u32', 'shl', u32(1), op('u32', 'toU32', sub(column, first)))
        e.set(bits, op('u32', 'bitOr', bits, bit))
      })
    })
    const place = add(mul(recordOf(t, node, of, row), wordsOf(t, node)), word)
    b.set(at(target, add(place, i32(LIST_HEADER))), bits)
  })
}

type Walk = (
  t: StageText,
  b: Block,
  set: StageNode,
  list: Buffer,
  record: Code,
  visit: (b: Block, unit: Code) => void,
) => void

const idsFromLast: Walk = (t, b, set, list, record, visit) => {
  const count = b.let('count', at(list, countIndex(record)))
  const begin = b.let('begin', add(idsIndex(t, set), mul(record, mostOf(t, set))))
  b.for('n', i32(0), count, 1, (d, n) =>
    visit(d, d.let('id', at(list, add(begin, sub(sub(count, i32(1)), n))))),
  )
}

const bitsFromLast: Walk = (t, b, set, list, record, visit) => {
  const words = b.let('words', wordsOf(t, set))
  const begin = b.let('begin', add(mul(record, words), i32(LIST_HEADER)))
  b.for('n', i32(0), words, 1, (d, n) => {
    const place = d.let('place', sub(sub(words, i32(1)), n))
    const word = d.let('word', at(list, add(begin, place)))
    d.if(not(eq(word, u32(0))), (e) =>
      e.for('m', i32(0), i32(32), 1, (f, m) => {
        const bit = f.let('bit', sub(i32(31), m))
        const own = op('u32', 'bitAnd', op('u32', 'shl', u32(1), op('u32', 'toU32', bit)), word)
        f.if(not(eq(own, u32(0))), (g) => visit(g, g.let('id', add(mul(place, i32(32)), bit))))
      }),
    )
  })
}

/** Distances that all queries of a block share, as the spans of keys that lie at one of them. */
export function listsEntry(c: Cells, { node, grid }: ListsKernel): Entry {
  const { text: t } = c
  const [source] = node.src
  const from = source && setOf(source)
  const drawn =
    isWord(node, 'poolSet') &&
    from!.kv.units.kind === 'offset' &&
    from!.kv.units.of.kind === 'token' &&
    node.arg.how === 'any'
  const ids = source && t.find(source, 'ids')
  const bits = source && t.find(source, 'bits')
  if (!drawn || !(ids ?? bits)) throw new Unsupported(`a list of ${node.word}`)
  const type = setOf(node)
  const target = t.stored(t.find(node, 'spans')!)
  const offsets = t.stored((ids ?? bits)!)
  return elementwise(t, grid.share, i32(1), (b, { of, row }) => {
    const unit: Unit = { axis: type.q, place: row, of }
    const [first, last] = [
      b.let('firstQuery', fieldOf(t, unit, 'first')),
      b.let('lastQuery', fieldOf(t, unit, 'last')),
    ]
    const mine = { ...of, share: from!.share, at: t.coarser(of, from!.share) }
    // The source has one row for all queries: a line of distances.
    const record = b.let('record', recordOf(t, source!, mine, i32(0)))
    const own = b.let('own', recordOf(t, node, of, row))
    const out = b.let('out', add(idsIndex(t, node), mul(mul(own, mostOf(t, node)), i32(2))))
    const spans = b.var('spans', i32(0))
    const put = (d: Block, lo: Code, hi: Code) => {
      d.set(at(target, add(out, mul(spans, i32(2)))), lo)
      d.set(at(target, add(add(out, mul(spans, i32(2))), i32(1))), hi)
      d.set(spans, add(spans, i32(1)))
    }
    const [lo, hi] = [b.var('lo', i32(0)), b.var('hi', i32(0))]
    // Distances ascend, so from the last on the keys do.
    const walk = ids ? idsFromLast : bitsFromLast
    walk(t, b, source!, offsets, record, (d, id) => {
      const distance = d.let('distance', fieldOf(t, { axis: from!.kv, place: id, of }, 'index'))
      const start = d.let('start', max(sub(first, distance), i32(0)))
      const end = d.let('end', min(add(sub(last, distance), i32(1)), t.kvLen))
      d.if(lt(start, end), (e) =>
        e.if(
          and(le(start, hi), lt(lo, hi)),
          (f) => f.set(hi, max(hi, end)),
          (f) => {
            f.if(lt(lo, hi), (g) => put(g, lo, hi))
            f.set(lo, start)
            f.set(hi, end)
          },
        ),
      )
    })
    b.if(lt(lo, hi), (d) => put(d, lo, hi))
    b.set(at(target, countIndex(own)), spans)
    b.set(at(target, startIndex(t, node, own)), mul(mul(own, mostOf(t, node)), i32(2)))
  })
}

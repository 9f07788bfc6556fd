/** Lists of spans: distances that all queries of a block share in; the spans of keys that lie at one of them out. */

import type { ListsKernel } from '../../compiler/stages/plan.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { drawnRoom } from '../../compiler/stages/drawn.ts'
import { setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  fromU32,
  i32,
  le,
  lt,
  max,
  min,
  mul,
  not,
  op,
  quotient,
  select,
  sub,
  toU32,
  u32,
  WORD,
} from '../kernel.ts'
import type { Buffer, Code } from '../kernel.ts'
import { countIndex, idsIndex, mostOf, recordOf, recordsOf, startIndex, wordsOf } from './layout.ts'
import type { Cells } from './place.ts'
import { eachBit, scanAll, together, type Made } from './team.ts'
import type { Sharer, StageText } from './text.ts'
import { countOf, fieldOf, Unsupported, type Unit } from './units.ts'

/** Counts of the beginnings of spans and of their ends, in one word. */
const BEGINS = 2 ** 16

/** A line of ids, the last first: places of distances that ascend. */
interface Line {
  /** Places to go over. */
  readonly count: Code
  readonly idAt: (place: Code) => Code
  readonly there: (b: Block, place: Code) => Code
  /** True if there is an id from `lo` to `hi`, all of which lie on one side of the id at a place, next to it. */
  readonly hasOne: (b: Block, place: Code, side: 'above' | 'below', lo: Code, hi: Code) => Code
}

type LineOf = (t: StageText, b: Block, set: StageNode, list: Buffer, record: Code) => Line

const idsFromLast: LineOf = (t, b, set, list, record) => {
  const count = b.let('count', at(list, countIndex(record)))
  const begin = b.let('begin', add(idsIndex(t, set), mul(record, mostOf(t, set))))
  const idAt = (place: Code) => at(list, add(begin, sub(sub(count, i32(1)), place)))
  return {
    count,
    idAt,
    there: () => bool(true),
    hasOne: (d, place, side, lo, hi) => {
      const next = add(place, i32(side === 'above' ? -1 : 1))
      const inside = and(le(i32(0), next), lt(next, count))
      const id = d.let('next', idAt(max(min(next, sub(count, i32(1))), i32(0))))
      return and(inside, le(lo, id), le(id, hi))
    },
  }
}

const bitsFromLast: LineOf = (t, b, set, list, record) => {
  const words = b.let('words', wordsOf(t, set))
  const begin = b.let('begin', add(mul(record, words), i32(LIST_HEADER)))
  const count = b.let('count', mul(words, i32(WORD)))
  const idAt = (place: Code) => sub(sub(count, i32(1)), place)
  const bitsAt = (word: Code) => at(list, add(begin, word))
  const ONES = u32(2 ** 32 - 1)
  return {
    count,
    idAt,
    there: (d, place) => {
      const id = d.let('id', idAt(place))
      const bit = op('u32', 'shl', u32(1), toU32(op('i32', 'bitAnd', id, i32(WORD - 1))))
      return not(eq(op('u32', 'bitAnd', bitsAt(quotient(id, i32(WORD))), bit), u32(0)))
    },
    hasOne: (d, _, __, lo, hi) => {
      const found = d.var('found', u32(0))
      d.if(le(lo, hi), (e) => {
        const [from, to] = [e.let('from', quotient(lo, i32(WORD))), e.let('to', quotient(hi, i32(WORD)))]
        e.for('word', from, add(to, i32(1)), 1, (f, word) => {
          const low = toU32(op('i32', 'bitAnd', lo, i32(WORD - 1)))
          const high = toU32(sub(i32(WORD - 1), op('i32', 'bitAnd', hi, i32(WORD - 1))))
          const above = select(eq(word, from), op('u32', 'shl', ONES, low), ONES)
          const below = select(eq(word, to), op('u32', 'shr', ONES, high), ONES)
          const inside = op('u32', 'bitAnd', op('u32', 'bitAnd', above, below), bitsAt(word))
          f.set(found, op('u32', 'bitOr', found, inside))
        })
      })
      return not(eq(found, u32(0)))
    },
  }
}

/** The first span of a record, counted from the first of all: behind those of whole blocks are those of parts of one. */
function startOf(t: StageText, node: StageNode, of: Sharer, row: Code, record: Code, reach: Code): Code {
  const type = setOf(node)
  const room = drawnRoom(t.problem.sizes, type)
  if (!room || type.q.units.kind !== 'block') return mul(record, mostOf(t, node))
  const each = t.size(room.each)
  const sharer = add(mul(of.batch, t.sharers(type.share)), of.at)
  const part = add(mul(sharer, i32(2)), op('i32', 'min', row, i32(1)))
  const behind = add(mul(recordsOf(t, node), each), mul(part, mostOf(t, node)))
  return select(lt(reach, i32(type.q.units.size)), behind, mul(record, each))
}

/**
 * One distance gives a block of B queries a run of B keys. Runs meet if their distances are at most B apart, so whether one begins
 * or ends a span hangs on its neighbours alone: the threads look at all side by side, and count what begins and ends before theirs.
 */
export function listsEntry(c: Cells, { node, grid }: ListsKernel): Made {
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
  const { threads } = t.problem.rows.blocks
  return together(t, grid.share, threads, (b, { of, row }, team) => {
    const { lane } = team
    const flags = team.room('flags', 2 * threads, true)
    const slot = (which: 0 | 1, word: Code): Code => flags(add(word, i32(which * threads)))
    const unit: Unit = { axis: type.q, place: row, of }
    const first = b.let('firstQuery', fieldOf(t, unit, 'first'))
    const last = b.let('lastQuery', fieldOf(t, unit, 'last'))
    const reach = b.let('reach', add(sub(last, first), i32(1)))
    const mine = { ...of, share: from!.share, at: t.coarser(of, from!.share) }
    // The source has one row for all queries: a line of distances.
    const record = b.let('record', recordOf(t, source!, mine, i32(0)))
    const own = b.let('ownRecord', recordOf(t, node, of, row))
    const start = b.let('start', mul(startOf(t, node, of, row, own, reach), i32(2)))
    const out = b.let('out', add(idsIndex(t, node), start))
    const least = b.let('least', fieldOf(t, { axis: from!.kv, place: i32(0), of }, 'index'))
    // Distances at which the block has keys.
    const idLo = b.let('idLo', max(sub(add(sub(first, t.kvLen), i32(1)), least), i32(0)))
    const most = sub(countOf(t, from!.kv), i32(1))
    const idHi = b.let('idHi', min(sub(last, least), most))
    const line = (ids ? idsFromLast : bitsFromLast)(t, b, source!, offsets, record)
    const [begun, ended] = [b.var('begun', i32(0)), b.var('ended', i32(0))]
    b.for('begin', i32(0), line.count, WORD * threads, (d, begin) => {
      d.atomic('store', slot(0, lane), u32(0))
      d.atomic('store', slot(1, lane), u32(0))
      d.barrier()
      const end = d.let('end', min(add(begin, i32(WORD * threads)), line.count))
      d.for('place', add(begin, lane), end, threads, (e, place) => {
        const id = e.let('id', line.idAt(place))
        e.if(and(line.there(e, place), le(idLo, id), le(id, idHi)), (f) => {
          const n = f.let('n', sub(place, begin))
          const bit = f.let('bit', op('u32', 'shl', u32(1), toU32(op('i32', 'bitAnd', n, i32(WORD - 1)))))
          const meets = (side: 'above' | 'below') =>
            side === 'above'
              ? line.hasOne(f, place, side, add(id, i32(1)), min(add(id, reach), idHi))
              : line.hasOne(f, place, side, max(sub(id, reach), idLo), sub(id, i32(1)))
          f.if(not(meets('above')), (g) => g.atomic('or', slot(0, quotient(n, i32(WORD))), bit))
          f.if(not(meets('below')), (g) => g.atomic('or', slot(1, quotient(n, i32(WORD))), bit))
        })
      })
      d.barrier()
      const flagged = ([0, 1] as const).map((n) => d.let('flagged', op('u32', 'atomicLoad', slot(n, lane))))
      const [begins, ends] = flagged as [Code, Code]
      const popcount = (word: Code) => op('u32', 'popcount', word)
      const { before, all } = scanAll(d, team, add(mul(popcount(begins), u32(BEGINS)), popcount(ends)))
      const upper = (word: Code) => fromU32(op('u32', 'shr', word, u32(16)))
      const lower = (word: Code) => fromU32(op('u32', 'bitAnd', word, u32(BEGINS - 1)))
      const put = (word: Code, past: Code, which: 0 | 1, value: (distance: Code) => Code): void => {
        const n = d.var('n', add(past, which === 0 ? upper(before) : lower(before)))
        eachBit(d, word, (e, bit) => {
          const place = e.let('place', add(add(begin, mul(lane, i32(WORD))), bit))
          const distance = e.let('distance', add(least, line.idAt(place)))
          e.set(at(target, add(add(out, mul(n, i32(2))), i32(which))), value(distance))
          e.set(n, add(n, i32(1)))
        })
      }
      put(begins, begun, 0, (distance) => max(sub(first, distance), i32(0)))
      put(ends, ended, 1, (distance) => min(add(sub(last, distance), i32(1)), t.kvLen))
      d.set(begun, add(begun, upper(all)))
      d.set(ended, add(ended, lower(all)))
    })
    b.if(eq(lane, i32(0)), (d) => {
      d.set(at(target, countIndex(own)), begun)
      d.set(at(target, startIndex(t, node, own)), start)
    })
  })
}

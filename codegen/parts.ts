/**
 * Parts: the lists that an attend kernel walks after the ranges of its plan. A list's units become tiles of keys: drawn one
 * after another into workgroup memory, whatever their size, or read in place where a unit is whole tiles.
 */

import type { ListInfo, Share } from './artifact.ts'
import { Block } from './block.ts'
import type { Frame, Place } from './frame.ts'
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
  name,
  not,
  op,
  or,
  quotient,
  select,
  sub,
  type Buffer,
  type Code,
  type FunctionDecl,
  type Memory,
} from './kernel.ts'
import { contiguous, type Keys } from './keys.ts'
import type { Parts } from './rows.ts'
import { drawBits, drawBlocks, drawSpans, type VisitKeys } from './draw.ts'
import { keyUnits, recordOf, sharerOf, type ListRecord } from './list-record.ts'
import { walkMerged } from './merge.ts'
import { fullness, type TileTests } from './tiles.ts'

/** `fn holds(key, count, ids) -> bool`: a binary search in a record whose units ascend. */
function membership(frame: Frame, buffer: Buffer, { kv, form }: ListInfo): FunctionDecl {
  const block = new Block(frame.names.child())
  const parameters = (['key', 'count', 'ids'] as const).map((wish) => ({
    name: block.names.fresh(wish),
    type: 'i32' as const,
  }))
  const [key, count, ids] = parameters.map((p) => name('i32', p.name)) as [Code, Code, Code]
  const decl = { name: frame.names.fresh('holds'), parameters, result: 'bool' as const, body: block.stmts }
  frame.functions.push(decl)
  const word = (n: Code) => at(buffer, add(ids, kv === 'span' ? mul(n, i32(2)) : n))
  const wanted = kv === 'span' ? key : block.let('wanted', quotient(key, i32(kv)))
  if (form === 'bits') {
    const bit = op('i32', 'shl', i32(1), op('i32', 'bitAnd', wanted, i32(31)))
    const inside = lt(quotient(wanted, i32(32)), count)
    block.return(and(inside, not(eq(op('i32', 'bitAnd', word(quotient(wanted, i32(32))), bit), i32(0)))))
    return decl
  }
  // The number of units that begin at or before the key.
  const low = block.var('low', i32(0))
  const high = block.var('high', count)
  block.loop((b) => {
    b.if(le(high, low), (c) => c.break())
    const middle = b.let('middle', quotient(add(low, high), i32(2)))
    b.if(
      le(word(middle), wanted),
      (c) => c.set(low, add(middle, i32(1))),
      (c) => c.set(high, middle),
    )
  })
  const last = block.let('last', max(sub(low, i32(1)), i32(0)))
  const inside =
    kv === 'span' ? lt(key, at(buffer, add(add(ids, mul(last, i32(2))), i32(1)))) : eq(word(last), wanted)
  block.return(and(lt(i32(0), low), inside))
  return decl
}

/** Puts a walk over each list's tiles into the block. */
export function walkParts(
  frame: Frame,
  block: Block,
  place: Place,
  { lists, listed, kvOrder, merged }: Parts,
  tests: TileTests,
  visit: VisitKeys,
): readonly Memory[] {
  if (merged) return walkMerged(frame, block, place, lists, visit)
  const keyAt = frame.workgroup('keyAt', 'i32', [frame.tile.kv])
  const earlier: { record: ListRecord; holds: FunctionDecl }[] = []
  let gathers = false
  lists.forEach((info, n) => {
    block.comment(`list ${n}: ${describe(info)}`)
    const record = recordOf(frame, block, place, n, info, place.unitStart!)
    const { kv } = info
    const ids = info.form !== 'bits'
    if (kv !== 'span' && kv % frame.tile.kv === 0 && n === 0 && ids && !kvOrder) {
      const isFull = fullness(frame, block, place, listed.tiles.dropped, tests)
      walkInPlace(frame, block, place, record, kv, (b, keys, tile) =>
        visit(b, keys, b.let('full', isFull(b, tile))),
      )
    } else {
      gathers = true
      // Asked of a key alone: all rows of a tile have the same record of every list.
      const owned = (b: Block, key: Code) => {
        const answers = earlier.map(({ record: { count, ids }, holds }): Code => ({
          kind: 'call',
          type: 'bool',
          callee: holds.name,
          args: [key, count, ids],
        }))
        return b.let('owned', or(...answers))
      }
      const draw = kv === 'span' ? drawSpans : ids ? drawBlocks(kv) : drawBits(kv)
      const order = kvOrder && orderOf(frame, block, place, kvOrder)
      draw(frame, block, place, { record, keyAt, owned, order, mark: (n + 1) * 2 ** 23 }, visit)
    }
    if (n < lists.length - 1) earlier.push({ record, holds: membership(frame, record.buffer, info) })
  })
  return gathers ? [keyAt] : []
}

/** The original position of a key by its place in an order. */
function orderOf(frame: Frame, block: Block, place: Place, share: Share): (key: Code) => Code {
  const [sharer, sharers] = sharerOf(frame, place, share)
  const rows = frame.uniform('kvRows')
  const start = block.let('orderStart', mul(add(mul(place.batch, sharers), sharer), rows))
  return (key) => at(frame.buffer('kvOrder'), add(start, key))
}

const describe = ({ share, q, kv }: ListInfo): string => {
  const unit = kv === 'span' ? 'spans of keys' : kv === 1 ? 'keys' : `blocks of ${kv} keys`
  return `${unit} for ${q === 'whole' ? 'all queries' : q === 1 ? 'each query' : `${q} queries`} of a ${share}`
}

/** Units that are whole tiles: nothing needs to be gathered. */
function walkInPlace(
  frame: Frame,
  block: Block,
  place: Place,
  { buffer, count, ids }: ListRecord,
  size: number,
  visit: (b: Block, keys: Keys, tile: { tile: Code; kvLo: Code; kvHi: Code }) => void,
): void {
  const step = frame.tile.kv
  block.for('n', i32(0), count, 1, (b, n) => {
    const id = b.let('id', at(buffer, add(ids, n)))
    const there = b.let('there', and(le(i32(0), id), lt(id, keyUnits(place, size))))
    const begin = b.let('begin', select(there, mul(id, i32(size)), place.kvLen))
    const end = b.let('end', min(add(begin, i32(size)), place.kvLen))
    b.for('kvLo', begin, end, step, (c, kvLo) => {
      const kvHi = c.let('kvHi', sub(min(add(kvLo, i32(step)), place.kvLen), i32(1)))
      visit(c, contiguous(place, kvLo), { tile: quotient(kvLo, i32(step)), kvLo, kvHi })
    })
  })
}

/**
 * Merging: lists that each row of a tile has records of its own of in; the tiles of keys that any of the rows reaches, once each, and
 * which of their keys a row has, out.
 */

import { oneReads } from './agree.ts'
import type { ListInfo } from './artifact.ts'
import type { Block } from './block.ts'
import type { VisitKeys } from './draw.ts'
import type { Frame, Place } from './frame.ts'
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
  type Buffer,
  type Code,
  WORD,
  type Memory,
} from './kernel.ts'
import { contiguous } from './keys.ts'
import { recordOf } from './list-record.ts'
import { range } from './shapes.ts'
import { positionOf, rowIsReal } from './stage.ts'

/** The greatest of all tiles; what is counted down from it is 0 where nothing is left, as memory is at first. */
const LAST = 2 ** 31 - 1

/** A row's way through its record of a list. */
interface Cursor {
  /** Keys of a unit. */
  readonly size: number
  readonly buffer: Buffer
  /** The word of the first id that is not behind, and one past the last. */
  readonly at: Code
  readonly end: Code
}

/** Lists of numbered units, in ascending order, as stages leave them. */
export const mergeable = (lists: readonly ListInfo[]): boolean =>
  lists.every(({ kv, form }) => kv !== 'span' && form === undefined)

/** A thread has the record of one row; all rows meet at the least tile that any of them has a key in. */
export function walkMerged(
  frame: Frame,
  block: Block,
  place: Place,
  lists: readonly ListInfo[],
  visit: VisitKeys,
): readonly Memory[] {
  const { q: rows, kv: size } = frame.tile
  const words = size / WORD
  const rowKeys = frame.workgroup('rowKeys', 'u32', [rows, words])
  const least = frame.workgroup('least', 'u32', [], true)
  const leastWord = frame.workgroup('leastWord', 'u32', [])
  const thread = op('u32', 'thread')
  block.comment(`${lists.length === 1 ? 'a list' : `${lists.length} lists`} of each row, merged`)
  const row = block.let('ownRow', place.rows.row(min(thread, u32(rows - 1))))
  const real = block.let('isReal', and(lt(thread, u32(rows)), rowIsReal(place, row)))
  const position = block.let('ownPosition', positionOf(place, row))
  const cursors = lists.map((info, n): Cursor => {
    const { buffer, count, ids } = recordOf(frame, block, place, n, info, position)
    const end = block.let('end', add(ids, select(real, count, i32(0))))
    return { size: info.kv as number, buffer, at: block.var('cursor', ids), end }
  })

  /** The least tile that a row has a key in from `from` on, which all agree on; counted down from LAST. */
  const meet = (b: Block, from: Code): Code => {
    const own = b.var('own', u32(0))
    for (const { size: unit, buffer, at: cursor, end } of cursors) {
      b.if(lt(cursor, end), (c) => {
        const key = max(mul(at(buffer, cursor), i32(unit)), from)
        c.set(own, max(own, sub(u32(LAST), toU32(quotient(key, i32(size))))))
      })
    }
    b.if(lt(u32(0), own), (c) => c.atomic('max', at(least), own))
    b.barrier()
    return oneReads(b, leastWord, op('u32', 'atomicLoad', at(least)), 'met', (c) =>
      c.atomic('store', at(least), u32(0)),
    )
  }

  const next = block.var('next', meet(block, i32(0)))
  block.loop((b) => {
    b.if(eq(next, u32(0)), (c) => c.break())
    const kvLo = b.let('kvLo', mul(fromU32(sub(u32(LAST), next)), i32(size)))
    const kvEnd = b.let('kvEnd', add(kvLo, i32(size)))
    const bits = range(words).map((w) => b.var(`bits${w}`, u32(0)))
    for (const cursor of cursors) takeKeys(b, cursor, { kvLo, kvEnd, size }, bits)
    b.if(lt(thread, u32(rows)), (c) => bits.forEach((own, w) => c.set(at(rowKeys, thread, u32(w)), own)))
    // The barriers within are those that the bits need.
    b.set(next, meet(b, kvEnd))
    visit(b, { ...contiguous(place, kvLo), rowKeys }, bool(false))
  })
  return [rowKeys, least, leastWord]
}

/** Sets the bits of a tile's keys that a record has, and moves on behind the units that end in the tile. */
function takeKeys(
  block: Block,
  { size: unit, buffer, at: cursor, end }: Cursor,
  { kvLo, kvEnd, size }: { readonly kvLo: Code; readonly kvEnd: Code; readonly size: number },
  bits: readonly Code[],
): void {
  block.loop((b) => {
    b.if(le(end, cursor), (c) => c.break())
    const first = b.let('first', mul(at(buffer, cursor), i32(unit)))
    b.if(le(kvEnd, first), (c) => c.break())
    const from = b.let('from', max(sub(first, kvLo), i32(0)))
    const below = unit === 1 ? null : b.let('below', min(sub(add(first, i32(unit)), kvLo), i32(size)))
    bits.forEach((own, w) => {
      const added = below ? keysBetween(from, below, w) : keyAt(from, w)
      b.set(own, op('u32', 'bitOr', own, added))
    })
    // The rest of it is the next tile's.
    if (below) b.if(lt(kvEnd, add(first, i32(unit))), (c) => c.break())
    b.set(cursor, add(cursor, i32(1)))
  })
}

const bitOf = (n: Code): Code => op('u32', 'shl', u32(1), op('i32', 'bitAnd', n, i32(WORD - 1)))

const keyAt = (key: Code, word: number): Code =>
  select(eq(quotient(key, i32(WORD)), i32(word)), bitOf(key), u32(0))

/** The bits of a word from key `from` up to `below`; both may be outside of it. */
function keysBetween(from: Code, below: Code, word: number): Code {
  // As many ones as keys of the word are below.
  const ones = (key: Code): Code => {
    const own = word === 0 ? key : sub(key, i32(word * WORD))
    const some = select(lt(i32(0), own), sub(bitOf(own), u32(1)), u32(0))
    return select(le(i32(WORD), own), u32(2 ** WORD - 1), some)
  }
  return op('u32', 'bitXor', ones(below), ones(min(from, below)))
}

/** Whether a row of the tile has key `n` of it. */
export const hasKey = (rowKeys: Memory, row: Code, n: Code): Code => {
  const word = at(rowKeys, row, toU32(quotient(n, i32(WORD))))
  return not(eq(op('u32', 'bitAnd', word, bitOf(n)), u32(0)))
}

/** Drawing: a record of a list in; tiles of keys out, one after another through workgroup memory, whatever the size of its units. */

import type { Block } from './block.ts'
import type { Frame, Place } from './frame.ts'
import {
  add,
  and,
  at,
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
  remainder,
  select,
  sub,
  toU32,
  u32,
  bool,
  type Code,
  type Memory,
} from './kernel.ts'
import type { Keys } from './keys.ts'
import { keyUnits, type ListRecord } from './list-record.ts'

export type VisitKeys = (block: Block, keys: Keys, full: Code) => void

export interface Drawing {
  readonly record: ListRecord
  readonly keyAt: Memory
  /** True if an earlier list holds the key. */
  readonly owned: (b: Block, key: Code) => Code
  readonly order: ((key: Code) => Code) | null
  /** Where the marks of the list's tiles begin. */
  readonly mark: number
}

export type Draw = (frame: Frame, block: Block, place: Place, drawing: Drawing, visit: VisitKeys) => void

/** Keys of a tile into workgroup memory, a thread's own or several: -1 where there is none, or where it is another list's. */
function put(
  frame: Frame,
  block: Block,
  { keyAt, owned, order }: Drawing,
  kvLen: Code,
  key: (b: Block, n: Code) => Code,
): void {
  const thread = op('u32', 'thread')
  const putAt = (b: Block, n: Code) => {
    const drawn = b.let('drawn', key(b, fromU32(n)))
    const there = and(le(i32(0), drawn), lt(drawn, kvLen))
    const kept = and(there, not(owned(b, drawn)))
    const position = order ? order(max(min(drawn, sub(kvLen, i32(1))), i32(0))) : drawn
    b.set(at(keyAt, n), select(kept, position, i32(-1)))
  }
  const { q, kv } = frame.problem.schedule.threads
  const threads = q * kv
  if (threads >= frame.tile.kv) block.if(lt(thread, u32(frame.tile.kv)), (b) => putAt(b, thread))
  else
    block.for('drawnFrom', u32(0), u32(frame.tile.kv), threads, (b, start) =>
      putAt(b, b.let('place', add(start, thread))),
    )
  block.barrier()
}

const gathered = (place: Place, keyAt: Memory, mark: Code): Keys => ({
  position: (n, clamp) => (clamp ? max(at(keyAt, n), i32(0)) : at(keyAt, n)),
  inside: (n) => le(i32(0), at(keyAt, n)),
  row: () => (n) => {
    const position = at(keyAt, n)
    return { at: toU32(add(place.kvStart, position)), valid: le(i32(0), position) }
  },
  mark,
})

/** Blocks of one size: a key's place in the record follows from its number. */
export const drawBlocks =
  (size: number): Draw =>
  (frame, block, place, drawing, visit) => {
    const { record, keyAt, mark } = drawing
    const { buffer, count, ids } = record
    const total = block.let('total', mul(count, i32(size)))
    block.for('first', i32(0), total, frame.tile.kv, (b, first) => {
      put(frame, b, drawing, place.kvLen, (c, n) => {
        const own = c.let('own', add(first, n))
        const id = c.let('id', at(buffer, add(ids, min(quotient(own, i32(size)), sub(count, i32(1))))))
        const there = and(lt(own, total), le(i32(0), id), lt(id, keyUnits(place, size)))
        const key = size === 1 ? id : add(mul(id, i32(size)), remainder(own, i32(size)))
        // The product of an id that is not there may be any number, so it is not asked about.
        return select(c.let('there', there), key, i32(-1))
      })
      visit(b, gathered(place, keyAt, add(toU32(first), u32(mark))), bool(false))
    })
  }

/** Things that hold keys, each as many as it likes, one behind the other. */
interface Holders {
  readonly count: Code
  readonly length: (n: Code) => Code
  /** Key `left` of holder `n`. */
  readonly key: (b: Block, n: Code, left: Code) => Code
}

export const drawSpans: Draw = (frame, block, place, drawing, visit) => {
  const { buffer, count, ids } = drawing.record
  const start = (n: Code) => max(at(buffer, add(ids, mul(n, i32(2)))), i32(0))
  const end = (n: Code) => min(at(buffer, add(add(ids, mul(n, i32(2))), i32(1))), place.kvLen)
  const holders: Holders = {
    count,
    length: (n) => max(sub(end(n), start(n)), i32(0)),
    key: (_, n, left) => add(start(n), left),
  }
  drawHeld(frame, block, place, drawing, holders, visit)
}

/** Bits: a word holds the keys of the units whose bits are set. */
export const drawBits =
  (size: number): Draw =>
  (frame, block, place, drawing, visit) => {
    const { buffer, count, ids } = drawing.record
    const word = (n: Code) => at(buffer, add(ids, n))
    const holders: Holders = {
      count,
      length: (n) => mul(op('i32', 'popcount', word(n)), i32(size)),
      key: (b, n, left) => {
        const rest = b.var('rest', word(n))
        b.for('skipped', i32(0), quotient(left, i32(size)), 1, (c) =>
          c.set(rest, op('i32', 'bitAnd', rest, sub(rest, i32(1)))),
        )
        // The lowest bit that is left alone, less one, has as many ones as there are bits below it.
        const lowest = op('i32', 'bitAnd', rest, op('i32', 'neg', rest))
        const bit = op('i32', 'popcount', sub(lowest, i32(1)))
        const unit = add(mul(n, i32(32)), bit)
        return size === 1 ? unit : add(mul(unit, i32(size)), remainder(left, i32(size)))
      },
    }
    drawHeld(frame, block, place, drawing, holders, visit)
  }

/** A cursor (holder, keys of it that are behind) moves on by a tile; each thread looks for its own key from there. */
function drawHeld(
  frame: Frame,
  block: Block,
  place: Place,
  drawing: Drawing,
  { count, length, key }: Holders,
  visit: VisitKeys,
): void {
  const { keyAt, mark } = drawing
  const size = frame.tile.kv
  const seek = (b: Block, at: Code, left: Code) =>
    b.loop((c) => {
      c.if(le(count, at), (d) => d.break())
      const own = c.let('length', length(at))
      c.if(lt(left, own), (d) => d.break())
      c.set(left, sub(left, own))
      c.set(at, add(at, i32(1)))
    })
  const holder = block.var('holder', i32(0))
  const behind = block.var('behind', i32(0))
  const drawn = block.var('drawnKeys', i32(0))
  seek(block, holder, behind)
  block.loop((b) => {
    b.if(le(count, holder), (c) => c.break())
    put(frame, b, drawing, place.kvLen, (c, n) => {
      const own = c.var('own', holder)
      const left = c.var('left', add(behind, n))
      seek(c, own, left)
      const found = c.var('found', i32(-1))
      c.if(lt(own, count), (d) => d.set(found, key(d, own, left)))
      return found
    })
    visit(b, gathered(place, keyAt, add(toU32(drawn), u32(mark))), bool(false))
    b.set(drawn, add(drawn, i32(size)))
    b.set(behind, add(behind, i32(size)))
    seek(b, holder, behind)
  })
}

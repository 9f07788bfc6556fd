/** recordOf(): a list and a query's position in; where the ids of its record are, and how many, out. */

import { LIST_HEADER, type ListInfo, type Share } from './artifact.ts'
import type { Block } from './block.ts'
import type { Frame, Place } from './frame.ts'
import { add, at, i32, mul, op, quotient, sub, type Buffer, type Code } from './kernel.ts'

export const keyUnits = ({ kvLen }: Place, size: number): Code =>
  size === 1 ? kvLen : quotient(add(kvLen, i32(size - 1)), i32(size))

/** Of the unit that a query is of. */
export interface ListRecord {
  readonly info: ListInfo
  readonly buffer: Buffer
  readonly count: Code
  /** The word at which its ids begin. */
  readonly ids: Code
}

export const sharerOf = (frame: Frame, place: Place, share: Share): readonly [index: Code, count: Code] => {
  switch (share) {
    case 'head':
      return [place.head, frame.uniform('qHeads')]
    case 'kvHead':
      return [place.kvHead, frame.uniform('kvHeads')]
    case 'request':
      return [i32(0), i32(1)]
  }
}

/** @param position of any query of the record's unit */
export function recordOf(
  frame: Frame,
  block: Block,
  place: Place,
  n: number,
  info: ListInfo,
  position: Code,
): ListRecord {
  const buffer = frame.part(n)
  const [sharer, sharers] = sharerOf(frame, place, info.share)
  const units = block.let('units', at(buffer, i32(0)))
  const unitOf = (position: Code) => op('i32', 'floorDiv', position, i32(info.q as number))
  const unit = info.q === 'whole' ? i32(0) : sub(unitOf(position), unitOf(place.qStart))
  const mine = add(mul(add(mul(place.batch, sharers), sharer), units), unit)
  if (info.form === 'bits') {
    const words = block.let('words', quotient(add(keyUnits(place, info.kv as number), i32(31)), i32(32)))
    return { info, buffer, count: words, ids: block.let('ids', add(mul(mine, words), i32(LIST_HEADER))) }
  }
  const record = block.let('record', add(mine, i32(LIST_HEADER)))
  const all = block.let('records', mul(mul(frame.uniform('batches'), sharers), units))
  return {
    info,
    buffer,
    count: block.let('count', at(buffer, record)),
    ids: block.let('ids', add(add(at(buffer, add(record, all)), mul(all, i32(2))), i32(LIST_HEADER))),
  }
}

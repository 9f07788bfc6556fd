/** Tensors in and out: rows of Q, K and V become vectors of f32 in workgroup memory, and the output rows go back. */

import type { Block } from './block.ts'
import { alignOf, type Frame, type Place } from './frame.ts'
import {
  add,
  and,
  at,
  f32,
  i32,
  isTrue,
  lane,
  le,
  lt,
  mul,
  op,
  quotient,
  remainder,
  select,
  sub,
  u32,
  ZERO4,
  bool,
  type Buffer,
  type Code,
  type Memory,
} from './kernel.ts'

/** A tensor's part that a workgroup reads: where its first row stands, in units of `align` elements. */
export interface Source {
  readonly buffer: Buffer
  readonly dim: number
  readonly start: Code
  readonly rowStride: Code
  readonly headStride: Code
}

export const vectorsOf = (dim: number): number => Math.ceil(dim / 4)

/** Offsets of a tensor's slice for this workgroup. */
export function sourceOf(frame: Frame, block: Block, place: Place, role: 'q' | 'k' | 'v' | 'out'): Source {
  const { headDim, valueDim } = frame.problem
  const unit = (e: Code) => (alignOf(frame.problem) === 4 ? quotient(e, u32(4)) : e)
  const head = role === 'q' || role === 'out' ? place.ownHead : place.ownKvHead
  const begin = add(
    mul(place.ownBatch, frame.uniform(`${role}BatchStride`)),
    mul(head, frame.uniform(`${role}HeadStride`)),
  )
  return {
    buffer: frame.buffer(role),
    dim: role === 'q' || role === 'k' ? headDim : valueDim,
    start: block.let(`${role}Start`, unit(begin)),
    rowStride: block.let(`${role}Stride`, unit(frame.uniform(`${role}RowStride`))),
    headStride: unit(frame.uniform(`${role}HeadStride`)),
  }
}

/** Four elements of a row as f32, zero beyond the row's end. `vector` counts vectors within the row. */
function readVector(
  frame: Frame,
  block: Block,
  { buffer, dim, start, rowStride }: Source,
  row: Code,
  vector: Code,
  beyond: Code = u32(0),
): Code {
  const begin = add(add(start, mul(row, rowStride)), beyond)
  if (alignOf(frame.problem) === 4) {
    const raw = at(buffer, add(begin, vector))
    if (buffer.type === 'f32x4') return raw
    if (buffer.type === 'f16x4') return op('f32x4', 'widen4', raw)
    return op('f32x4', 'unpackHalf4', raw)
  }
  const column = block.let('column', mul(vector, u32(4)))
  const first = block.let('element', add(begin, column))
  const lanes = [0, 1, 2, 3].map((x) => {
    const value = readElement(buffer, add(first, u32(x)))
    return x === 0 ? value : select(lt(add(column, u32(x)), u32(dim)), value, f32(0))
  })
  return op('f32x4', 'vector4', ...lanes)
}

function readElement(buffer: Buffer, index: Code): Code {
  if (buffer.type === 'f32') return at(buffer, index)
  if (buffer.type === 'f16') return op('f32', 'widen', at(buffer, index))
  return op('f32', 'unpackHalf', at(buffer, quotient(index, u32(2))), remainder(index, u32(2)))
}

/** `beyond`: how much further than its row's start the copy begins, as where rows of several heads share a tile. */
export interface SourceRow {
  readonly at: Code
  readonly valid: Code
  readonly beyond?: Code
}

/** What is copied: `rows` rows of vectors [from, from + width) of a source, into rows of `stage`. */
export interface Copy {
  readonly source: Source
  readonly rows: number
  readonly width: number
  /** First vector of the chunk within the source's rows. */
  readonly from: Code
  /** True if from + width may pass the end of a row. */
  readonly ragged: boolean
  /** The tensor's row, and whether it is there, of the copy's row. */
  readonly row: (row: Code) => SourceRow
  /** Where a vector goes: indices into `stage`. */
  readonly place: (row: Code, vector: Code) => readonly [Code, Code]
  readonly scale?: Code
  /** What else is done with a vector once it is stored. */
  readonly inspect?: (block: Block, value: Code) => void
}

/**
 * All threads copy together, with a barrier before the first store: the stage may still be read. The barrier that
 * makes the copies visible is the caller's.
 */
export function stage(
  frame: Frame,
  block: Block,
  thread: Code,
  memory: Memory,
  copies: readonly Copy[],
): void {
  const { threads, unroll } = frame.problem.schedule
  const count = threads.q * threads.kv
  const one = (b: Block, copy: Copy, element: Code): { value: Code; to: readonly [Code, Code] } => {
    const row = b.let('row', quotient(element, u32(copy.width)))
    const vector = b.let('vector', copy.width === 1 ? u32(0) : remainder(element, u32(copy.width)))
    const column = b.let('column', add(copy.from, vector))
    const { at: sourceRow, valid, beyond } = copy.row(row)
    const there = b.let(
      'there',
      and(valid, copy.ragged ? lt(column, u32(vectorsOf(copy.source.dim))) : bool(true)),
    )
    // A load beyond the tensor may give anything, a NaN too: the address and the value are both replaced.
    const safe = isTrue(there) ? sourceRow : select(there, sourceRow, u32(0))
    const safeColumn = copy.ragged ? select(there, column, u32(0)) : column
    const raw = readVector(frame, b, copy.source, safe, safeColumn, beyond)
    const value = isTrue(there) ? raw : select(there, raw, ZERO4)
    return { value: copy.scale ? op('f32x4', 'mul4', value, copy.scale) : value, to: copy.place(row, vector) }
  }
  if (!unroll) {
    block.barrier()
    for (const copy of copies) {
      block.for('element', thread, u32(copy.rows * copy.width), count, (b, element) => {
        const { value: made, to } = one(b, copy, element)
        const value = copy.inspect ? b.let('loaded', made) : made
        b.set(at(memory, ...to), value)
        copy.inspect?.(b, value)
      })
    }
    return
  }
  // Loads first, so that their latencies overlap each other and the wait at the barrier.
  const stores: { copy: Copy; value: Code; to: readonly [Code, Code]; guard: Code }[] = []
  for (const copy of copies) {
    const total = copy.rows * copy.width
    for (let base = 0; base < total; base += count) {
      const element = block.let('element', add(thread, u32(base)))
      const { value, to } = one(block, copy, element)
      stores.push({
        copy,
        value: block.let('loaded', value),
        to,
        guard: base + count <= total ? bool(true) : lt(element, u32(total)),
      })
    }
  }
  block.barrier()
  for (const { copy, value, to, guard } of stores) {
    const store = (b: Block) => {
      b.set(at(memory, ...to), value)
      copy.inspect?.(b, value)
    }
    if (isTrue(guard)) store(block)
    else block.if(guard, store)
  }
}

/** Four output elements of a row; `vector` is inside the row. */
export function writeVector(
  frame: Frame,
  block: Block,
  { buffer, dim, start, rowStride }: Source,
  row: Code,
  vector: Code,
  value: Code,
  beyond: Code = u32(0),
): void {
  const begin = add(add(start, mul(row, rowStride)), beyond)
  if (alignOf(frame.problem) === 4) {
    const packed =
      buffer.type === 'f32x4'
        ? value
        : buffer.type === 'f16x4'
          ? op('f16x4', 'narrow4', value)
          : op('u32x2', 'packHalf4', value)
    block.set(at(buffer, add(begin, vector)), packed)
    return
  }
  const column = block.let('column', mul(vector, u32(4)))
  const first = block.let('element', add(begin, column))
  const four = block.let('four', value)
  for (let x = 0; x < 4; x++) {
    const put = (b: Block) => writeElement(b, buffer, add(first, u32(x)), lane(four, x))
    if (x === 0) put(block)
    else block.if(lt(add(column, u32(x)), u32(dim)), put)
  }
}

function writeElement(block: Block, buffer: Buffer, index: Code, value: Code): void {
  if (buffer.type === 'f32') return block.set(at(buffer, index), value)
  if (buffer.type === 'f16') return block.set(at(buffer, index), op('f16', 'narrow', value))
  const word = at(buffer, quotient(index, u32(2)))
  const shift = block.let('shift', mul(remainder(index, u32(2)), u32(16)))
  const keep = op('u32', 'bitNot', op('u32', 'shl', u32(65535), shift))
  block.atomic('and', word, keep)
  block.atomic(
    'or',
    word,
    op('u32', 'shl', op('u32', 'bitAnd', op('u32', 'packHalf', value), u32(65535)), shift),
  )
}

export const rowIsReal = (place: Place, row: Code): Code => and(le(place.realLo, row), le(row, place.realHi))
export const positionOf = (place: Place, row: Code): Code =>
  op('i32', 'min', op('i32', 'max', add(row, place.qShift), place.qLo), place.qHi)
export const lastKey = (place: Place): Code => sub(place.kvLen, i32(1))

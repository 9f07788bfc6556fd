/** The header of a GGUF file, read in windows: its values and what it says of each tensor out; nothing of it is believed. */

import { HeddleError } from '../messages.ts'
import type { Json } from './fields.ts'
import { missing, type ModelSource } from './source.ts'

export interface TensorInfo {
  readonly name: string
  /** From the innermost size on, as ggml counts them. */
  readonly sizes: readonly number[]
  /** ggml's number of the type. */
  readonly type: number
  /** From the beginning of the data. */
  readonly offset: bigint
}

export interface GgufHeader {
  readonly values: Json
  readonly tensors: readonly TensorInfo[]
  /** Bytes of the file, and those of them before the data, without padding. */
  readonly size: number
  readonly end: number
}

const MAGIC = 0x46554747
const WINDOW = 2 ** 20
// A vocabulary of 256k tokens with its merges takes about 10 MB and 1M elements.
const MOST_HEADER = 2 ** 27
const MOST_TEXT = 2 ** 24
const MOST_ELEMENTS = 2 ** 23
const MOST_DEPTH = 4
const MOST_DIMS = 4
/** Bytes of the shortest records of a tensor and of a value: a file has no more of them than fit. */
const LEAST_TENSOR = 24
const LEAST_VALUE = 13

type Refuse = (detail: string) => HeddleError

export async function readGgufHeader(source: ModelSource, file: string): Promise<GgufHeader> {
  const refuse: Refuse = (detail) => new HeddleError('weights-header', { file, detail })
  const size = await source.size(file)
  if (size === null) throw missing(source.place, file)
  if (size < 24) throw refuse(`a header has at least 24 bytes, the file has ${size}`)
  const cursor = cursorOf(source, file, size, refuse)
  const first = await cursor.take(24)
  if (first.getUint32(0, true) !== MAGIC) throw refuse('it does not begin with GGUF')
  const version = first.getUint32(4, true)
  if (version !== 2 && version !== 3) throw refuse(`expected version 2 or 3, little-endian, got ${version}`)
  const count = (what: string, at: number, least: number): number => {
    const claimed = first.getBigUint64(at, true)
    if (claimed > BigInt(Math.floor(size / least)))
      throw refuse(`its header claims ${claimed} ${what}, more than its ${size} bytes can hold`)
    return Number(claimed)
  }
  const tensorCount = count('tensors', 8, LEAST_TENSOR)
  const valueCount = count('values', 16, LEAST_VALUE)

  const values = new Map<string, unknown>()
  const readValue = valueReader(cursor, size, refuse)
  for (let i = 0; i < valueCount; i++) {
    const key = await readText(cursor, refuse)
    if (values.has(key)) throw refuse(`its header has ${JSON.stringify(key)} twice`)
    values.set(key, await readValue(await readU32(cursor), 0))
  }
  const tensors: TensorInfo[] = []
  for (let i = 0; i < tensorCount; i++) tensors.push(await readTensor(cursor, file, refuse))
  return { values: Object.fromEntries(values), tensors, size, end: cursor.at() }
}

interface Cursor {
  /** The next bytes. */
  take(bytes: number): Promise<DataView>
  at(): number
}

/** Windows of the file, one after the other; a text longer than a window is read as a whole. */
function cursorOf(source: ModelSource, file: string, size: number, refuse: Refuse): Cursor {
  let window = new DataView(new ArrayBuffer(0))
  let [start, at] = [0, 0]
  return {
    at: () => at,
    async take(bytes) {
      if (at + bytes > size) throw refuse(`its header goes on beyond its ${size} bytes`)
      if (at + bytes > MOST_HEADER) throw refuse(`its header has more than ${MOST_HEADER} bytes`)
      if (at + bytes > start + window.byteLength) {
        const end = Math.min(size, at + Math.max(bytes, WINDOW))
        window = new DataView((await source.read(file, { begin: at, end })).buffer)
        start = at
      }
      const view = new DataView(window.buffer, at - start, bytes)
      at += bytes
      return view
    },
  }
}

const readU32 = async (cursor: Cursor) => (await cursor.take(4)).getUint32(0, true)
const readU64 = async (cursor: Cursor) => (await cursor.take(8)).getBigUint64(0, true)
const TEXTS = new TextDecoder('utf-8', { ignoreBOM: true })

async function readText(cursor: Cursor, refuse: Refuse): Promise<string> {
  const length = await readU64(cursor)
  if (length > BigInt(MOST_TEXT))
    throw refuse(`it has a text of ${length} bytes, at most ${MOST_TEXT} are allowed`)
  return TEXTS.decode(await cursor.take(Number(length)))
}

async function readTensor(cursor: Cursor, file: string, refuse: Refuse): Promise<TensorInfo> {
  const name = await readText(cursor, refuse)
  const wrong = (detail: string) =>
    new HeddleError('weights-record', { file, tensor: name || 'a tensor without a name', detail })
  if (name === '') throw wrong('it has no name')
  const dims = await readU32(cursor)
  if (dims === 0 || dims > MOST_DIMS) throw wrong(`expected a shape of 1 to ${MOST_DIMS} sizes, got ${dims}`)
  const sizes: number[] = []
  for (let i = 0; i < dims; i++) {
    const size = await readU64(cursor)
    if (size === 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong(`a size of it is ${size}`)
    sizes.push(Number(size))
  }
  return { name, sizes, type: await readU32(cursor), offset: await readU64(cursor) }
}

interface Scalar {
  readonly bytes: number
  readonly read: (view: DataView, at: number) => number | bigint | boolean
}

/** By the format's number of the type. Integers of 64 bits are numbers where these are exact. */
const SCALARS: ReadonlyMap<number, Scalar> = new Map<number, Scalar>([
  [0, { bytes: 1, read: (view, at) => view.getUint8(at) }],
  [1, { bytes: 1, read: (view, at) => view.getInt8(at) }],
  [2, { bytes: 2, read: (view, at) => view.getUint16(at, true) }],
  [3, { bytes: 2, read: (view, at) => view.getInt16(at, true) }],
  [4, { bytes: 4, read: (view, at) => view.getUint32(at, true) }],
  [5, { bytes: 4, read: (view, at) => view.getInt32(at, true) }],
  [6, { bytes: 4, read: (view, at) => view.getFloat32(at, true) }],
  [7, { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 }],
  [10, { bytes: 8, read: (view, at) => exact(view.getBigUint64(at, true)) }],
  [11, { bytes: 8, read: (view, at) => exact(view.getBigInt64(at, true)) }],
  [12, { bytes: 8, read: (view, at) => view.getFloat64(at, true) }],
])
const TEXT = 8
const LIST = 9

const exact = (x: bigint): number | bigint => (Number.isSafeInteger(Number(x)) ? Number(x) : x)

/** Reads values; what lists may hold together is counted, since an element in memory is larger than in the file. */
function valueReader(
  cursor: Cursor,
  size: number,
  refuse: Refuse,
): (type: number, depth: number) => Promise<unknown> {
  let left = MOST_ELEMENTS
  const read = async (type: number, depth: number): Promise<unknown> => {
    const scalar = SCALARS.get(type)
    if (scalar) return scalar.read(await cursor.take(scalar.bytes), 0)
    if (type === TEXT) return readText(cursor, refuse)
    if (type !== LIST) throw refuse(`it has a value of type ${type}, which there is none of`)
    return readList(depth)
  }
  const readList = async (depth: number): Promise<unknown[]> => {
    if (depth === MOST_DEPTH) throw refuse(`it has lists in lists, ${MOST_DEPTH} deep`)
    const type = await readU32(cursor)
    const claimed = await readU64(cursor)
    const scalar = SCALARS.get(type)
    const least = scalar?.bytes ?? 8
    if (claimed > BigInt(Math.floor((size - cursor.at()) / least)) || claimed > BigInt(left)) {
      throw refuse(`it has a list of ${claimed} elements, more than it can hold`)
    }
    const length = Number(claimed)
    left -= length
    if (scalar) {
      const view = await cursor.take(length * scalar.bytes)
      return Array.from({ length }, (_, i) => scalar.read(view, i * scalar.bytes))
    }
    const list: unknown[] = []
    for (let i = 0; i < length; i++) list.push(await read(type, depth + 1))
    return list
  }
  return read
}

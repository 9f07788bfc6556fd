/** Checkpoints in safetensors: one file or the shards of an index in, their tensors out; headers are checked, data streamed. */

import { HeddleError } from '../messages.ts'
import { decodeText, fieldsOf, isRecord, parseRecord, readRecord, type Json } from './fields.ts'
import { repeatedKey } from './json-keys.ts'
import { missing, plainName, type ModelSource } from './source.ts'
import {
  chunkOf,
  DTYPE_BITS,
  elementsOf,
  streamRange,
  WEIGHT_DTYPES,
  type Checkpoint,
  type StoredDtype,
  type StoredTensor,
} from './tensors.ts'

export const SINGLE_FILE = 'model.safetensors'
export const INDEX_FILE = 'model.safetensors.index.json'

/** The format's own bound on a header; a real one has about 100 bytes a tensor. */
const MOST_HEADER = 100_000_000
const MOST_INDEX = 100_000_000
const MOST_DIMS = 8
const LFS_POINTER = 'version https://git-lfs'

/** The checkpoint of a folder, or null where it has none in safetensors. */
export async function openSafetensors(source: ModelSource): Promise<Checkpoint | null> {
  const tensors = new Map<string, StoredTensor>()
  const add = (file: readonly StoredTensor[]) => {
    for (const tensor of file) {
      const other = tensors.get(tensor.name)
      if (other)
        throw new HeddleError('weight-twice', { tensor: tensor.name, files: [other.file, tensor.file] })
      tensors.set(tensor.name, tensor)
    }
  }
  if ((await source.size(SINGLE_FILE)) !== null) add(await readHeader(source, SINGLE_FILE))
  else {
    const index = await readRecord(source, INDEX_FILE, MOST_INDEX)
    if (index === null) return null
    const places = indexed(index)
    for (const file of new Set(places.values())) add(await readHeader(source, file))
    for (const [name, file] of places) {
      const found = tensors.get(name)?.file
      if (found === file) continue
      const detail = found ? `it is in ${found}` : 'the file does not have it'
      throw new HeddleError('weights-record', { file: INDEX_FILE, tensor: `${name} in ${file}`, detail })
    }
  }
  return {
    tensors,
    dtypes: WEIGHT_DTYPES,
    stream: (tensor, chunkBytes) => streamRange(source, tensor, chunkOf(chunkBytes, 8)),
  }
}

/** Which file has which tensor, as the index says. */
function indexed(index: Json): Map<string, string> {
  const map = fieldsOf(INDEX_FILE, index).raw('weight_map')
  if (!isRecord(map)) throw fieldsOf(INDEX_FILE, index).refuse('weight_map', 'a record of tensors and files')
  return new Map(Object.entries(map).map(([name, file]) => [name, plainName(file, `${INDEX_FILE}, ${name}`)]))
}

/** The records of a file's tensors; whatever is claimed is checked against the file's size before it is read. */
export async function readHeader(source: ModelSource, file: string): Promise<StoredTensor[]> {
  const refuse = (detail: string) => new HeddleError('weights-header', { file, detail })
  const size = await source.size(file)
  if (size === null) throw missing(source.place, file)
  if (size < 8) throw refuse(`a header begins with 8 bytes, the file has ${size}`)
  const first = await source.read(file, { begin: 0, end: Math.min(size, 8 + LFS_POINTER.length) })
  if (new TextDecoder().decode(first).startsWith(LFS_POINTER)) {
    throw new HeddleError('model-file-pointer', { name: file })
  }
  const claimed = new DataView(first.buffer).getBigUint64(0, true)
  if (claimed > BigInt(size - 8))
    throw refuse(`its header claims ${claimed} bytes, the file has ${size - 8} after it`)
  if (claimed > BigInt(MOST_HEADER))
    throw refuse(`its header claims ${claimed} bytes, at most ${MOST_HEADER} are allowed`)
  const start = 8 + Number(claimed)
  const text = decodeText(file, await source.read(file, { begin: 8, end: start }))
  if (!text.startsWith('{')) throw refuse('its header does not begin with {')
  const header = parseRecord(file, text)
  const twice = repeatedKey(text)
  if (twice !== null) throw refuse(`its header has ${JSON.stringify(twice)} twice`)
  const { __metadata__: metadata, ...records } = header
  if (
    metadata !== undefined &&
    !(isRecord(metadata) && Object.values(metadata).every((x) => typeof x === 'string'))
  )
    throw refuse('its __metadata__ is no record of texts')
  const tensors = Object.entries(records).map(([name, record]) => tensorOf(file, name, record, start, size))
  checkCover(file, tensors, start, size)
  return tensors
}

/** One record of the header: type and shape known, and as many bytes as they need, inside the file. */
function tensorOf(file: string, name: string, record: unknown, start: number, size: number): StoredTensor {
  const refuse = (detail: string) => new HeddleError('weights-record', { file, tensor: name, detail })
  if (!isRecord(record)) throw refuse('it is no record')
  const { dtype, shape, data_offsets: offsets, ...more } = record
  const [unknown] = Object.keys(more)
  if (unknown !== undefined) throw refuse(`there is no field ${unknown}`)
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BITS, dtype)) {
    throw refuse(
      `there is no dtype ${JSON.stringify(dtype)}; there are ${Object.keys(DTYPE_BITS).join(', ')}`,
    )
  }
  if (!isWholes(shape) || shape.length > MOST_DIMS) {
    throw refuse(`expected a shape of at most ${MOST_DIMS} whole numbers, got ${JSON.stringify(shape)}`)
  }
  if (!isWholes(offsets) || offsets.length !== 2) {
    throw refuse(`expected data_offsets of two whole numbers, got ${JSON.stringify(offsets)}`)
  }
  const [begin, end] = offsets as [number, number]
  if (begin > end || end > size - start) {
    throw refuse(`its data lies at ${begin} to ${end}, the file has ${size - start} bytes of data`)
  }
  const elements = elementsOf(shape)
  const bytes = elements === null ? null : (elements * DTYPE_BITS[dtype as StoredDtype]) / 8
  if (bytes !== end - begin) {
    throw refuse(
      `${dtype} of shape [${shape.join(', ')}] takes ${bytes ?? 'too many'} bytes, it has ${end - begin}`,
    )
  }
  return { name, dtype, shape, file, begin: start + begin, end: start + end }
}

const isWholes = (x: unknown): x is number[] =>
  Array.isArray(x) && x.every((n) => Number.isSafeInteger(n) && (n as number) >= 0)

/** The format has no gaps and no overlaps: in order of their places, tensors follow each other up to the file's end. */
function checkCover(file: string, tensors: readonly StoredTensor[], start: number, size: number): void {
  let at = start
  for (const { name, begin, end } of tensors.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at) {
      const detail =
        begin < at ? 'its data overlaps that of another tensor' : `${begin - at} bytes before it are nobody's`
      throw new HeddleError('weights-record', { file, tensor: name, detail })
    }
    at = end
  }
  if (at !== size) {
    throw new HeddleError('weights-header', { file, detail: `${size - at} bytes at its end are no tensor's` })
  }
}

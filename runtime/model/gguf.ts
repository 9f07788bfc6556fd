/** A GGUF file in; its model, and its tensors by Hugging Face's names, in F32 where they have fewer bits, out. */

import { HeddleError } from '../messages.ts'
import type { Json } from './fields.ts'
import { BLOCK_TYPES, OTHER_TYPES, type BlockType } from './gguf-blocks.ts'
import { huggingFaceName, readGgufModel, ROPE_DIVISORS, type GgufModel } from './gguf-config.ts'
import { readGgufHeader, type GgufHeader, type TensorInfo } from './gguf-header.ts'
import { remember } from './remember.ts'
import type { ModelSource } from './source.ts'
import { chunkOf, elementsOf, streamRange, type Checkpoint, type StoredTensor } from './tensors.ts'
import type { Tokenizer } from './tokenizer.ts'

export interface GgufFiles extends Pick<GgufModel, 'config' | 'generation'> {
  readonly checkpoint: Checkpoint
  tokenizer(): Promise<Tokenizer>
}

interface GgufTensor extends StoredTensor {
  /** Null where its type is none that can be read. */
  readonly type: BlockType | null
}

const MOST_ALIGNMENT = 2 ** 20

export async function openGguf(source: ModelSource, file: string): Promise<GgufFiles> {
  const { metadata, tensors } = await readGguf(source, file)
  const divisors = await readDivisors(source, tensors.get(ROPE_DIVISORS))
  const rows = (name: string) => tensors.get(name)?.shape[0] ?? null
  const { config, generation, neighbours } = readGgufModel(file, metadata, rows, divisors)
  const heads = (name: string) => {
    if (!neighbours) return null
    return /\.self_attn\.q_proj\./.test(name)
      ? config.qHeads
      : /\.self_attn\.k_proj\./.test(name)
        ? config.kvHeads
        : null
  }
  return {
    config,
    generation,
    checkpoint: {
      tensors,
      dtypes: [...BLOCK_TYPES.values()].map((type) => type.name),
      stream(tensor, chunkBytes) {
        const found = tensors.get(tensor.name)
        const type = found?.type
        if (!found || !type) throw unreadable(tensor)
        const count = heads(tensor.name)
        const step = chunkOf(chunkBytes, type.decode ? type.elements * 4 : 8)
        return count === null
          ? inOrder(source, found, type, step)
          : inHalves(source, found, type, count, step)
      },
    },
    tokenizer: remember(async () => (await import('./gguf-tokenizer.ts')).ggufTokenizer(file, metadata)),
  }
}

const unreadable = ({ name, file, dtype }: StoredTensor) =>
  new HeddleError('weight-dtype', {
    tensor: name,
    file,
    known: [...BLOCK_TYPES.values()].map((type) => type.name),
    got: dtype,
  })

async function* inOrder(
  source: ModelSource,
  tensor: StoredTensor,
  type: BlockType,
  step: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const { decode } = type
  if (!decode) return yield* streamRange(source, tensor, step)
  const stored = (step / (type.elements * 4)) * type.bytes
  for await (const blocks of streamRange(source, tensor, stored)) yield decode(blocks)
}

/**
 * Rows of q or k, head by head, in the order of Hugging Face: llama.cpp has the components that turn together side by
 * side (row 2i + j of a head), transformers half a head apart (row i + j headDim / 2).
 */
async function* inHalves(
  source: ModelSource,
  { shape, file, begin, end }: StoredTensor,
  type: BlockType,
  heads: number,
  step: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const rowBytes = (end - begin) / shape[0]!
  const half = shape[0]! / heads / 2
  const headBytes = 2 * half * rowBytes
  for (let at = begin; at < end; at += headBytes) {
    const stored = await source.read(file, { begin: at, end: at + headBytes })
    const ordered = new Uint8Array(headBytes)
    for (let row = 0; row < 2 * half; row++) {
      const from = 2 * (row % half) + (row < half ? 0 : 1)
      ordered.set(stored.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes)
    }
    const elements = type.decode ? type.decode(ordered) : ordered
    for (let i = 0; i < elements.length; i += step) yield elements.slice(i, i + step)
  }
}

/** Values, and tensors by Hugging Face's names: each inside the file and apart from the others. */
export async function readGguf(
  source: ModelSource,
  file: string,
): Promise<{ metadata: Json; tensors: ReadonlyMap<string, GgufTensor> }> {
  const header = await readGgufHeader(source, file)
  const refuse = (detail: string) => new HeddleError('weights-header', { file, detail })
  const { values: metadata } = header
  const alignment = metadata['general.alignment'] ?? 32
  if (typeof alignment !== 'number' || !isPowerOf2(alignment) || alignment > MOST_ALIGNMENT) {
    throw refuse(`expected general.alignment to be a power of 2, got ${String(alignment)}`)
  }
  const splits = metadata['split.count'] ?? 0
  if (splits !== 0 && splits !== 1) {
    throw refuse(`it is one of ${String(splits)} parts; put them together with llama-gguf-split --merge`)
  }
  const tensors = new Map<string, GgufTensor>()
  for (const info of header.tensors) {
    const tensor = tensorOf(file, info, header, alignment)
    if (tensors.has(tensor.name))
      throw new HeddleError('weight-twice', { tensor: info.name, files: [file, file] })
    tensors.set(tensor.name, tensor)
  }
  checkApart(file, [...tensors.values()])
  return { metadata, tensors }
}

const isPowerOf2 = (x: number) => Number.isInteger(x) && x > 0 && (x & (x - 1)) === 0

function tensorOf(file: string, info: TensorInfo, { size, end }: GgufHeader, alignment: number): GgufTensor {
  const refuse = (detail: string) => new HeddleError('weights-record', { file, tensor: info.name, detail })
  if (info.offset > BigInt(size))
    throw refuse(`its data begins at ${info.offset}, the file has ${size} bytes`)
  const offset = Number(info.offset)
  if (offset % alignment !== 0) throw refuse(`its data begins at ${offset}, no multiple of ${alignment}`)
  const begin = Math.ceil(end / alignment) * alignment + offset
  const type = BLOCK_TYPES.get(info.type) ?? null
  const found = { name: huggingFaceName(info.name), shape: info.sizes.toReversed(), file, begin }
  if (!type) return { ...found, dtype: OTHER_TYPES.get(info.type) ?? `type ${info.type}`, end: begin, type }
  const row = info.sizes[0]!
  if (row % type.elements !== 0) {
    throw refuse(`a row of ${row} elements is no whole number of ${type.name}'s blocks of ${type.elements}`)
  }
  const elements = elementsOf(info.sizes)
  const bytes = elements === null ? null : (elements / type.elements) * type.bytes
  if (bytes === null || begin + bytes > size) {
    throw refuse(`its data takes ${bytes ?? 'too many'} bytes from ${begin} on, the file has ${size}`)
  }
  return { ...found, dtype: type.dtype, end: begin + bytes, type }
}

function checkApart(file: string, tensors: readonly GgufTensor[]): void {
  let free = 0
  for (const { name, begin, end } of tensors.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < free) {
      const detail = 'its data overlaps that of another tensor'
      throw new HeddleError('weights-record', { file, tensor: name, detail })
    }
    free = end
  }
}

async function readDivisors(source: ModelSource, tensor: GgufTensor | undefined): Promise<number[] | null> {
  if (!tensor) return null
  const { name, file, begin, end, dtype, shape } = tensor
  if (dtype !== 'F32' || shape.length !== 1 || shape[0]! > 2 ** 15) {
    throw new HeddleError('weights-record', { file, tensor: name, detail: 'expected a short list of F32' })
  }
  const divisors = [...new Float32Array((await source.read(file, { begin, end })).buffer)]
  if (!divisors.every((x) => x > 0 && x < Infinity)) {
    throw new HeddleError('weights-record', { file, tensor: name, detail: 'expected divisors above 0' })
  }
  return divisors
}

/** Tensors as a checkpoint stores them: what a file's header says of each, and their bytes in chunks. */

import { HeddleError } from '../messages.ts'
import type { ModelSource } from './source.ts'

/** Bits of an element, for every type that safetensors has. */
export const DTYPE_BITS = {
  F64: 64,
  F32: 32,
  F16: 16,
  BF16: 16,
  I64: 64,
  I32: 32,
  I16: 16,
  I8: 8,
  U64: 64,
  U32: 32,
  U16: 16,
  U8: 8,
  BOOL: 8,
  C64: 64,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
} as const

export type StoredDtype = keyof typeof DTYPE_BITS

/** What weights may be; a checkpoint may hold tensors of other types as long as the model needs none of them. */
export const WEIGHT_DTYPES = ['F32', 'F16', 'BF16'] as const
export type WeightDtype = (typeof WEIGHT_DTYPES)[number]

export interface StoredTensor {
  readonly name: string
  /** The type of the elements that `stream` gives, or one that it cannot give. */
  readonly dtype: string
  /** Rows first: [out, in] of a linear layer. */
  readonly shape: readonly number[]
  /** Where its stored bytes lie. */
  readonly file: string
  readonly begin: number
  readonly end: number
}

/** One model's tensors, whatever number and kind of files they are in. */
export interface Checkpoint {
  /** By the names that Hugging Face's transformers gives them. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** The types in which weights may be stored in such files. */
  readonly dtypes: readonly string[]
  /**
   * The tensor's elements in order, little-endian, row by row. Each chunk is memory of its own, holds whole elements and
   * at most `chunkBytes` of them; all but the last are a multiple of 4 bytes, as GPU writes want it.
   */
  stream(tensor: StoredTensor, chunkBytes: number): AsyncIterable<Uint8Array<ArrayBuffer>>
}

/** The least `chunkBytes`: a few elements of any type. */
export const LEAST_CHUNK = 256

/** `chunkBytes` as the multiple of `unit` that fits in it. */
export function chunkOf(chunkBytes: number, unit: number): number {
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < LEAST_CHUNK) {
    throw new HeddleError('chunk-bytes', { least: LEAST_CHUNK, got: chunkBytes })
  }
  return Math.max(1, Math.floor(chunkBytes / unit)) * unit
}

/** A range of a file, chunk after chunk. */
export async function* streamRange(
  source: ModelSource,
  { file, begin, end }: Pick<StoredTensor, 'file' | 'begin' | 'end'>,
  step: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  for (let at = begin; at < end; at += step) {
    yield await source.read(file, { begin: at, end: Math.min(end, at + step) })
  }
}

/** Elements of a shape, or null where it is more than can be counted. */
export function elementsOf(shape: readonly number[]): number | null {
  const product = shape.reduce((n, size) => n * size, 1)
  return Number.isSafeInteger(product) ? product : null
}

/** The ways in which GGUF stores numbers: blocks of bytes in, elements out. One row a type. */

import { fromHalf } from '../half.ts'
import type { WeightDtype } from './tensors.ts'

export interface BlockType {
  readonly name: string
  /** Elements of a block and the bytes that it takes. */
  readonly elements: number
  readonly bytes: number
  /** What its elements are once they are read: quantized numbers are exact in F32. */
  readonly dtype: WeightDtype
  /** Whole blocks to elements; null where the bytes are the elements. */
  readonly decode: ((blocks: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>) | null
}

const plain = (name: WeightDtype, bytes: number): BlockType => ({
  name,
  elements: 1,
  bytes,
  dtype: name,
  decode: null,
})

/** A block of 32 integers behind one half float that scales them. */
function scaled(
  name: string,
  bytes: number,
  integers: (view: DataView, at: number, out: Float32Array, to: number) => void,
): BlockType {
  const decode = (blocks: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
    const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.byteLength)
    const out = new Float32Array((blocks.length / bytes) * 32)
    for (let at = 0, to = 0; at < blocks.length; at += bytes, to += 32) {
      const scale = fromHalf(view.getUint16(at, true))
      integers(view, at + 2, out, to)
      for (let i = to; i < to + 32; i++) out[i]! *= scale
    }
    return new Uint8Array(out.buffer)
  }
  return { name, elements: 32, bytes, dtype: 'F32', decode }
}

/** By ggml's number of the type. */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map([
  [0, plain('F32', 4)],
  [1, plain('F16', 2)],
  [30, plain('BF16', 2)],
  [
    8,
    scaled('Q8_0', 34, (view, at, out, to) => {
      for (let i = 0; i < 32; i++) out[to + i] = view.getInt8(at + i)
    }),
  ],
  [
    2,
    // Low halves of the 16 bytes are the first 16 elements, high ones the others; 8 is zero.
    scaled('Q4_0', 18, (view, at, out, to) => {
      for (let i = 0; i < 16; i++) {
        const byte = view.getUint8(at + i)
        out[to + i] = (byte & 15) - 8
        out[to + 16 + i] = (byte >> 4) - 8
      }
    }),
  ],
])

/** What cannot be read, by name, for messages. */
export const OTHER_TYPES: ReadonlyMap<number, string> = new Map([
  [3, 'Q4_1'],
  [6, 'Q5_0'],
  [7, 'Q5_1'],
  [9, 'Q8_1'],
  [10, 'Q2_K'],
  [11, 'Q3_K'],
  [12, 'Q4_K'],
  [13, 'Q5_K'],
  [14, 'Q6_K'],
  [15, 'Q8_K'],
  [16, 'IQ2_XXS'],
  [17, 'IQ2_XS'],
  [18, 'IQ3_XXS'],
  [19, 'IQ1_S'],
  [20, 'IQ4_NL'],
  [21, 'IQ3_S'],
  [22, 'IQ2_S'],
  [23, 'IQ4_XS'],
  [24, 'I8'],
  [25, 'I16'],
  [26, 'I32'],
  [27, 'I64'],
  [28, 'F64'],
  [29, 'IQ1_M'],
  [34, 'TQ1_0'],
  [35, 'TQ2_0'],
  [39, 'MXFP4'],
])

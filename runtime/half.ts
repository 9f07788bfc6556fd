/** Half floats: numbers to 16-bit patterns and back, and the host's array type for them. */
/// <reference lib="esnext.float16" preserve="true" />

import { getFloat16, isFloat16Array, setFloat16 } from '@petamoriken/float16'

/** The largest finite half float; what is larger is stored as this, as the kernels do. */
export const HALF_MAX = 65504

const bytes = new DataView(new ArrayBuffer(2))
let decoded: Float32Array | null = null

/** The value of every bit pattern: 256 KiB that turn decoding into a look-up. */
function values(): Float32Array {
  if (decoded) return decoded
  const table = new Float32Array(1 << 16)
  for (let bits = 0; bits < 1 << 16; bits++) {
    bytes.setUint16(0, bits)
    table[bits] = getFloat16(bytes, 0)
  }
  decoded = table
  return table
}

export const fromHalf = (bits: number): number => values()[bits & 0xffff]!

/** The nearest half float's bits, ties to even, clamped to what is finite; NaN stays NaN. */
export function toHalf(value: number): number {
  const x = Math.min(HALF_MAX, Math.max(-HALF_MAX, value))
  setFloat16(bytes, 0, x)
  return bytes.getUint16(0)
}

export const roundHalf = (value: number): number => fromHalf(toHalf(value))

/** Half floats from numbers, as bits. */
export function halfArray(from: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(from.length)
  for (let i = 0; i < from.length; i++) out[i] = toHalf(from[i]!)
  return out
}

/** True for the platform's Float16Array and for the ponyfill's. */
export const isHalfArray = (x: unknown): x is Float16Array => isFloat16Array(x)

/** The platform's constructor, or null: Node below 24 has none. */
export const nativeHalfArray = (): Float16ArrayConstructor | null =>
  typeof Float16Array === 'undefined' ? null : Float16Array

/** Half floats: numbers to 16-bit patterns and back, and the host's array type for them. */
/// <reference lib="esnext.float16" preserve="true" />

import { getFloat16, isFloat16Array } from '@petamoriken/float16'

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

const double = new Float64Array(1)
const doubleWords = new Uint32Array(double.buffer)
/** Its sum with a number of a dozen bits has no place for a fraction, and rounds ties to even. */
const WHOLE = 2 ** 52
const NAN_BITS = 0x7e00
/** By the exponent, from -14 to 15: what a number is multiplied by so that halves of this exponent are whole. */
const STEPS = Float64Array.from({ length: 30 }, (_, i) => 2 ** (24 - i))

/** The nearest half float's bits, ties to even, clamped to what is finite; NaN stays NaN. */
export function toHalf(value: number): number {
  // A library's conversion takes some 300 ns, and tensors have millions.
  const size = Math.min(HALF_MAX, Math.abs(value))
  if (Number.isNaN(size)) return NAN_BITS
  double[0] = value
  const high = doubleWords[1]!
  double[0] = size
  // Below the least exponent numbers share its steps.
  const above = Math.max(0, ((doubleWords[1]! >>> 20) & 0x7ff) - 1023 + 14)
  const whole = size * STEPS[above]! + WHOLE - WHOLE
  return ((high >>> 16) & 0x8000) | ((above << 10) + whole)
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

/** Brain floats (the upper half of an f32): numbers to 16-bit patterns and back. */

const word = new Uint32Array(1)
const float = new Float32Array(word.buffer)

export function fromBfloat(bits: number): number {
  word[0] = (bits & 0xffff) << 16
  return float[0]!
}

/** The nearest one's bits, ties to even; what is beyond the greatest becomes an infinity, NaN stays NaN. */
export function toBfloat(value: number): number {
  // The f32 on the way must not be a tie that the number itself is not: its last bit keeps what was cut off (round to odd).
  float[0] = value
  const near = float[0]!
  if (Number.isNaN(near)) return 0x7fc0
  let bits = word[0]!
  if (near !== value && Number.isFinite(near)) {
    if (Math.abs(near) > Math.abs(value)) bits -= 1
    bits |= 1
  }
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

export const roundBfloat = (value: number): number => fromBfloat(toBfloat(value))

/** Brain floats from numbers, as bits. */
export function bfloatArray(from: ArrayLike<number>): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(from.length)
  for (let i = 0; i < from.length; i++) out[i] = toBfloat(from[i]!)
  return out
}

/** The integer helpers of the language: real functions on numbers, which the compiler also knows as ops. */

/** The greatest integer at or below a / b. b must be positive. */
export const floorDiv = (a: number, b: number): number => Math.floor(a / b) + 0

/** The remainder in [0, b): `mod(-1, 4)` is 3, where `-1 % 4` is -1. b must be positive. */
export const mod = (a: number, b: number): number => a - b * Math.floor(a / b)

/** True if x is 1, 2, 4, 8, ..; false for zero and below. */
export const isPow2 = (x: number): boolean => x > 0 && (x & (x - 1)) === 0

/** The exponent of the greatest power of two at or below x; -1 if x is below 1. */
export const log2Floor = (x: number): number => (x < 1 ? -1 : 31 - Math.clz32(x))

/** The number of one bits in the 32-bit pattern of x. */
export const popcount = (x: number): number => {
  let v = x | 0
  v -= (v >>> 1) & 0x55555555
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333)
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** One step of `hash`: mixes x into the state h; 31 bits, so never negative. */
export const hash2 = (h: number, x: number): number => {
  let v = Math.imul(h ^ x, 0x7feb352d)
  v ^= v >>> 15
  v = Math.imul(v, 0x2c1b3c6d)
  v ^= v >>> 12
  return (Math.imul(v, 0x297a2d39) ^ (v >>> 16)) & 0x7fffffff
}

/** A deterministic 31-bit hash of integers: what a pattern uses in place of random numbers. */
export const hash = (...xs: number[]): number => xs.reduce(hash2, 0x9e3779b)

/** The least of the numbers, integers or floats; as Math.min, but never without a number. */
export const min = (a: number, ...rest: readonly number[]): number => Math.min(a, ...rest)

/** The greatest of the numbers, integers or floats; as Math.max, but never without a number. */
export const max = (a: number, ...rest: readonly number[]): number => Math.max(a, ...rest)

/** The distance of x from zero. */
export const abs = (x: number): number => Math.abs(x)

/** x kept within [lo, hi]: `min(max(x, lo), hi)`, so that hi wins where lo lies above it. */
export const clamp = (x: number, lo: number, hi: number): number => Math.min(Math.max(x, lo), hi)

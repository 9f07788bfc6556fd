/** Arithmetic of single vectors: a vector in, its inner product, rotation or low-precision image out. */

import { describe, patternError } from '../messages.ts'

export function dotProduct(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

export interface RopeOptions {
  readonly base?: number
  readonly pairs?: 'halves' | 'neighbours'
  readonly width?: number
}

export function rotated(x: Float64Array, position: number, options: RopeOptions): Float64Array {
  const { base = 10_000, pairs = 'halves', width = x.length } = options
  const good = base > 0 && width >= 0 && width <= x.length && width % 2 === 0 && Number.isFinite(position)
  if (!good) throw patternError('bad-rope', { width, channels: x.length, base, position: describe(position) })
  const out = Float64Array.from(x)
  for (let i = 0; i < width / 2; i++) {
    const [a, b] = pairs === 'halves' ? [i, i + width / 2] : [2 * i, 2 * i + 1]
    const angle = position * base ** ((-2 * i) / width)
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
    out[a] = x[a]! * cos - x[b]! * sin
    out[b] = x[b]! * cos + x[a]! * sin
  }
  return out
}

export type Quantized = 'int8' | 'int4' | 'fp8' | 'sign'
const MOST: Readonly<Record<Quantized, number>> = { int8: 127, int4: 7, fp8: 448, sign: 1 }

export function quantized(x: Float64Array, type: Quantized): Float64Array {
  if (!Object.hasOwn(MOST, type)) throw patternError('bad-quantization', { got: describe(type) })
  if (type === 'sign') return x.map((value) => (value > 0 ? 1 : -1))
  const scale = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / MOST[type]
  if (scale === 0) return x.map(() => 0)
  return x.map((value) => (type === 'fp8' ? roundFp8(value / scale) : roundEven(value / scale)) * scale)
}

/** The nearest whole number, the even one of two. */
export function roundEven(x: number): number {
  const down = Math.floor(x)
  const rest = x - down
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1
  return down % 2 === 0 ? down : down + 1
}

/**
 * The nearest number of type e4m3: three bits behind the leading one, exponents from -6, subnormals below.
 */
export function roundFp8(x: number): number {
  const magnitude = Math.abs(x)
  if (magnitude === 0) return 0
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -6)
  const step = 2 ** (exponent - 3)
  return Math.sign(x) * Math.min(roundEven(magnitude / step) * step, 448)
}

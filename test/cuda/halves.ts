/** Halves in plain arithmetic: a float in, the nearest half's bits out, and back. Slow, and of no kernel's making. */

export type HalfType = 'bf16' | 'f16'

/** Bits of the exponent's field and of the fraction's. */
const FORMS = { bf16: { exponent: 8, fraction: 7 }, f16: { exponent: 5, fraction: 10 } } as const

export function halfOfBits(type: HalfType, bits: number): number {
  const { exponent, fraction } = FORMS[type]
  const bias = 2 ** (exponent - 1) - 1
  const e = (bits >> fraction) & (2 ** exponent - 1)
  const f = bits & (2 ** fraction - 1)
  const sign = bits & 0x8000 ? -1 : 1
  if (e === 2 ** exponent - 1) return f === 0 ? sign * Infinity : Number.NaN
  return e === 0 ? sign * f * 2 ** (1 - bias - fraction) : sign * (1 + f / 2 ** fraction) * 2 ** (e - bias)
}

/** To nearest, ties to even; NaN is 0x7fff. */
export function bitsOfHalf(type: HalfType, x: number): number {
  const { exponent, fraction } = FORMS[type]
  const bias = 2 ** (exponent - 1) - 1
  if (Number.isNaN(x)) return 0x7fff
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
  const size = Math.abs(x)
  const infinite = (2 ** exponent - 1) << fraction
  if (size === Infinity) return sign | infinite
  // Halves of one exponent are the multiples of a step.
  const e = Math.max(size === 0 ? -Infinity : Math.floor(Math.log2(size)), 1 - bias)
  const least = size < 2 ** e ? Math.max(e - 1, 1 - bias) : size >= 2 ** (e + 1) ? e + 1 : e
  const step = 2 ** (least - fraction)
  const steps = size / step
  let whole = Math.floor(steps)
  if (steps - whole > 0.5 || (steps - whole === 0.5 && whole % 2 === 1)) whole++
  // A whole step into the next exponent is what adding does to the bits.
  const bits = ((least - 1 + bias) << fraction) + whole
  return sign | Math.min(bits, infinite)
}

/** Half floats: every one comes back from its value, and what lies between two goes to the nearest, as a library has it. */

import { setFloat16 } from '@petamoriken/float16'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHalf, HALF_MAX, toHalf } from '../../runtime/half.ts'

const bytes = new DataView(new ArrayBuffer(2))
function nearest(value: number): number {
  setFloat16(bytes, 0, Math.min(HALF_MAX, Math.max(-HALF_MAX, value)))
  return bytes.getUint16(0)
}
const finite = Array.from({ length: 0x7c00 }, (_, bits) => bits).flatMap((bits) => [bits, bits | 0x8000])

describe('toHalf', () => {
  it('gives each half float its own bits', () => {
    expect(finite.filter((bits) => toHalf(fromHalf(bits)) !== bits)).toEqual([])
  })

  it('rounds halfway to even, and what is a little off to its side', () => {
    const wrong = finite
      .filter((bits) => (bits & 0x7fff) < 0x7bff)
      .flatMap((bits) => {
        const middle = (fromHalf(bits) + fromHalf(bits + 1)) / 2
        return [middle, middle * (1 + 2 ** -40), middle * (1 - 2 ** -40)]
      })
      .filter((x) => toHalf(x) !== nearest(x))
    expect(wrong).toEqual([])
  })

  it('clamps what is too large, and keeps signs and what is no number', () => {
    expect([1e9, Infinity, -Infinity, 65519.9, -0, NaN].map(toHalf)).toEqual([
      0x7bff, 0x7bff, 0xfbff, 0x7bff, 0x8000, 0x7e00,
    ])
  })

  it('agrees with the library', () => {
    fc.assert(
      fc.property(
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer({ min: -30, max: 17 }),
        (x, e) => {
          for (const value of [x, (x % 2) * 2 ** e]) expect(toHalf(value)).toBe(nearest(value))
        },
      ),
      { numRuns: 3000 },
    )
  })
})

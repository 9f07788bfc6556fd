/**
 * The helpers of the language against plain arithmetic, over small numbers of both signs and the ends of
 * int32.
 */

import { describe, expect, it } from 'vitest'
import { abs, clamp, floorDiv, hash, isPow2, log2Floor, max, min, mod, popcount } from '../../dsl/index.ts'

const small = Array.from({ length: 81 }, (_, i) => i - 40)

describe('integer helpers', () => {
  it('floorDiv and mod round down: a = b * floorDiv(a, b) + mod(a, b) with 0 <= mod < b', () => {
    for (const a of [...small, 2 ** 31 - 1, -(2 ** 31)]) {
      for (const b of [1, 2, 3, 7, 64, 2 ** 31 - 1]) {
        expect(b * floorDiv(a, b) + mod(a, b)).toBe(a)
        expect(mod(a, b) >= 0 && mod(a, b) < b).toBe(true)
        expect(Object.is(floorDiv(a, b), -0) || Object.is(mod(a, b), -0)).toBe(false)
      }
    }
  })

  it('isPow2 and log2Floor know the powers of two', () => {
    const powers = Array.from({ length: 31 }, (_, i) => 2 ** i)
    for (const [i, p] of powers.entries()) {
      expect([isPow2(p), log2Floor(p), log2Floor(2 * p - 1)]).toEqual([true, i, i])
      expect(isPow2(p - 1)).toBe(p === 2)
    }
    for (const x of small.filter((s) => s <= 0)) expect([isPow2(x), log2Floor(x)]).toEqual([false, -1])
  })

  it('popcount counts the bits of the 32-bit pattern', () => {
    for (const x of [...small, 2 ** 31 - 1, -(2 ** 31)]) {
      expect(popcount(x)).toBe([...(x >>> 0).toString(2)].filter((bit) => bit === '1').length)
    }
  })

  it('hash is fixed for all time, 31 bits, and differs by each argument and their order', () => {
    expect([hash(0), hash(1), hash(1, 2), hash(2, 1), hash(0, 0)]).toEqual([
      821292611, 1688823397, 1868803558, 333963889, 461284243,
    ])
    const values = small.flatMap((x) => small.map((y) => hash(x, y)))
    for (const v of values) expect(Number.isInteger(v) && v >= 0 && v < 2 ** 31).toBe(true)
    expect(new Set(values).size).toBe(values.length)
  })
})

describe('min, max, abs, clamp', () => {
  it('are those of Math', () => {
    for (const a of small) {
      for (const b of [-3, 0, 2.5])
        expect([min(a, b), max(a, b), abs(a)]).toEqual([Math.min(a, b), Math.max(a, b), Math.abs(a)])
    }
    expect([min(3, 1, 2), max(3, 1, 4)]).toEqual([1, 4])
  })

  it('clamp keeps within both ends, and the upper end wins where they cross', () => {
    expect([clamp(-5, 0, 9), clamp(5, 0, 9), clamp(50, 0, 9), clamp(5, 9, 3)]).toEqual([0, 5, 9, 3])
  })
})

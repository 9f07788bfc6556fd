/** Brain floats: every bit pattern and back, ties to even, numbers beyond the greatest. */

import { expect, test } from 'vitest'
import { bfloatArray, fromBfloat, roundBfloat, toBfloat } from '../../runtime/bfloat.ts'

test('every bit pattern is what it was after decoding and encoding', () => {
  for (let bits = 0; bits < 1 << 16; bits++) {
    const value = fromBfloat(bits)
    if (Number.isNaN(value)) expect(fromBfloat(toBfloat(value))).toBeNaN()
    else if (toBfloat(value) !== bits) expect([bits, toBfloat(value)]).toEqual([bits, bits])
  }
})

test('a number goes to the nearest one, a tie to the even one', () => {
  for (const [low, high] of [
    [0x3f80, 0x3f81],
    [0x3f81, 0x3f82],
    [0x0000, 0x0001],
    [0xc2f7, 0xc2f8],
  ] as const) {
    const [a, b] = [fromBfloat(low), fromBfloat(high)]
    const middle = (a + b) / 2
    expect(toBfloat(middle)).toBe(low % 2 === 0 ? low : high)
    // Nearer by less than an f32 can hold.
    const little = Math.abs(b - a) * 2 ** -40 * Math.sign(b - a)
    expect(toBfloat(middle + little)).toBe(high)
    expect(toBfloat(middle - little)).toBe(low)
  }
})

test('what is beyond the greatest is an infinity, NaN stays NaN', () => {
  expect(roundBfloat(3.39e38)).toBe(fromBfloat(0x7f7f))
  expect(roundBfloat(3.4e38)).toBe(Infinity)
  expect(roundBfloat(-1e300)).toBe(-Infinity)
  expect(roundBfloat(-Infinity)).toBe(-Infinity)
  expect([...bfloatArray([1, -2, Number.NaN])]).toEqual([0x3f80, 0xc000, 0x7fc0])
})

/** Draws: in range, repeatable from their tape, shrunk to the simplest value that still fails. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { arbitrary } from '../../../runtime/testing/arbitraries.ts'
import { Draw, drawSeeded, seededRandom, shrink, simplerThan } from '../../../runtime/testing/draw.ts'

describe('Draw', () => {
  test('int reaches every value of its range, the nearest to 0 by the simplest choice', () => {
    for (const [lo, hi] of [
      [0, 5],
      [-3, 9],
      [-9, 3],
      [4, 8],
      [-8, -4],
      [7, 7],
    ] as const) {
      const values = Array.from({ length: hi - lo + 1 }, (_, c) => Draw.fromTape([c]).int(lo, hi))
      expect(values.toSorted((a, b) => a - b)).toEqual(Array.from({ length: hi - lo + 1 }, (_, i) => lo + i))
      expect(values[0]).toBe(Math.min(Math.max(0, lo), hi))
    }
  })

  test('smallInt and float stay inside their bounds', () => {
    for (let seed = 0; seed < 2000; seed++) {
      const d = Draw.fromSeed(seed)
      const n = d.smallInt(-(2 ** 30), 2 ** 30)
      expect(Math.abs(n)).toBeLessThanOrEqual(2 ** 30)
      const x = d.float(-1.5, 2.25)
      expect(x).toBeGreaterThanOrEqual(-1.5)
      expect(x).toBeLessThanOrEqual(2.25)
      expect(Math.fround(x)).toBe(x)
    }
  })

  test('a seed gives the same numbers everywhere', () => {
    const random = seededRandom(1)
    expect([random(), random(), random()]).toEqual([
      0.3678755429573357, 0.08161311969161034, 0.8205357783008367,
    ])
  })

  test('a tape gives its value again', () => {
    const generate = (d: Draw) => d.list(d.int(0, 8), () => d.smallInt(-1000, 1000))
    for (let seed = 0; seed < 200; seed++) {
      const { value, tape } = drawSeeded(generate, seed)
      expect(generate(Draw.fromTape(tape))).toEqual(value)
    }
  })
})

describe('shrinking', () => {
  const lists = (d: Draw) => d.list(d.int(0, 12), () => d.int(0, 100))
  const fails = (list: readonly number[]) => list.some((x) => x >= 17)

  test('finds the simplest failing value', async () => {
    const found = Array.from({ length: 100 }, (_, seed) => drawSeeded(lists, seed)).find(({ value }) =>
      fails(value),
    )!
    const best = await shrink(lists, found, async (value) => fails(value), 1000)
    expect(best.value).toEqual([17])
  })

  test('stops after the attempts it is given', async () => {
    let asked = 0
    const found = drawSeeded(lists, 3)
    await shrink(lists, found, async () => (asked++, true), 7)
    expect(asked).toBeLessThanOrEqual(7)
  })

  test('offers no value twice', () => {
    const { tape } = drawSeeded(lists, 5)
    const tapes = [...simplerThan(lists, tape)].map((drawn) => drawn.tape.join())
    expect(new Set(tapes).size).toBe(tapes.length)
    expect(tapes).not.toContain(tape.join())
  })

  test('fast-check shrinks an arbitrary of this kit', () => {
    const run = fc.check(
      fc.property(arbitrary(fc, lists), (list) => !fails(list)),
      { numRuns: 200, seed: 1 },
    )
    expect(run.failed).toBe(true)
    expect(run.counterexample).toEqual([[17]])
  })
})

/** checkPattern of patterns with a `forward`: right kernels pass, a kernel of another program is found, and calls are as the words say. */

import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { dsa, minferenceVerticalSlash, moba, nsa, quest } from '../../../patterns/index.ts'
import { drawProgramCase, MOST_TOKENS } from '../../../runtime/testing/program-cases.ts'
import { drawSeeded } from '../../../runtime/testing/draw.ts'
import { checkPattern, examinePattern, tensorsOf } from '../../../runtime/testing/index.ts'
import { cudaRunner } from '../../../runtime/testing/cuda.ts'
import { FakeDriver } from '../../cuda/handmade.ts'
import { openTestDevice } from '../../helpers.ts'

const opened = await openTestDevice()
afterAll(() => opened?.close())
const VARIANT = { headDim: 16, valueDim: 16, dtype: 'f32', tile: { q: 32, kv: 32 } } as const
const small = <P extends { readonly consts: object }>(pattern: P, consts: Record<string, number>): P => ({
  ...pattern,
  consts: { ...pattern.consts, ...consts },
})

describe.skipIf(!opened)('a program of the library', () => {
  const adapter = opened!
  test.each([
    ['lists of each query', moba, { block: 8 }],
    ['lists of a group', quest, { page: 4 }],
    ['keys and distances', minferenceVerticalSlash, { block: 8, last: 8, firstKeys: 2, nearest: 4 }],
    ['vectors of an indexer', dsa, {}],
    ['maps and gates', nsa, { size: 8, step: 4, block: 8 }],
  ] as const)('passes: %s', { timeout: 120_000 }, async (_, pattern, consts) => {
    const result = await checkPattern(pattern, { consts, runs: 6, seed: 24, adapter, dtype: 'f32' })
    expect(result).toMatchObject({ runs: 6, failures: 0 })
    expect(result.maxErrorRatio).toBeGreaterThan(0)
    expect(result.undecidedRows).toBeLessThan(20)
  })

  test('differs from the kernel of another one', { timeout: 120_000 }, async () => {
    const file = 'patterns/moba.ts'
    const text = readFileSync(file, 'utf8').replace("'mean'", "'min'")
    const options = { file, text, consts: { block: 8 }, adapter, dtype: 'f32' } as const
    const result = await examinePattern(moba, { ...options, runs: 8, seed: 24 })
    expect(result.failures).toBeGreaterThan(2)
    const { seed, text: told } = result.counterExample!
    expect(told).toMatch(/the oracle gives/)
    const again = await examinePattern(moba, { ...options, runs: 1, seed })
    expect(again.counterExample!.text).toBe(told)
  })
})

test('a device whose kernels write nothing is found out', async () => {
  const runner = cudaRunner(new FakeDriver())
  const { target, failures, counterExample } = await examinePattern(moba, {
    runner,
    consts: { block: 8 },
    runs: 2,
    seed: 3,
  })
  expect([target, failures]).toEqual(['cuda', 2])
  expect(counterExample!.text).toMatch(/the oracle gives/)
})

describe('a drawn call', () => {
  const drawn = (pattern: Parameters<typeof drawProgramCase>[1], n = 400) =>
    Array.from(
      { length: n },
      (_, seed) => drawSeeded((d) => drawProgramCase(d, pattern, VARIANT), seed).value,
    )

  test('has no more queries than keys, some steps of one, and some prompts of several blocks', () => {
    const calls = drawn(small(moba, { block: 32 }))
    expect(calls.every((c) => c.qRows >= 1 && c.qRows <= c.kvRows && c.lengths === undefined)).toBe(true)
    expect(calls.filter((c) => c.qRows === 1 && c.kvRows > 64).length).toBeGreaterThan(40)
    expect(calls.filter((c) => c.qRows === c.kvRows && c.kvRows > 64).length).toBeGreaterThan(20)
    expect(calls.filter((c) => c.kvRows % 32 === 0 && c.kvRows > 32).length).toBeGreaterThan(20)
    expect(Math.max(...calls.map((c) => c.kvRows))).toBeGreaterThan(150)
  })

  test('is never longer than is said, whatever the consts', () => {
    for (const block of [1, 128, 500, 100_000])
      expect(Math.max(...drawn(small(moba, { block }), 200).map((c) => c.kvRows))).toBeLessThanOrEqual(
        MOST_TOKENS,
      )
  })

  test('has the rows that are declared, and as many index heads as tables have', () => {
    for (const c of drawn(dsa, 50)) {
      const { qIndex, kIndex } = c.rows!
      const [, heads, , channels] = qIndex!
      expect(qIndex).toEqual([c.batch, heads, c.qRows, channels])
      expect(kIndex).toEqual([c.batch, 1, c.kvRows, channels])
      expect(c.tables['weight']!.length).toBe(c.batch * c.qRows * heads)
      expect(Object.keys(tensorsOf(c).rows)).toEqual(['qIndex', 'kIndex'])
    }
  })

  test('has maps that leave vectors about as large as they are', () => {
    const sizes = drawn(nsa, 20).map(({ tables }) => Math.max(...tables['wk']!.map(Math.abs)))
    // 32 members of 16 channels each go into one.
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2 / Math.sqrt(32 * 16) + 1e-6)
  })
})

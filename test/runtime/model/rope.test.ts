/** Frequencies of the rotary embedding: against transformers' own functions run in f64, and against each kind's formula. */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ropeFrequencies, type Rope } from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import { refusal, tinyConfig } from './tiny.ts'

interface Case {
  readonly name: string
  readonly rope: Json
  readonly headDim: number
  readonly maxPositions: number
  readonly length: number
  readonly inverse: readonly number[]
  readonly attentionFactor: number
}

/** transformers 5.17, modeling_rope_utils.py, with arrays of f64 in the place of tensors. */
const cases = JSON.parse(
  readFileSync(new URL('../../fixtures/rope-frequencies.json', import.meta.url), 'utf8'),
) as Case[]

function expectClose(got: Float64Array, expected: readonly number[]): void {
  expect(got.length).toBe(expected.length)
  for (const [i, value] of expected.entries()) {
    expect(Math.abs(got[i]! / value - 1), `component ${i}`).toBeLessThan(1e-13)
  }
}

/** The same rope in the words of transformers 4: the base beside the scaling, whose kind is its `type`. */
function inOldWords({ rope_theta: theta, rope_type: type, ...rest }: Json): Json {
  return { rope_theta: theta, rope_scaling: type === 'default' ? null : { type, ...rest } }
}

describe.each(cases)('$name', ({ rope, headDim, maxPositions, length, inverse, attentionFactor }) => {
  test.each([
    ['rope_parameters', { rope_parameters: rope }],
    ['rope_theta and rope_scaling', inOldWords(rope)],
  ])('from %s', (_, fields) => {
    const config = tinyConfig({ head_dim: headDim, max_position_embeddings: maxPositions, ...fields })
    const got = ropeFrequencies(config, length)
    expectClose(got.inverse, inverse)
    expect(got.attentionFactor).toBeCloseTo(attentionFactor, 14)
  })
})

describe('formulas', () => {
  const frequencies = (rope: Rope, headDim: number, length = 1) => ropeFrequencies({ rope, headDim }, length)
  const pair = (theta: number, i: number, dim: number) => Math.exp((-2 * i * Math.log(theta)) / dim)

  test('default: a geometric row from 1 to just above 1 / theta', () => {
    const { inverse } = frequencies({ kind: 'default', theta: 10_000 }, 8)
    expectClose(inverse, [1, 0.1, 0.01, 0.001])
  })

  test('linear: positions shrink by the factor', () => {
    expectClose(
      frequencies({ kind: 'linear', theta: 10_000, factor: 4 }, 8).inverse,
      [0.25, 0.025, 0.0025, 0.00025],
    )
  })

  test('dynamic: plain up to the trained length; from there the slowest component turns as far as it did', () => {
    const rope: Rope = { kind: 'dynamic', theta: 10_000, factor: 2, originalPositions: 100 }
    expectClose(frequencies(rope, 8, 100).inverse, [1, 0.1, 0.01, 0.001])
    // Twice the length with factor 2: the base grows by 3^(8/6), the slowest component slows down by 3.
    const { inverse } = frequencies(rope, 8, 200)
    expect(inverse[3]! / 0.001).toBeCloseTo(1 / 3, 12)
    expect(inverse[0]).toBe(1)
  })

  test('llama3: short wavelengths stay, long ones stretch by the factor, between them a straight line in turns', () => {
    const rope: Rope = {
      kind: 'llama3',
      theta: 500_000,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalPositions: 8192,
    }
    const { inverse } = frequencies(rope, 128)
    const expected = Array.from({ length: 64 }, (_, i) => {
      const f = pair(500_000, i, 128)
      const wavelength = (2 * Math.PI) / f
      if (wavelength < 8192 / 4) return f
      if (wavelength > 8192 / 1) return f / 8
      const smooth = (8192 / wavelength - 1) / (4 - 1)
      return ((1 - smooth) * f) / 8 + smooth * f
    })
    expectClose(inverse, expected)
    expect(
      new Set(expected.map((f, i) => Math.round((pair(500_000, i, 128) / f) * 10))).size,
    ).toBeGreaterThan(4)
  })

  test('yarn: components that turn more than betaFast times stay, fewer than betaSlow stretch', () => {
    const rope: Rope = {
      kind: 'yarn',
      theta: 10_000,
      factor: 4,
      originalPositions: 4096,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
      attentionFactor: 1.25,
    }
    const { inverse, attentionFactor } = frequencies(rope, 64)
    expect(attentionFactor).toBe(1.25)
    const turns = (i: number) => (4096 * pair(10_000, i, 64)) / (2 * Math.PI)
    const from = Array.from({ length: 32 }, (_, i) => i).findLast((i) => turns(i) >= 32)!
    const to = Array.from({ length: 32 }, (_, i) => i).find((i) => turns(i) <= 1)!
    const expected = Array.from({ length: 32 }, (_, i) => {
      const f = pair(10_000, i, 64)
      const stretch = i <= from ? 0 : i >= to ? 1 : (i - from) / (to - from)
      return (stretch * f) / 4 + (1 - stretch) * f
    })
    expectClose(inverse, expected)
    expect(to - from).toBeGreaterThan(3)
  })

  test('divisors: each frequency by its own', () => {
    const rope: Rope = { kind: 'divisors', theta: 10_000, divisors: [1, 2, 4, 8] }
    expectClose(frequencies(rope, 8).inverse, [1, 0.05, 0.0025, 0.000125])
  })

  test('only dynamic depends on the length', () => {
    for (const { rope, headDim, maxPositions } of cases.filter((c) => c.rope['rope_type'] !== 'dynamic')) {
      const config = tinyConfig({
        head_dim: headDim,
        max_position_embeddings: maxPositions,
        rope_parameters: rope,
      })
      expect(ropeFrequencies(config, 1)).toEqual(ropeFrequencies(config, 1e6))
    }
  })
})

describe('refusals', () => {
  test.each<[string, Json, string]>([
    [
      'a kind of other architectures',
      { rope_scaling: { rope_type: 'longrope' } },
      'error[unknown-rope]: config.json: expected a rope type among default, linear, dynamic, llama3, yarn, got "longrope"',
    ],
    [
      'a kind that only GGUF has',
      { rope_parameters: { rope_type: 'divisors' } },
      'error[unknown-rope]: config.json: expected a rope type among default, linear, dynamic, llama3, yarn, got "divisors"',
    ],
    [
      'no factor',
      { rope_scaling: { rope_type: 'linear' } },
      'error[model-field]: config.json: expected rope_scaling.factor to be a number from 0.000001 to 1000000000000, got null',
    ],
    [
      'a base of one',
      { rope_theta: 1 },
      'error[model-field]: config.json: expected rope_theta to be a number from 2 to 1000000000000, got 1',
    ],
    [
      'scaling that is a word',
      { rope_scaling: 'yarn' },
      'error[model-field]: config.json: expected rope_scaling to be a record, got "yarn"',
    ],
    [
      'a part of the components',
      { partial_rotary_factor: 0.5 },
      'error[model-field]: config.json: expected partial_rotary_factor to be 1, got 0.5',
    ],
    [
      'bands that are upside down',
      { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
      'error[model-field]: config.json: expected rope_scaling.high_freq_factor to be more than low_freq_factor, got 4',
    ],
  ])('%s', async (_, change, text) => {
    expect(await refusal(() => tinyConfig(change))).toBe(text)
  })
})

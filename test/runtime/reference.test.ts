/** The oracle against attention worked out by hand, and the laws that every result of it keeps. */

import { describe, expect, test } from 'vitest'
import { halfArray } from '../../runtime/half.ts'
import { mergeHalves, plain32, reference, type ReferencePattern } from '../../runtime/reference.ts'
import type { Shape, Tensor } from '../../runtime/tensor.ts'
import { handmadePattern, randomValues } from './handmade.ts'

interface At {
  readonly head: number
  readonly kvHead: number
  readonly q: number
  readonly kv: number
  readonly qLen: number
  readonly kvLen: number
}
const pattern = (fields: Partial<ReferencePattern> & { mask: (ix: At) => boolean }): ReferencePattern => ({
  consts: {},
  params: {},
  tables: {},
  score: null,
  sinkLogit: null,
  ...fields,
})
const causal = pattern({ mask: ({ q, kv }) => kv <= q })
const everything = pattern({ mask: () => true })
const tensor = (data: readonly number[] | Float32Array, shape: Shape): Tensor => ({
  data: Float32Array.from(data),
  shape,
})
const random = (shape: Shape, seed: number) =>
  tensor(
    randomValues(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    shape,
  )

describe('by hand', () => {
  const q = tensor([1, 2], [1, 1, 2, 1])
  const k = tensor([0, Math.log(3)], [1, 1, 2, 1])
  const v = tensor([10, 20], [1, 1, 2, 1])

  test('causal softmax, natural-log LSE', () => {
    const { out, lse, kept } = reference(causal, { q, k, v })
    const ln3 = Math.fround(Math.log(3))
    expect(out[0]).toBe(10)
    expect(lse[0]).toBe(0)
    const w = Math.exp(2 * ln3)
    expect(out[1]).toBeCloseTo((10 + 20 * w) / (1 + w), 12)
    expect(lse[1]).toBeCloseTo(Math.log(1 + w), 12)
    expect(kept).toBe(3)
  })

  test('scale, score in natural units, a sink logit that score does not see', () => {
    const sinking = pattern({ mask: ({ kv }) => kv === 1, score: (s: number) => s + 1, sinkLogit: () => 0.5 })
    const { out, lse } = reference(sinking, { q, k, v, scale: 0.25 })
    const s = 0.25 * Math.fround(Math.log(3)) + 1
    expect(out[0]).toBeCloseTo((20 * Math.exp(s)) / (Math.exp(s) + Math.exp(0.5)), 12)
    expect(lse[0]).toBeCloseTo(Math.log(Math.exp(s) + Math.exp(0.5)), 12)
  })

  test('empty rows: output 0, and LSE -Infinity or the sink logit', () => {
    const none = reference(pattern({ mask: () => false }), { q, k, v })
    expect([...none.out, ...none.lse]).toEqual([0, 0, -Infinity, -Infinity])
    const sink = reference(pattern({ mask: () => false, sinkLogit: () => -2 }), { q, k, v })
    expect([...sink.out, ...sink.lse]).toEqual([0, 0, -2, -2])
    const noKeys = reference(everything, { q, k: tensor([], [1, 1, 0, 1]), v: tensor([], [1, 1, 0, 1]) })
    expect([...noKeys.out, ...noKeys.lse]).toEqual([0, 0, -Infinity, -Infinity])
  })
})

describe('the index record', () => {
  test('positions, heads and lengths are those of the batch entry', () => {
    const seen: At[] = []
    const watching = pattern({ mask: (ix) => (seen.push({ ...ix }), true) })
    const [q, k] = [random([2, 4, 3, 2], 1), random([2, 2, 5, 2], 2)]
    const lengths = [
      { qRow: 1, qLen: 2, qStart: 7, kvStart: 3, kvLen: 2 },
      { qLen: 1, kvLen: 4 },
    ]
    const { out, lse, kept } = reference(watching, { q, k, v: k, lengths })
    const inFirst = seen.filter((ix) => ix.kvLen === 2)
    expect([...new Set(inFirst.map((ix) => `${ix.q},${ix.kv}`))]).toEqual(['7,0', '7,1', '8,0', '8,1'])
    const inSecond = seen.filter((ix) => ix.kvLen === 4)
    expect([...new Set(inSecond.map((ix) => `${ix.q},${ix.kv},${ix.qLen}`))]).toEqual([
      '3,0,1',
      '3,1,1',
      '3,2,1',
      '3,3,1',
    ])
    expect([...new Set(seen.map((ix) => `${ix.head}>${ix.kvHead}`))]).toEqual(['0>0', '1>0', '2>1', '3>1'])
    expect(kept).toBe(4 * (4 + 4))
    // Rows that are no tokens.
    expect(lse[0]).toBe(-Infinity)
    expect([...out.subarray(0, 2)]).toEqual([0, 0])
  })

  test('params are rounded to f32, tables are 0 out of range, consts name dims', () => {
    const seen: number[] = []
    const reading: ReferencePattern = pattern({
      consts: { two: 2 },
      params: { x: { type: 'f32', default: 0.1, min: 0, max: 1, perHead: false } },
      tables: { t: { type: 'i32', dims: ['two', 'kvLen'], min: 0, max: 9, monotone: false } },
      mask: (ix) => {
        const { kv, x, two, t } = ix as unknown as {
          kv: number
          x: number
          two: number
          t: { at(...i: number[]): number }
        }
        seen.push(x, two, t.at(1, kv), t.at(2, kv), t.at(0, -1))
        return true
      },
    })
    const [q, k] = [random([1, 1, 1, 2], 1), random([1, 1, 1, 2], 2)]
    reference(reading, { q, k, v: k, tables: { t: Int32Array.of(3, 4) } })
    expect(seen).toEqual([Math.fround(0.1), 2, 4, 0, 0])
    expect(() => reference(reading, { q, k, v: k, tables: { t: Int32Array.of(3) } })).toThrow(
      'expected [2, kvLen] = [2, 1], 2 values, got 1',
    )
  })

  test('keeps() tells pairs by rows of the tensors', () => {
    const q = random([1, 1, 3, 2], 1)
    const k = random([1, 1, 4, 2], 2)
    const { keeps, kept } = reference(causal, { q, k, v: k, lengths: [{ qRow: 1, kvStart: 1 }] })
    const pairs = [0, 1, 2].flatMap((row) =>
      [0, 1, 2, 3].filter((kv) => keeps(0, 0, row, kv)).map((kv) => `${row}${kv}`),
    )
    expect(pairs).toEqual(['11', '12', '21', '22', '23'])
    expect(kept).toBe(5)
  })
})

test('scale must be a number', () => {
  const q = random([1, 1, 1, 2], 1)
  expect(() => reference(causal, { q, k: q, v: q, scale: Infinity })).toThrow(
    'scale: expected a finite number, got Infinity',
  )
})

describe('plain attention in f32', () => {
  const call = {
    q: random([1, 2, 20, 16], 1),
    k: random([1, 1, 30, 16], 2),
    v: random([1, 1, 30, 16], 3),
    params: { window: 9 },
    tables: { docStart: new Int32Array(30) },
  }
  const [exact, plain] = [reference(handmadePattern, call), plain32(handmadePattern, call)]
  const error = (a: Float64Array, b: Float64Array) =>
    a.reduce((m, x, i) => Math.max(m, x === b[i] ? 0 : Math.abs(x - b[i]!)), 0)

  test('has every value in f32 and a small error, but an error', () => {
    expect([...plain.out, ...plain.lse].every((x) => Math.fround(x) === x)).toBe(true)
    expect(error(plain.out, exact.out)).toBeGreaterThan(0)
    expect(error(plain.out, exact.out)).toBeLessThan(1e-6)
    expect(plain.kept).toBe(exact.kept)
    expect(exact.logitMax).toBeGreaterThan(0)
    expect(exact.valueMax).toBeLessThanOrEqual(1)
  })

  test('of halves has its output in halves', () => {
    const half = (t: Tensor): Tensor => ({ ...t, data: halfArray(t.data as Float32Array) })
    const halves = { ...call, q: half(call.q), k: half(call.k), v: half(call.v) }
    const rounded = error(plain32(handmadePattern, halves).out, reference(handmadePattern, halves).out)
    expect(rounded).toBeGreaterThan(1e-6)
    expect(rounded).toBeLessThan(2 ** -11)
  })
})

test('two halves merged are the whole; the sink logit is in one of them', () => {
  const [q, k, v] = [random([1, 2, 12, 8], 1), random([1, 1, 12, 8], 2), random([1, 1, 12, 8], 3)]
  const sinkLogit = () => 0.3
  const whole = reference({ ...causal, sinkLogit }, { q, k, v })
  const even = pattern({ mask: ({ q: row, kv }) => kv <= row && kv % 2 === 0, sinkLogit })
  const odd = pattern({ mask: ({ q: row, kv }) => kv <= row && kv % 2 === 1 })
  const merged = mergeHalves(reference(even, { q, k, v }), reference(odd, { q, k, v }))
  merged.out.forEach((x, i) => expect(x).toBeCloseTo(whole.out[i]!, 12))
  merged.lse.forEach((x, i) => expect(x).toBeCloseTo(whole.lse[i]!, 12))
  const none = reference(pattern({ mask: () => false }), { q, k, v })
  expect(mergeHalves(none, none)).toEqual({ out: none.out, lse: none.lse })
})

/** The comparison with the oracle: what is right passes, and everything that kernels get wrong does not. */

import { describe, expect, test } from 'vitest'
import { pattern } from '../../../dsl/index.ts'
import { halfArray } from '../../../runtime/half.ts'
import { plain32, reference } from '../../../runtime/reference.ts'
import { compareWithOracle, randomTensor, type Comparison } from '../../../runtime/testing/index.ts'

const above = pattern({ name: 'above', mask: ({ q, kv }) => kv < q })
const call = {
  q: randomTensor([1, 2, 6, 8], 'f32', 1),
  k: randomTensor([1, 1, 6, 8], 'f32', 2),
  v: randomTensor([1, 1, 6, 4], 'f32', 3),
}
const SHAPE = [1, 2, 6, 4] as const

function compareChanged(change: (out: Float32Array, lse: Float32Array) => void): Comparison {
  const { out, lse } = plain32(above, call)
  const [o, l] = [Float32Array.from(out), Float32Array.from(lse)]
  change(o, l)
  return compareWithOracle(above, call, { out: { data: o, shape: SHAPE }, lse: { data: l } })
}

describe('compareWithOracle', () => {
  test('plain attention of the same precision passes', () => {
    const { ratio, difference } = compareChanged(() => {})
    expect(difference).toBeNull()
    expect(ratio).toBeGreaterThan(0)
    expect(ratio).toBeLessThan(1)
  })

  test.each<[string, (out: Float32Array, lse: Float32Array) => void, string]>([
    [
      'a wrong value',
      (out) => {
        out[4 * 9 + 2]! += 1e-5
      },
      'out at batch 0, head 1, row 3, value 2 is ',
    ],
    [
      'a wrong LSE',
      (_, lse) => {
        lse[7]! += 1e-5
      },
      'lse at batch 0, head 1, row 1 is ',
    ],
    [
      'a NaN',
      (out) => {
        out[5] = Number.NaN
      },
      'out at batch 0, head 0, row 1, value 1 is NaN',
    ],
    [
      'an infinite LSE of a row that attends',
      (_, lse) => {
        lse[1] = -Infinity
      },
      'lse at batch 0, head 0, row 1 is -Infinity',
    ],
    [
      'a finite LSE of an empty row',
      (_, lse) => {
        lse[0] = -1e30
      },
      'lse at batch 0, head 0, row 0 is -1',
    ],
    [
      'an empty row that is not 0',
      (out) => {
        out[0] = 1e-20
      },
      'out at batch 0, head 0, row 0, value 0 is 9.99',
    ],
  ])('%s is told with its place', (_, change, says) => {
    const { ratio, difference } = compareChanged(change)
    expect(ratio).toBeGreaterThan(1)
    expect(difference?.startsWith(says), difference ?? 'passed').toBe(true)
  })

  test('a result of another size is a difference', () => {
    const { out } = reference(above, call)
    const short = { out: { data: Float32Array.from(out), shape: SHAPE }, lse: { data: new Float32Array(3) } }
    expect(compareWithOracle(above, call, short)).toEqual({
      ratio: Infinity,
      difference: 'the result has 48 and 3 values, not 48 and 12',
    })
  })

  test('f16 is judged by what f16 can hold', () => {
    const [q, k, v] = [call.q, call.k, call.v].map(({ data, shape }) => ({
      data: halfArray(data as Float32Array),
      shape,
    }))
    const half = { q: q!, k: k!, v: v! }
    const { out, lse } = plain32(above, half)
    const result = { out: { data: halfArray(out), shape: SHAPE }, lse: { data: Float32Array.from(lse) } }
    expect(compareWithOracle(above, half, result).difference).toBeNull()
    const off = Float64Array.from(out, (x, i) => (i === 9 ? x + 2 ** -8 : x))
    const wrong = { ...result, out: { data: halfArray(off), shape: SHAPE } }
    expect(compareWithOracle(above, half, wrong).difference).toContain(
      'out at batch 0, head 0, row 2, value 1',
    )
  })

  test("rows that attend an infinity are nobody's promise", () => {
    const k = { ...call.k, data: call.k.data.slice() }
    k.data[8 * 5] = Infinity
    const unmasked = pattern({ name: 'all', mask: () => true })
    const { out, lse } = plain32(unmasked, { ...call, k })
    const result = {
      out: { data: Float32Array.from(out, () => 7), shape: SHAPE },
      lse: { data: Float32Array.from(lse, () => 7) },
    }
    expect(compareWithOracle(unmasked, { ...call, k }, result).difference).toBeNull()
  })
})

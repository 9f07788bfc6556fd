/** How weights are stored on a device: which buffers, of which type, and every conversion from what a file holds. */

import { describe, expect, test } from 'vitest'
import { bfloatArray, fromBfloat } from '../../../runtime/bfloat.ts'
import { fromHalf, halfArray, roundHalf } from '../../../runtime/half.ts'
import { convert } from '../../../runtime/model/convert.ts'
import { placeWeights } from '../../../runtime/model/placement.ts'
import { randomModel } from './random-model.ts'

const VALUES = [0, -0, 1, -1.5, 0.1, 3.14159, -65504, 6e-8, 1e-9]
const bytes = (data: Float32Array | Uint16Array) => new Uint8Array(data.slice().buffer)
const numbers = (data: Float32Array | Uint16Array) =>
  Array.from(data, data instanceof Float32Array ? Number : fromHalf)

describe('stored numbers become', () => {
  test('the same in f32, and the nearest halves', () => {
    const stored = { F32: Float32Array.from(VALUES), F16: halfArray(VALUES), BF16: bfloatArray(VALUES) }
    const exact = {
      F32: Array.from(stored.F32),
      F16: Array.from(stored.F16, fromHalf),
      BF16: Array.from(stored.BF16, fromBfloat),
    }
    for (const dtype of ['F32', 'F16', 'BF16'] as const) {
      expect(numbers(convert(bytes(stored[dtype]), dtype, 'f32', 'w')), dtype).toEqual(exact[dtype])
      // The brain float nearest to the greatest half is beyond it.
      const fitting = dtype === 'BF16' ? 6 : VALUES.length
      const some = bytes(stored[dtype].slice(0, fitting))
      expect(numbers(convert(some, dtype, 'f16', 'w')), dtype).toEqual(
        exact[dtype].slice(0, fitting).map(roundHalf),
      )
    }
  })

  test('an error beyond the halves', () => {
    const big = { F32: Float32Array.of(1, 65_521), BF16: bfloatArray([1, 65_536]) }
    for (const dtype of ['F32', 'BF16'] as const) {
      expect(() => convert(bytes(big[dtype]), dtype, 'f16', 'model.norm.weight')).toThrow(
        expect.objectContaining({
          code: 'weight-range',
          args: expect.objectContaining({ tensor: 'model.norm.weight' }),
        }),
      )
    }
  })
})

describe('a placement', () => {
  test('keeps the types of matrices and has vectors in f32; quantized numbers take halves', async () => {
    const dtypes = async (dtype: 'F32' | 'BF16', shrink = 1) => {
      const { files } = await randomModel({}, dtype)
      const weights = files.weights.map((w) => ({
        ...w,
        tensor: { ...w.tensor, end: w.tensor.begin + (w.tensor.end - w.tensor.begin) / shrink },
      }))
      const { model, layers } = placeWeights(weights, 2, 'auto', 2 ** 30)
      return [model.get('embedding')!.dtype, model.get('norm')!.dtype, layers[1]!.get('gateUp')!.dtype]
    }
    expect(await dtypes('F32')).toEqual(['f32', 'f32', 'f32'])
    expect(await dtypes('BF16')).toEqual(['f16', 'f32', 'f16'])
    // Of eight bits an element, which stream as f32.
    expect(await dtypes('F32', 4)).toEqual(['f16', 'f32', 'f16'])
  })

  test('cuts tables of tokens by rows, and nothing else', async () => {
    const { files } = await randomModel({})
    const { model } = placeWeights(files.weights, 2, 'auto', 50_000)
    expect(model.get('embedding')!.parts).toEqual([{ first: 0, rows: 128, bytes: 32_768 }])
    const small = (limit: number) => () => placeWeights(files.weights, 2, 'f16', limit)
    // The gates and ups of a layer are 192 rows of 64 halves.
    expect(small(24_575)).toThrow(expect.objectContaining({ code: 'model-buffer' }))
    const cut = placeWeights(
      files.weights.filter((w) => w.layer === null),
      0,
      'f16',
      5000,
    ).model
    expect(cut.get('head')!.parts.map((p) => [p.first, p.rows])).toEqual([
      [0, 39],
      [39, 39],
      [78, 39],
      [117, 11],
    ])
  })
})

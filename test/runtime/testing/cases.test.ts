/** Random calls: valid for their pattern, small, and with the corners that kernels trip over. */

import { describe, expect, test } from 'vitest'
import { f32, i32, pattern, perHead, table } from '../../../dsl/index.ts'
import { fromBfloat } from '../../../runtime/bfloat.ts'
import { fromHalf } from '../../../runtime/half.ts'
import {
  describeCase,
  drawCase,
  randomTensor,
  tensorsOf,
  type AttentionCase,
} from '../../../runtime/testing/cases.ts'
import { drawSeeded } from '../../../runtime/testing/draw.ts'

const everything = pattern({
  name: 'everything',
  consts: { groups: 3 },
  params: {
    window: i32(1024, { min: 1 }),
    shift: perHead(i32(0, { min: -4, max: 4 })),
    share: f32(0.5, { min: 0, max: 1 }),
    tiny: f32(1e-3, { min: 1e-3, max: 2e-3 }),
  },
  tables: {
    ids: table('i32', ['batch', 'kvLen'], { min: 0, max: 3 }),
    starts: table('i32', ['kvLen'], { monotone: true }),
    bias: table('f32', ['head', 'groups', 2]),
    gate: table('f32', ['kvHead'], { min: 0.5, max: 0.75 }),
    rows: table('i32', ['qLen']),
  },
  mask: ({ q, kv, window }) => q - kv < window,
})

const variant = { headDim: 8, valueDim: 16, dtype: 'f32', tile: { q: 32, kv: 16 } } as const
const cases = Array.from(
  { length: 1500 },
  (_, seed) => drawSeeded((d) => drawCase(d, everything, variant), seed).value,
)

describe('drawCase', () => {
  test('keeps params and tables inside what the pattern declares', () => {
    for (const c of cases) {
      for (const [name, spec] of Object.entries(everything.params)) {
        const given = c.params[name]!
        if (Array.isArray(given)) expect([spec.perHead, given.length]).toEqual([true, c.qHeads])
        for (const value of [given].flat()) {
          expect(value).toBeGreaterThanOrEqual(spec.min)
          expect(value).toBeLessThanOrEqual(spec.max)
          if (spec.type === 'i32') expect(Number.isInteger(value)).toBe(true)
        }
      }
      expect(c.tables['ids']!.length).toBe(c.batch * c.kvRows)
      expect([...c.tables['ids']!].every((id) => id >= 0 && id <= 3)).toBe(true)
      expect(c.tables['starts']).toEqual(c.tables['starts']!.toSorted())
      expect(c.tables['bias']!.length).toBe(c.qHeads * 6)
      expect(c.tables['gate']!.length).toBe(c.kvHeads)
      expect([...c.tables['gate']!].every((x) => x >= 0.5 && x <= 0.75)).toBe(true)
      expect(c.tables['rows']!.length).toBe(c.qRows)
    }
  })

  test('keeps lengths inside the rows, and gives a start wherever there are more queries than keys', () => {
    for (const { lengths, qRows, kvRows, batch } of cases) {
      if (!lengths) {
        expect(qRows).toBeLessThanOrEqual(kvRows)
        continue
      }
      expect(lengths.length).toBe(batch)
      for (const { qRow, qLen, kvStart, kvLen, qStart } of lengths) {
        expect(qRow! + qLen!).toBeLessThanOrEqual(qRows)
        expect(kvStart! + kvLen!).toBeLessThanOrEqual(kvRows)
        expect(qStart).toBeTypeOf('number')
      }
    }
  })

  test('meets the corners', () => {
    const corners: Record<string, (c: AttentionCase) => boolean> = {
      'one key': (c) => c.kvRows === 1,
      'no key': (c) => c.kvRows === 0,
      'no query': (c) => c.qRows === 0,
      'a whole tile of keys': (c) => c.kvRows === 16,
      'one less': (c) => c.kvRows === 15,
      'one more': (c) => c.kvRows === 17,
      'one query, many keys': (c) => c.qRows === 1 && c.kvRows > 32,
      'more queries than keys': (c) => c.qRows > c.kvRows && c.kvRows > 1,
      'grouped heads': (c) => c.qHeads === 3 * c.kvHeads && c.kvHeads > 1,
      'one kv head for all': (c) => c.kvHeads === 1 && c.qHeads > 1,
      'two batch entries of different lengths': (c) => new Set(c.lengths?.map((l) => l.kvLen)).size === 2,
      'queries before the first key': (c) => c.lengths?.some((l) => l.qStart! < 0) ?? false,
      'the other layout': (c) => c.layout === 'blhd',
      'a scale': (c) => c.scale !== undefined,
      'the greatest param': (c) => c.params['window'] === 2 ** 30,
      'a param per head': (c) => Array.isArray(c.params['shift']),
    }
    for (const [corner, holds] of Object.entries(corners)) expect(cases.some(holds), corner).toBe(true)
  })

  test('is printed in one line without its tensors', () => {
    const text = describeCase({
      ...cases[0]!,
      params: { window: 3 },
      tables: { ids: Int32Array.of(1, 2) },
      lengths: undefined,
    })
    expect(text).toMatch(
      /^\{ batch: \d+, qHeads: .*params: \{ window: 3 \}, tables: \{ ids: Int32Array.of\(1, 2\) \}, seed: \d+ \}$/,
    )
  })
})

describe('tensors', () => {
  test('have the shapes of the case and the same elements again', () => {
    const c = cases[7]!
    const { q, k, v } = tensorsOf(c)
    expect(q.shape).toEqual([c.batch, c.qHeads, c.qRows, 8])
    expect(k.shape).toEqual([c.batch, c.kvHeads, c.kvRows, 8])
    expect(v.shape).toEqual([c.batch, c.kvHeads, c.kvRows, 16])
    expect(tensorsOf(c).q.data).toEqual(q.data)
  })

  test('a layout moves the elements and does not change them', () => {
    const [a, b] = (['bhld', 'blhd'] as const).map(
      (layout) => randomTensor([2, 3, 4, 5], 'f32', 9, layout).data,
    )
    expect(b).not.toEqual(a)
    for (let n = 0; n < 2 * 3 * 4; n++) {
      const [batch, head, row] = [Math.floor(n / 12), Math.floor(n / 4) % 3, n % 4]
      expect(b!.slice(((batch * 4 + row) * 3 + head) * 5).slice(0, 5)).toEqual(a!.slice(n * 5, n * 5 + 5))
    }
  })

  test('f16 holds what the half floats hold', () => {
    const { data } = randomTensor([1, 1, 2, 8], 'f16', 1)
    expect(data).toBeInstanceOf(Uint16Array)
    expect(Math.abs(fromHalf(data[0]!))).toBeLessThanOrEqual(3)
  })
})

describe('cases of kernels for matrix units', () => {
  const draw = (more: object) =>
    Array.from(
      { length: 400 },
      (_, seed) =>
        drawSeeded((d) => drawCase(d, everything, { ...variant, dtype: 'bf16', ...more }), seed).value,
    )

  test('hold brain floats, the nearest ones', () => {
    const [c] = draw({})
    const { q } = tensorsOf(c!)
    expect(q).toMatchObject({ dtype: 'bf16', data: expect.any(Uint16Array) })
    const exact = randomTensor(q.shape, 'f32', c!.seed * 4 + 1, c!.layout).data
    const off = [...(q.data as Uint16Array)].map(
      (bits, i) => Math.abs(fromBfloat(bits) - exact[i]!) / Math.max(1e-30, Math.abs(exact[i]!)),
    )
    expect(Math.max(...off)).toBeLessThanOrEqual(2 ** -8)
    expect(Math.max(...off)).toBeGreaterThan(0)
  })

  test('have few query rows and many key tiles where a kernel is made for those', () => {
    const few = draw({ fewRows: 4, keyTiles: 40 })
    expect(Math.max(...few.map((c) => c.qRows))).toBe(4)
    expect(few.filter((c) => c.kvRows > 20 * variant.tile.kv).length).toBeGreaterThan(20)
    expect(Math.max(...draw({}).map((c) => c.kvRows))).toBeLessThan(20 * variant.tile.kv)
  })
})

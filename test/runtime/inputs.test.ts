/** What a caller may get wrong: each refusal with its whole text, and what is taken in its place. */

import { describe, expect, test } from 'vitest'
import { OPS } from '../../compiler/ops.ts'
import type { ParamInfo, TableInfo } from '../../compiler/plan.ts'
import { derivedBits, EVALUATE, evaluateJson, floatBits } from '../../runtime/derived.ts'
import { fromHalf, halfArray, HALF_MAX, roundHalf, toHalf } from '../../runtime/half.ts'
import { resolveLengths, type Length } from '../../runtime/lengths.ts'
import { metaWords } from '../../runtime/meta.ts'
import { resolveParams, type ParamValues } from '../../runtime/params.ts'
import { boundOf, gridOf, slicesOf, type Placed } from '../../runtime/slices.ts'
import { resolveTables, tableAt, tableSizes, type TableData } from '../../runtime/tables.ts'
import {
  checkDtypes,
  emptyLike,
  readView,
  sizesOf,
  stridesOf,
  viewOf,
  type Shape,
  type Tensor,
} from '../../runtime/tensor.ts'

const expectError = (f: () => unknown, code: string, message: string) =>
  expect(f).toThrow(expect.objectContaining({ name: 'HeddleError', code, message }))

describe('tensors', () => {
  const floats = (shape: readonly number[]): Tensor => ({
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    shape: shape as unknown as Shape,
  })

  test.each<[string, Tensor, string, string]>([
    [
      'a flat shape',
      { data: new Float32Array(8), shape: [8] as unknown as Shape },
      'shape',
      'q: expected [batch, heads, len, dim] = [batch, heads, len, dim], got [8]',
    ],
    [
      'headDim 0',
      floats([1, 1, 4, 0]),
      'shape-value',
      'q: expected dim to be a whole number from 1 to 4096, got 0',
    ],
    [
      'headDim beyond all',
      floats([1, 1, 1, 5000]),
      'shape-value',
      'q: expected dim to be a whole number from 1 to 4096, got 5000',
    ],
    [
      'a negative length',
      { data: new Float32Array(0), shape: [1, 1, -4, 8] },
      'shape-value',
      'q: expected len to be a whole number from 0 to 4194304, got -4',
    ],
    [
      'a fractional length',
      { data: new Float32Array(12), shape: [1, 1, 1.5, 8] },
      'shape-value',
      'q: expected len to be a whole number from 0 to 4194304, got 1.5',
    ],
    [
      'no batch',
      floats([0, 1, 4, 8]),
      'shape-value',
      'q: expected batch to be a whole number from 1 to 65536, got 0',
    ],
    [
      'too few values',
      { data: new Float32Array(31), shape: [1, 1, 4, 8] },
      'tensor-size',
      'q: its shape and strides need 32 elements, got 31',
    ],
    [
      'too many values',
      { data: new Float32Array(33), shape: [1, 1, 4, 8] },
      'tensor-size',
      'q: its shape and strides need 32 elements, got 33',
    ],
    [
      'strides beyond the data',
      { data: new Float32Array(32), shape: [1, 1, 4, 8], strides: [0, 0, 9] },
      'tensor-size',
      'q: its shape and strides need 35 elements, got 32',
    ],
    [
      'strides of another count',
      { ...floats([1, 1, 4, 8]), strides: [32, 32, 8, 1] as unknown as Tensor['strides'] & {} },
      'strides',
      'q: expected strides [batch, head, row] as three whole numbers from 0 to 2^32 - 1, got [32,32,8,1]',
    ],
    [
      'negative strides',
      { ...floats([1, 1, 4, 8]), strides: [32, 32, -8] },
      'strides',
      'q: expected strides [batch, head, row] as three whole numbers from 0 to 2^32 - 1, got [32,32,-8]',
    ],
    [
      'a layout',
      { ...floats([1, 1, 4, 8]), layout: 'bshd' as 'bhld' },
      'layout',
      "q: expected layout 'bhld' or 'blhd', got \"bshd\"",
    ],
    [
      'f64 data',
      { data: new Float64Array(32) as unknown as Float32Array, shape: [1, 1, 4, 8] },
      'dtype',
      'q: expected a Float32Array, a Float16Array or a Uint16Array of half-float bits, got Float64Array',
    ],
    ['no tensor', null as unknown as Tensor, 'dtype', 'q: expected { data, shape }, got null'],
  ])('%s', (_, tensor, code, message) => expectError(() => viewOf('q', tensor), code, message))

  test.each<[string, Shape, Shape, Shape, string]>([
    [
      'k turned',
      [2, 8, 4096, 64],
      [2, 8, 64, 4096],
      [2, 8, 4096, 64],
      'k: expected [batch, kvHeads, kvLen, headDim] = [2, 8, 4096, 64], got [2, 8, 64, 4096]',
    ],
    [
      'another batch',
      [2, 8, 4, 64],
      [1, 8, 5, 64],
      [2, 8, 5, 64],
      'k: expected [batch, kvHeads, kvLen, headDim] = [2, 8, 5, 64], got [1, 8, 5, 64]',
    ],
    [
      'v of other length',
      [2, 8, 4, 64],
      [2, 8, 5, 64],
      [2, 8, 6, 32],
      'v: expected [batch, kvHeads, kvLen, valueDim] = [2, 8, 5, 32], got [2, 8, 6, 32]',
    ],
  ])('%s', (_, q, k, v, message) => expectError(() => sizesOf(q, k, v), 'shape', message))

  test('heads that do not divide', () =>
    expectError(
      () => sizesOf([1, 6, 1, 8], [1, 4, 1, 8], [1, 4, 1, 8]),
      'heads-group',
      'q has 6 heads, which is no multiple of the 4 heads of k and v',
    ))

  test('mixed dtypes', () => {
    const [q, k] = [
      viewOf('q', floats([1, 1, 1, 8])),
      viewOf('k', { data: new Uint16Array(8), shape: [1, 1, 1, 8] }),
    ]
    expectError(() => checkDtypes(q, [k]), 'dtype', 'k: expected f32 as q, got f16')
  })

  test('a layout and strides are read as they say', () => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i)
    const shape: Shape = [1, 2, 3, 2]
    expect([...readView(viewOf('q', { data, shape, layout: 'blhd' }))]).toEqual([
      0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11,
    ])
    expect([...readView(viewOf('q', { data, shape, strides: [0, 1, 2] }))]).toEqual([
      0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6,
    ])
  })

  test('halves: rounding, clamping, and bits that stay bits', () => {
    expect(roundHalf(0.1)).toBe(0.0999755859375)
    expect(roundHalf(1e9)).toBe(HALF_MAX)
    expect(roundHalf(-1e9)).toBe(-HALF_MAX)
    expect(roundHalf(NaN)).toBeNaN()
    expect(roundHalf(2049)).toBe(2048)
    expect(fromHalf(toHalf(2 ** -24))).toBe(2 ** -24)
    expect([...halfArray([1, -2])]).toEqual([0x3c00, 0xc000])
    const out = emptyLike(new Uint16Array(1), [1, 1, 2, 3], 'bhld')
    expect(out.data).toBeInstanceOf(Uint16Array)
    expect(out.data).toHaveLength(6)
  })
})

describe('lengths', () => {
  const of = (lengths: readonly Length[] | undefined, qRows = 4, kvRows = 6) =>
    resolveLengths(lengths, { batch: 1, qRows, kvRows })

  test('by default the last query is the last token', () => {
    expect(of(undefined)).toEqual([{ qRow: 0, qStart: 2, qLen: 4, kvStart: 0, kvLen: 6 }])
    expect(of([{ qRow: 1, kvStart: 2, kvLen: 3 }])).toEqual([
      { qRow: 1, qStart: 0, qLen: 3, kvStart: 2, kvLen: 3 },
    ])
    expect(of([{}], 4, 0)).toEqual([{ qRow: 0, qStart: 0, qLen: 4, kvStart: 0, kvLen: 0 }])
  })

  test('a negative start only if it was meant', () => {
    expectError(
      () => of(undefined, 6, 4),
      'negative-start',
      'batch 0 has 6 queries and 4 keys, so its first query would stand at -2; ' +
        'pass lengths with the qStart that is meant (qStart: -2 or qStart: 0)',
    )
    expect(of([{ qStart: -2 }], 6, 4)[0]!.qStart).toBe(-2)
  })

  test.each<[string, Length, string]>([
    ['negative', { kvLen: -1 }, 'lengths[0].kvLen: expected a whole number from 0 to 6, got -1'],
    ['fractional', { qLen: 1.5 }, 'lengths[0].qLen: expected a whole number from 0 to 4, got 1.5'],
    [
      'beyond the tensor',
      { kvStart: 3, kvLen: 4 },
      'lengths[0].kvLen: expected a whole number from 0 to 3, got 4',
    ],
    [
      'beyond all positions',
      { qStart: 2 ** 22 },
      'lengths[0].qStart: expected a whole number from -4194304 to 4194300, got 4194304',
    ],
    ['NaN', { qRow: NaN }, 'lengths[0].qRow: expected a whole number from 0 to 4, got NaN'],
    [
      'text',
      { qRow: '1' as unknown as number },
      'lengths[0].qRow: expected a whole number from 0 to 4, got 1',
    ],
  ])('%s', (_, entry, message) => expectError(() => of([entry]), 'length', message))

  test('misspelt, or of another count', () => {
    expectError(
      () => of([{ length: 3 } as Length]),
      'length-unknown',
      'lengths[0] has a field `length`; there are qRow, qStart, qLen, kvStart and kvLen',
    )
    expectError(() => of([{}, {}]), 'lengths-count', 'lengths: expected one entry per batch = 1, got 2')
    expectError(
      () => of({} as Length[]),
      'lengths-count',
      'lengths: expected one entry per batch = 1, got [object Object]',
    )
  })
})

describe('params', () => {
  const specs: ParamInfo[] = [
    { name: 'window', type: 'i32', default: 8, min: 1, max: 64, perHead: false },
    { name: 'slope', type: 'f32', default: 0.1, min: 0, max: 1, perHead: true },
  ]
  const of = (given?: ParamValues) => resolveParams(specs, given, 3)

  test('defaults, rounding to f32, one value for all heads', () => {
    const params = of({})
    expect(params.get('window')).toEqual([8])
    expect(params.get('slope')).toEqual([Math.fround(0.1), Math.fround(0.1), Math.fround(0.1)])
    expect(of({ slope: [0, 0.5, 1] }).get('slope')).toEqual([0, 0.5, 1])
  })

  test('a bound that is no f32 itself holds after rounding', () => {
    const third: ParamInfo = {
      name: 'x',
      type: 'f32',
      default: 1 / 3,
      min: 1 / 3,
      max: 2 / 3,
      perHead: false,
    }
    expect(resolveParams([third], {}, 1).get('x')).toEqual([Math.fround(1 / 3)])
  })

  test.each<[string, ParamValues, string, string]>([
    ['NaN', { window: NaN }, 'param-value', 'params.window: expected a whole number from 1 to 64, got NaN'],
    [
      'NaN in a list',
      { slope: [0, NaN, 1] },
      'param-value',
      'params.slope: expected a finite number from 0 to 1, got NaN',
    ],
    [
      'infinity',
      { slope: Infinity },
      'param-value',
      'params.slope: expected a finite number from 0 to 1, got Infinity',
    ],
    [
      'a fraction',
      { window: 2.5 },
      'param-value',
      'params.window: expected a whole number from 1 to 64, got 2.5',
    ],
    [
      'below its bound',
      { window: 0 },
      'param-value',
      'params.window: expected a whole number from 1 to 64, got 0',
    ],
    [
      'above its bound',
      { slope: 1.01 },
      'param-value',
      'params.slope: expected a finite number from 0 to 1, got 1.01',
    ],
    [
      'text',
      { window: '8' as unknown as number },
      'param-value',
      'params.window: expected a whole number from 1 to 64, got 8',
    ],
    [
      'unknown',
      { windows: 8 },
      'param-unknown',
      'params: there is no `windows`; the pattern has window, slope',
    ],
    [
      'a list for one number',
      { window: [8] },
      'param-scalar',
      'params.window: expected one number, got a list; only a perHead param has one value per head',
    ],
    [
      'too few heads',
      { slope: [0, 0] },
      'param-count',
      'params.slope: expected one number or one per query head = 3, got 2',
    ],
  ])('%s', (_, given, code, message) => expectError(() => of(given), code, message))
})

describe('tables', () => {
  const sizes = { batch: 2, qHeads: 4, kvHeads: 2, qRows: 3, kvRows: 5, headDim: 8, valueDim: 8 }
  const ids: TableInfo = {
    name: 'ids',
    type: 'i32',
    dims: ['batch', 'kvLen'],
    min: -(2 ** 30),
    max: 2 ** 30,
    monotone: true,
  }
  const bias: TableInfo = {
    name: 'bias',
    type: 'f32',
    dims: ['head', 3],
    min: -Infinity,
    max: Infinity,
    monotone: false,
  }
  const ints = (...xs: number[]) => Int32Array.from({ length: 10 }, (_, i) => xs[i] ?? 2 ** 20)
  const of = (tables: Record<string, TableData>) =>
    resolveTables([ids, bias], { bias: new Float32Array(12), ...tables }, sizes)

  test('are read row-major, and 0 out of range', () => {
    const [table] = of({ ids: Int32Array.from([0, 1, 2, 3, 4, 0, 0, 7, 7, 9]) })
    expect(tableAt(table!, [1, 4])).toBe(9)
    expect(tableAt(table!, [0, 3])).toBe(3)
    for (const at of [[0, 5], [2, 0], [-1, 1], [0, -1], [0, NaN], [0]]) expect(tableAt(table!, at)).toBe(0)
  })

  test('all axes have sizes', () => {
    const dims = ['batch', 'head', 'kvHead', 'qLen', 'kvLen', 'headDim', 6] as const
    expect(tableSizes({ ...bias, dims }, sizes)).toEqual([2, 4, 2, 3, 5, 8, 6])
  })

  test.each<[string, Record<string, TableData>, string, string]>([
    ['missing', {}, 'table-missing', 'tables.ids is missing: expected [batch, kvLen] = [2, 5]'],
    [
      'unknown',
      { ids: ints(), id: ints() },
      'table-unknown',
      'tables: there is no `id`; the pattern has ids, bias',
    ],
    [
      'of another type',
      { ids: new Float32Array(10) },
      'table-type',
      'tables.ids: expected an Int32Array, got Float32Array',
    ],
    [
      'a list',
      { ids: [1, 2] as unknown as Int32Array },
      'table-type',
      'tables.ids: expected an Int32Array, got Array',
    ],
    [
      'floats of another type',
      { ids: ints(), bias: new Float64Array(12) as unknown as Float32Array },
      'table-type',
      'tables.bias: expected a Float32Array, got Float64Array',
    ],
    [
      'of another size',
      { ids: new Int32Array(9) },
      'table-size',
      'tables.ids: expected [batch, kvLen] = [2, 5], 10 values, got 9',
    ],
    [
      'falling',
      { ids: ints(0, 3, 2) },
      'table-monotone',
      'tables.ids is declared monotone, but falls from 3 to 2 at element 2',
    ],
    [
      'too large',
      { ids: ints(0, 2 ** 30 + 1) },
      'table-value',
      'tables.ids: expected values from -1073741824 to 1073741824, got 1073741825 at element 1',
    ],
    [
      'too small',
      { ids: ints(-(2 ** 31)) },
      'table-value',
      'tables.ids: expected values from -1073741824 to 1073741824, got -2147483648 at element 0',
    ],
  ])('%s', (_, tables, code, message) => expectError(() => of(tables), code, message))

  test('order holds along the last dimension only', () => {
    expect(of({ ids: Int32Array.from([1, 2, 3, 4, 5, 0, 1, 2, 3, 4]) })).toHaveLength(2)
  })

  test('bounds that JSON wrote as null are none', () => {
    const open = { ...bias, min: null as unknown as number, max: null as unknown as number }
    expect(resolveTables([open], { bias: new Float32Array(12).fill(-Infinity) }, sizes)).toHaveLength(1)
  })

  test('an axis of selection stages', () =>
    expectError(
      () => tableSizes({ ...bias, dims: ['indexHead'] }, sizes),
      'table-axis',
      'tables.bias: the axis indexHead belongs to selection stages, which this artefact has none of',
    ))
})

describe('derived uniforms', () => {
  test('every op of the compiler is known, and means the same', () => {
    const leaves = new Set(['const', 'var', 'param', 'derived', 'load', 'pick'])
    const ops = Object.entries(OPS).filter(([op]) => !leaves.has(op))
    expect(Object.keys(EVALUATE).toSorted()).toEqual(ops.map(([op]) => op).toSorted())
    const numbers = [-7, -1, 0, 1, 2, 3, 5, 1000, 2 ** 30]
    for (const [op, row] of ops) {
      const types = row.types[0]!.split(' -> ')[0]!.split(' ')
      const choices = types.map((t) =>
        t === 'bool' ? [false, true] : ['shl', 'shr', 'ushr'].includes(op) ? [0, 1, 5, 31] : numbers,
      )
      const tuples = choices.reduce<(number | boolean)[][]>(
        (all, xs) => all.flatMap((a) => xs.map((x) => [...a, x])),
        [[]],
      )
      for (const args of tuples) {
        const [theirs, ours] = [row.eval, EVALUATE[op]!].map((f) =>
          (f as (...a: unknown[]) => unknown)(...args),
        )
        expect([op, args, ours]).toEqual([op, args, theirs])
      }
    }
  })

  test('are evaluated in f64 and stored as the kernel reads them', () => {
    const leaves = { vars: { kvLen: 10, head: 2 }, param: () => 0.1 }
    expect(evaluateJson({ op: 'mul', src: [{ param: 'x' }, { var: 'kvLen' }] }, leaves)).toBe(1)
    expect(evaluateJson({ pick: [5, 6, 7], src: [{ var: 'head' }] }, leaves)).toBe(7)
    expect(evaluateJson({ pick: [5], src: [{ var: 'head' }] }, leaves)).toBe(0)
    expect(derivedBits({ name: 'x', type: 'i32', value: 1e20 }, leaves)).toBe(2 ** 31 - 1)
    expect(derivedBits({ name: 'x', type: 'i32', value: -3 }, leaves)).toBe(-3)
    expect(derivedBits({ name: 'x', type: 'f32', value: 1.5 }, leaves)).toBe(0x3fc00000)
    expect(floatBits(-Infinity)).toBe(0xff800000 | 0)
  })

  test('stand in the meta words after lengths and perHead params', () => {
    const sizes = { batch: 2, qHeads: 2, kvHeads: 1, qRows: 3, kvRows: 4, headDim: 8, valueDim: 8 }
    const params: ParamInfo[] = [
      { name: 'w', type: 'i32', default: 1, min: 0, max: 9, perHead: true },
      { name: 'x', type: 'i32', default: 1, min: 0, max: 9, perHead: false },
    ]
    const value = {
      op: 'add',
      src: [{ op: 'mul', src: [{ param: 'w' }, { var: 'kvLen' }] }, { var: 'kvHead' }],
    } as const
    const words = metaWords(
      { params, derived: [{ name: 'd', type: 'i32', value }] },
      sizes,
      resolveLengths([{}, { kvLen: 3 }], sizes),
      resolveParams(params, { w: [5, 6] }, 2),
    )
    expect([...words]).toEqual([0, 1, 3, 0, 4, 0, 0, 3, 0, 3, 5, 6, 20, 24, 15, 18])
  })
})

describe('slices', () => {
  const place = (name: Placed['name'], shape: Shape, offset = 0): Placed => ({
    name,
    shape,
    strides: stridesOf(shape, 'bhld'),
    bytesPerElement: 4,
    offset,
  })
  const tensors = [
    place('q', [2, 4, 16, 4]),
    place('k', [2, 2, 16, 4], 256),
    place('v', [2, 2, 16, 4]),
    place('out', [2, 4, 16, 4]),
  ]
  const limits = { maxStorageBufferBindingSize: 1e6, minStorageBufferOffsetAlignment: 256 }
  const heads = (maxStorageBufferBindingSize: number, listBytes = 0) =>
    slicesOf(
      tensors,
      { batch: 2, qHeads: 4, kvHeads: 2 },
      { ...limits, maxStorageBufferBindingSize, listBytes: ({ batch, heads }) => batch * heads * listBytes },
    ).map((s) => [s.batchBase, s.batch, s.headBase, s.heads])

  test('as few as the limit allows', () => {
    expect(heads(2048)).toEqual([[0, 2, 0, 4]])
    expect(heads(1024)).toEqual([
      [0, 1, 0, 4],
      [1, 1, 0, 4],
    ])
    expect(heads(512)).toEqual([
      [0, 1, 0, 2],
      [0, 1, 2, 2],
      [1, 1, 0, 2],
      [1, 1, 2, 2],
    ])
    expect(heads(256)).toHaveLength(8)
    expect(heads(2048, 512)).toEqual([
      [0, 1, 0, 4],
      [1, 1, 0, 4],
    ])
  })

  test('name what is too large or badly placed', () => {
    expectError(
      () => heads(255),
      'binding-limit',
      'q: one head of one batch entry takes 256 bytes, the device binds at most 255',
    )
    expectError(
      () => heads(2048, 3000),
      'binding-limit',
      'tiles: the list of 1 heads takes 3000 bytes, the device binds at most 2048',
    )
    expectError(
      () =>
        slicesOf(
          [place('q', [1, 1, 1, 4], 12)],
          { batch: 1, qHeads: 1, kvHeads: 1 },
          { ...limits, listBytes: () => 0 },
        ),
      'alignment',
      'q: expected the byte offset of a slice to be a multiple of 256, got 12',
    )
  })

  test("bind k from the slice's first kv head", () => {
    const slice = { batchBase: 1, batch: 1, headBase: 3, heads: 1 }
    expect(boundOf(tensors[0]!, slice, 4)).toEqual({ offset: 7 * 256, size: 256 })
    expect(boundOf(tensors[1]!, slice, 4)).toEqual({ offset: 256 + 3 * 256, size: 256 })
  })

  test('the grid has one workgroup per query tile, in two dimensions where one is too short', () => {
    const slice = { batchBase: 0, batch: 2, headBase: 0, heads: 3 }
    const sizes = { qRows: 100, qHeads: 6, kvHeads: 2 }
    const variant = { tile: { q: 32, kv: 32 } }
    expect(gridOf(slice, sizes, variant, 65535)).toEqual({ x: 24, y: 1, tiles: 24 })
    expect(gridOf(slice, sizes, variant, 10)).toEqual({ x: 10, y: 3, tiles: 24 })
    expect(gridOf(slice, { ...sizes, qRows: 0 }, variant, 10)).toMatchObject({ tiles: 0 })
    expectError(
      () => gridOf(slice, sizes, variant, 4),
      'grid-limit',
      'the call has 24 query tiles, the device starts at most 16 workgroups',
    )
  })

  test('tiles that follow units: one more where a unit begins before the rows, fewer where heads share them', () => {
    const slice = { batchBase: 0, batch: 2, headBase: 0, heads: 6 }
    const sizes = { qRows: 100, qHeads: 6, kvHeads: 2 }
    const grid = (tokens: number, packs: boolean) =>
      gridOf(slice, sizes, { tile: { q: 32, kv: 32 }, unit: { tokens, packs } }, 65535).tiles
    expect(grid(1, false)).toBe(2 * 6 * 100)
    expect(grid(1, true)).toBe(2 * 2 * 100)
    expect(grid(16, true)).toBe(2 * 2 * 8 * 2)
    expect(grid(64, false)).toBe(2 * 6 * 3 * 2)
  })
})

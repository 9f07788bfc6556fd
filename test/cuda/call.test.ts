/** Calls of a hand-made artefact on a driver that writes down what it is asked: choice, struct, workspace, maps, refusals. */

import { describe, expect, test } from 'vitest'
import type { CudaCall } from '../../runtime/cuda/call.ts'
import { loadCudaKernel } from '../../runtime/cuda/kernel.ts'
import type { DeviceTensor } from '../../runtime/cuda/tensor.ts'
import { HeddleError } from '../../runtime/messages.ts'
import type { Shape } from '../../runtime/tensor.ts'
import { artifact, FakeDriver, VARIANTS } from './handmade.ts'

const tensor = (address: bigint, shape: Shape, more: Partial<DeviceTensor> = {}): DeviceTensor => ({
  address,
  shape,
  dtype: 'bf16',
  ...more,
})

/** Two batch entries, 4 query heads on 2, rows and dims as given. */
function callOf(rows: number, kvRows: number, dim = 64, more: Partial<CudaCall> = {}): CudaCall {
  return {
    q: tensor(0x10000n, [2, 4, rows, dim]),
    k: tensor(0x20000n, [2, 2, kvRows, dim]),
    v: tensor(0x30000n, [2, 2, kvRows, dim]),
    out: tensor(0x40000n, [2, 4, rows, dim]),
    lse: 0x50000n,
    tables: { ids: 0x60000n },
    ...more,
  }
}

const open = (powers?: ConstructorParameters<typeof FakeDriver>[0]) => {
  const driver = new FakeDriver(powers)
  return { driver, kernel: loadCudaKernel(artifact(), driver) }
}

const refusal = async (promise: Promise<unknown>): Promise<HeddleError> => {
  const error: unknown = await promise.then(
    () => new Error('it was accepted'),
    (e: unknown) => e,
  )
  if (error instanceof HeddleError) return error
  throw error
}

describe('the struct', () => {
  test('has what the call says, by name', async () => {
    const { driver, kernel } = open({ capability: { major: 8, minor: 0 } })
    const lengths = [{ kvLen: 100 }, { qStart: 7, qLen: 5, kvStart: 3, kvLen: 90 }]
    const params = { window: 17, slope: [0, 0.25, 0.5, 1], cap: 3 }
    expect(await kernel.launch(callOf(40, 130, 64, { lengths, params, scale: 0.25 }))).toBe('d64-bf16-ampere')
    const [launch] = driver.launches
    const number = (name: string, i?: number) => driver.field(launch!, name, i)
    expect(['q', 'k', 'v', 'out', 'lse'].map((n) => number(n))).toEqual([
      0x10000n,
      0x20000n,
      0x30000n,
      0x40000n,
      0x50000n,
    ])
    expect(number('tables')).toBe(0x60000n)
    expect(
      ['batch', 'qHeads', 'kvHeads', 'qRows', 'kvRows', 'headDim', 'valueDim'].map((n) => number(n)),
    ).toEqual([2, 4, 2, 40, 130, 64, 64])
    expect([0, 1, 2].map((i) => number('qStride', i))).toEqual([4 * 40 * 64, 40 * 64, 64])
    expect([0, 1, 2].map((i) => number('vStride', i))).toEqual([2 * 130 * 64, 130 * 64, 64])
    expect([number('scale'), number('vectors'), number('listStride'), number('splits')]).toEqual([
      0.25, 1, 4, 1,
    ])
    expect([...driver.words(launch!, 'lengths')]).toEqual([0, 60, 40, 0, 100, 0, 7, 5, 3, 90])
    const bits = (x: number) => new Int32Array(Float32Array.of(x).buffer)[0]
    // Scalars, then a value per head, then the derived ones of each (batch, head).
    expect([...driver.words(launch!, 'values')]).toEqual([
      ...[17, bits(3), ...[0, 0.25, 0.5, 1].map(bits)],
      ...[100, 101, 102, 103, 90, 91, 92, 93],
    ])
    expect(launch).toMatchObject({ grid: [1, 4, 2], threads: 128, sharedBytes: 40_000, stream: 0n })
    expect(launch!.about()).toContain('handmade, variant d64-bf16-ampere')
    expect(launch!.about()).toContain('q [2, 4, 40, 64]')
  })

  test('is that of blhd tensors and of strides, and says where vectors cannot be loaded', async () => {
    const { driver, kernel } = open({ capability: { major: 8, minor: 6 } })
    await kernel.launch(callOf(40, 130, 64, { layout: 'blhd' }))
    const odd = tensor(0x10000n, [2, 4, 40, 64], { strides: [10_000, 2_000, 68, 1] })
    await kernel.launch({ ...callOf(40, 130), q: odd })
    const [first, second] = driver.launches
    expect([0, 1, 2].map((i) => driver.field(first!, 'kStride', i))).toEqual([130 * 2 * 64, 64, 128])
    expect([0, 1, 2].map((i) => driver.field(second!, 'qStride', i))).toEqual([10_000, 2_000, 68])
    expect([driver.field(first!, 'vectors'), driver.field(second!, 'vectors')]).toEqual([1, 0])
  })
})

describe('the variant', () => {
  const idOf = async (powers: ConstructorParameters<typeof FakeDriver>[0], call: CudaCall) =>
    open(powers).kernel.launch(call)

  test('is the first that fits rows, device and alignment', async () => {
    const hopper = { capability: { major: 9, minor: 0 } }
    expect(await idOf(hopper, callOf(16, 130))).toBe('d64-bf16-decode')
    expect(await idOf(hopper, callOf(17, 130))).toBe('d64-bf16-hopper')
    expect(await idOf({ capability: { major: 8, minor: 9 } }, callOf(17, 130))).toBe('d64-bf16-ampere')
    expect(await idOf({ capability: { major: 12, minor: 0 } }, callOf(17, 130))).toBe('d64-bf16-ampere')
    expect(await idOf({ ...hopper, maxSharedBytes: 100_000 }, callOf(17, 130))).toBe('d64-bf16-ampere')
    // Rows of 59 halves: no stride is a multiple of 16 bytes.
    expect(await idOf(hopper, callOf(17, 130, 59))).toBe('d64-bf16-ampere')
    const q = tensor(0x10002n, [2, 4, 17, 64])
    expect(await idOf(hopper, { ...callOf(17, 130), q })).toBe('d64-bf16-ampere')
  })

  test('does not care for strides of dimensions of one', async () => {
    const one = (address: bigint, rows: number) => tensor(address, [1, 1, rows, 64], { strides: [3, 5, 64] })
    const call = { q: one(0x10000n, 20), k: one(0x20000n, 30), v: one(0x30000n, 30), out: one(0x40000n, 20) }
    const { driver, kernel } = open()
    expect(await kernel.launch({ ...callOf(20, 30), ...call })).toBe('d64-bf16-hopper')
    for (const { strides } of driver.maps) expect(strides.every((s) => s % 16 === 0 && s > 0)).toBe(true)
  })

  test('names what passed each over where none fits', async () => {
    const { kernel } = open({ capability: { major: 8, minor: 0 } })
    const error = await refusal(kernel.launch(callOf(17, 130, 128)))
    expect(error.code).toBe('cuda-variant')
    expect(error.message).toContain('d64-bf16-ampere: its headDim is at most 64')
    expect(error.message).toContain('d64-f16-ampere: it is for f16')
    const wrong = await refusal(kernel.launch(callOf(17, 130, 64, { variant: 'd64-bf16-hopper' })))
    expect(wrong.code).toBe('cuda-variant')
    expect(wrong.message).toContain('compute capability 9.0, the device has 8.0')
    expect((await refusal(kernel.launch(callOf(17, 130, 64, { variant: 'd32' })))).code).toBe('no-variant')
  })

  test('that was asked for and needs whole vectors names the tensor that has none', async () => {
    const { kernel } = open()
    const variant = 'd64-bf16-hopper'
    const k = tensor(0x20008n, [2, 2, 130, 64])
    const address = await refusal(kernel.launch({ ...callOf(17, 130), k, variant }))
    expect(address.code).toBe('alignment')
    expect(address.message).toBe('k: expected its address to be a multiple of 16, got 131080')
    const v = tensor(0x30000n, [2, 2, 130, 64], { strides: [20_000, 10_000, 68] })
    const stride = await refusal(kernel.launch({ ...callOf(17, 130), v, variant }))
    expect(stride.message).toBe('v: expected its row stride in bytes to be a multiple of 16, got 136')
  })
})

describe('workspace', () => {
  test('counters are zeroed once, room grows, streams have their own', async () => {
    const { driver, kernel } = open({ multiprocessors: 16 })
    await kernel.launch(callOf(1, 130))
    await kernel.launch(callOf(1, 130))
    const prepared = await kernel.prepare(callOf(1, 130))
    prepared.run(5n)
    const attends = driver.launches.filter((l) => l.entry.name === 'attend')
    const [a, b, c] = attends.map((l) => driver.field(l, 'counters'))
    expect(a).toBe(b)
    expect(c).not.toBe(a)
    expect([...driver.memory.get(a as bigint)!]).toEqual([0, 0, 0, 0])
    // 16 multiprocessors over 4 (batch, kv head) pairs: 4 splits.
    expect(attends[0]).toMatchObject({ grid: [4, 2, 2] })
    expect(driver.field(attends[0]!, 'splits')).toBe(4)
    expect(driver.memory.get(driver.field(attends[0]!, 'scratch') as bigint)!.length).toBe(4 * 4 * 2 * 1024)
    expect(driver.launches[1]).toMatchObject({ entry: { name: 'combine' }, grid: [1, 4, 2] })
  })

  test('an entry without blocks is not launched', async () => {
    const { driver, kernel } = open({ multiprocessors: 1 })
    await kernel.launch(callOf(1, 130))
    expect(driver.launches.map((l) => l.entry.name)).toEqual(['attend'])
  })

  test('words that come again are copied once, and those of long ago are given back', async () => {
    const { driver, kernel } = open()
    const lengthsAt = async (kvLen: number) => {
      await kernel.launch(callOf(17, 1300, 64, { lengths: [{ kvLen }, { kvLen }] }))
      return driver.field(driver.launches.at(-1)!, 'lengths')
    }
    const first = await lengthsAt(100)
    expect(await lengthsAt(100)).toBe(first)
    expect(await lengthsAt(101)).not.toBe(first)
    for (let i = 102; i < 700; i++) await lengthsAt(i)
    expect(driver.memory.size).toBeLessThan(300)
    expect([...driver.words(driver.launches.at(-1)!, 'lengths')]).toEqual([
      0, 682, 17, 0, 699, 0, 682, 17, 0, 699,
    ])
  })
})

describe('tensor maps', () => {
  test('have the sizes and strides of their tensors, and are made once', async () => {
    const { driver, kernel } = open()
    const call = callOf(40, 130, 64, { layout: 'blhd' })
    await kernel.launch(call)
    await kernel.launch(call)
    expect(driver.maps).toHaveLength(3)
    expect(driver.maps[1]).toEqual({
      address: 0x20000n,
      dtype: 'bf16',
      sizes: [64, 130, 2, 2],
      strides: [2 * 128, 128, 130 * 256],
      box: [64, 128],
      swizzle: 128,
    })
    expect(driver.launches[1]!.params.map((p) => p.length)).toEqual([
      driver.launches[0]!.params[0]!.length,
      128,
      128,
      128,
    ])
  })

  test('of tensors without rows are of one row of zeros', async () => {
    const { driver, kernel } = open()
    expect(await kernel.launch(callOf(17, 0, 40, { lengths: [{}, {}] }))).toBe('d64-bf16-hopper')
    const { address, sizes } = driver.maps[1]!
    expect(sizes).toEqual([40, 1, 1, 1])
    expect(driver.memory.get(address)!.every((x) => x === 0)).toBe(true)
    expect(driver.field(driver.launches[0]!, 'kvRows')).toBe(0)
  })
})

test('a call without query rows launches nothing', async () => {
  const { driver, kernel } = open()
  await kernel.launch(callOf(0, 130))
  expect(driver.launches).toEqual([])
  expect(driver.sources).toEqual([])
})

describe('pages', () => {
  const page = (address: bigint) => tensor(address, [10, 2, 16, 64], { layout: 'blhd' })
  const paged = (table: Int32Array | bigint, more: Partial<CudaCall> = {}): CudaCall => ({
    ...callOf(1, 0),
    k: page(0x20000n),
    v: page(0x30000n),
    pages: { table, ...(typeof table === 'bigint' ? { perSequence: 3 } : {}) },
    lengths: [{ kvLen: 48 }, { kvLen: 17 }],
    ...more,
  })

  test('give the struct their sizes, strides and table', async () => {
    const { driver, kernel } = open()
    const table = Int32Array.of(9, 0, 4, 3, 7, -1)
    expect(await kernel.launch(paged(table))).toBe('d64-bf16-decode')
    await kernel.launch(paged(0x77000n))
    const [onHost, , onDevice] = driver.launches
    const fields = ['kvRows', 'pageSize', 'pageStride', 'pageCount'] as const
    for (const launch of [onHost!, onDevice!])
      expect(fields.map((f) => driver.field(launch, f))).toEqual([48, 16, 3, 10])
    expect([0, 1, 2].map((i) => driver.field(onHost!, 'kStride', i))).toEqual([16 * 2 * 64, 64, 128])
    expect([...driver.words(onHost!, 'pages')]).toEqual([...table])
    expect(driver.field(onDevice!, 'pages')).toBe(0x77000n)
  })

  test('an entry that a sequence uses and that names no page is refused', async () => {
    const { kernel } = open()
    const error = await refusal(kernel.launch(paged(Int32Array.of(9, 0, 4, 3, 10, -1))))
    expect(error.code).toBe('page-entry')
    expect(error.message).toBe('pages.table: batch 1, entry 1: expected a page from 0 to 9, got 10')
    expect((await refusal(kernel.launch(paged(Int32Array.of(9, -1, 4, 3, 1, 1))))).code).toBe('page-entry')
  })

  test.each([
    ['of another size', Int32Array.of(1, 2, 3), {}],
    ['of no integers', [1, 2, 3, 4, 5, 6] as never, {}],
    ['on the device without a length', 0x77000n, { pages: { table: 0x77000n } }],
  ])('a table %s is refused', async (_, table, more) => {
    const error = await refusal(open().kernel.launch(paged(table, more)))
    expect(error.code).toBe('page-table')
  })

  test('are refused by variants that take none', async () => {
    const error = await refusal(
      open().kernel.launch(paged(Int32Array.of(0, 1, 2, 3, 4, 5), { variant: 'd64-bf16-ampere' })),
    )
    expect(error.message).toContain('it takes no pages')
  })
})

describe('refused is', () => {
  test.each<[string, Partial<CudaCall>, string]>([
    [
      'a stride between the elements of a row',
      { q: tensor(0x10000n, [2, 4, 17, 64], { strides: [1, 1, 1, 2] }) },
      'inner-stride',
    ],
    [
      'a stride that is no number',
      { q: tensor(0x10000n, [2, 4, 17, 64], { strides: [1, 1.5, 1] }) },
      'strides',
    ],
    ['a negative length', { lengths: [{ kvLen: -1 }, {}] }, 'length'],
    ['a length beyond the rows', { lengths: [{ kvLen: 131 }, {}] }, 'length'],
    ['an odd address', { v: tensor(0x30001n, [2, 2, 130, 64]) }, 'alignment'],
    ['another type of v', { v: tensor(0x30000n, [2, 2, 130, 64], { dtype: 'f16' }) }, 'dtype'],
    ['an unknown type', { q: tensor(0x10000n, [2, 4, 17, 64], { dtype: 'f32' as never }) }, 'dtype'],
    ['an output of another shape', { out: tensor(0x40000n, [2, 4, 18, 64]) }, 'shape'],
    ['heads that do not divide', { q: tensor(0x10000n, [2, 3, 17, 64]) }, 'heads-group'],
    ['a scale that is no number', { scale: Number.NaN }, 'scale'],
    ['a missing table', { tables: {} }, 'table-missing'],
    ['an unknown param', { params: { width: 3 } }, 'param-unknown'],
  ])('%s', async (_, more, code) => {
    expect((await refusal(open().kernel.launch(callOf(17, 130, 64, more)))).code).toBe(code)
  })

  test('a grid that is too large', async () => {
    const q: Shape = [65536, 1, 20, 8]
    const tensors = {
      q: tensor(0x10000n, q),
      k: tensor(0x20000n, q),
      v: tensor(0x30000n, q),
      out: tensor(0x40000n, q),
    }
    const { kernel } = open({ capability: { major: 8, minor: 0 } })
    expect((await refusal(kernel.launch({ ...callOf(17, 130), ...tensors }))).code).toBe('grid-limit')
  })
})

test('a kernel that was released refuses calls, and unloads what it loaded', async () => {
  const { driver, kernel } = open()
  const prepared = await kernel.prepare(callOf(17, 130))
  await kernel.load('d64-bf16-ampere')
  kernel.release()
  expect(driver.released).toBe(2)
  expect((await refusal(kernel.launch(callOf(17, 130)))).code).toBe('kernel-released')
  expect(() => prepared.run()).toThrow('has been released')
})

test('a variant is loaded once, with its text and the means to read its cubins', async () => {
  const driver = new FakeDriver()
  const kernel = loadCudaKernel(JSON.stringify(artifact()), driver, { cubins: () => new Uint8Array(3) })
  await Promise.all([kernel.launch(callOf(17, 130)), kernel.launch(callOf(18, 130))])
  expect(driver.sources).toHaveLength(1)
  const [source] = driver.sources
  expect(source).toMatchObject({
    pattern: 'handmade',
    id: 'd64-bf16-hopper',
    suffix: 'a',
    code: VARIANTS[1]!.code,
  })
  expect(source!.readCubin('x')).toEqual(new Uint8Array(3))
})

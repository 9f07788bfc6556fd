/** The emulation of sm_90: each function of prelude-hopper.cuh against plain computation, and each mistake against its message. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { productText } from '../../codegen/cuda/wgmma.ts'
import type { CudaModule, TensorMapSpec } from '../../runtime/cuda/driver.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { CALL, floatsOf, PRELUDE, read, run as runOn, sourceOf, type Run } from './emulation-kernels.ts'
import { bitsOfHalf, type HalfType } from './halves.ts'

const folder = mkdtempSync(join(tmpdir(), 'heddle-emulation-hopper-'))
const driver = await openEmulation({ capability: { major: 9, minor: 0 }, cacheFolder: folder, threads: 2 })
afterAll(() => {
  driver.release()
  rmSync(folder, { recursive: true, force: true })
})

const HOPPER = read('../../codegen/cuda/prelude-hopper.cuh')
const KERNELS = read('./fixtures/hopper.cu')
const DEPTH = 128

interface Form {
  readonly dtype: HalfType
  readonly columns: number
  readonly transposed: boolean
  readonly swizzle: 64 | 128
}

const modules = new Map<string, Promise<CudaModule>>()
function moduleOf({ dtype, columns, transposed, swizzle }: Form): Promise<CudaModule> {
  const id = `${dtype}-${columns}-${transposed}-${swizzle}`
  const products = (['shared', 'registers'] as const).map((a) =>
    productText({ name: a === 'shared' ? 'fromShared' : 'fromRegisters', columns, a, transposed }, dtype),
  )
  const constants = `constexpr bool BF16 = ${dtype === 'bf16'}, TRANSPOSED = ${transposed};\nconstexpr int COLUMNS = ${columns}, SWIZZLE = ${swizzle};`
  const kept = modules.get(id)
  const made = kept ?? driver.loadModule(sourceOf(id, [constants, CALL, PRELUDE, HOPPER, ...products, KERNELS].join('\n'))) // oxfmt-ignore
  modules.set(id, made)
  return made
}

const PLAIN: Form = { dtype: 'bf16', columns: 64, transposed: false, swizzle: 128 }
const run = async (r: Omit<Run, 'driver' | 'module'>, form: Form = PLAIN) =>
  runOn({ driver, module: await moduleOf(form), ...r })

/** Of a matrix of halves, row-major, that begins `offset` bytes into the input. */
const matrixMap = (rows: number, columns: number, swizzle: 64 | 128, boxRows = rows, offset = 0) => (input: bigint) =>
  driver.tensorMap({
    address: input + BigInt(offset), dtype: 'bf16', sizes: [columns, rows, 1, 1], strides: [2 * columns, 16, 16],
    box: [swizzle / 2, boxRows], swizzle,
  }) // oxfmt-ignore

/** Small numbers that both half types hold; sums of their products are exact. */
function numbers(count: number, seed: number): number[] {
  let x = seed
  return Array.from({ length: count }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0
    return ((x >>> 16) % 33) / 8 - 2
  })
}

describe('boxes', () => {
  // [batch 2][head 3][row 20][column 40] of which a row takes 48 elements, and nobody may read the last 8.
  const [columns, rows, heads, batches, pitch] = [40, 20, 3, 2, 48]
  const at = (c: number, r: number, h: number, b: number) => ((b * heads + h) * rows + r) * pitch + c
  const halves = Uint16Array.from({ length: batches * heads * rows * pitch }, (_, i) => i + 1)
  const inside = (c: number, r: number, h: number, b: number) =>
    c >= 0 && c < columns && r >= 0 && r < rows && h >= 0 && h < heads && b >= 0 && b < batches
  const HEAD = 32

  async function copy(
    [c, r, h, b]: readonly [number, number, number, number],
    boxRows: number,
    swizzle: 64 | 128,
    offset: number,
  ) {
    const input = new Uint8Array(HEAD + halves.byteLength)
    new Int32Array(input.buffer).set([c, r, h, b, offset, boxRows * swizzle])
    input.set(new Uint8Array(halves.buffer), HEAD)
    const maps = (address: bigint) => [
      driver.tensorMap({
        address: address + BigInt(HEAD), dtype: 'bf16', sizes: [columns, rows, heads, batches],
        strides: [2 * pitch, 2 * pitch * rows, 2 * pitch * rows * heads], box: [swizzle / 2, boxRows], swizzle,
      }),
    ] // oxfmt-ignore
    const words = await run({ name: 'boxes', input, maps, words: 4097, threads: 64, sharedBytes: 16400 })
    // It lands when it is waited for, and leaves NaNs meanwhile.
    expect(words[4096]).toBe(0xffffffff)
    const found = new Uint16Array(words.buffer, 0, 8192)
    const expected = new Uint16Array(8192).fill(0xffff)
    for (let row = 0; row < boxRows; row++)
      for (let column = 0; column < swizzle / 2; column++) {
        // Units of eight halves change places: with 128 bytes in a row, by the row; with 64, by the pair of rows.
        const line = offset / swizzle + row
        const unit = (column >> 3) ^ (swizzle === 128 ? line % 8 : (line >> 1) % 4)
        const place = (line * swizzle) / 2 + unit * 8 + (column % 8)
        expected[place] = inside(c + column, r + row, h, b) ? halves[at(c + column, r + row, h, b)]! : 0
      }
    expect(found).toEqual(expected)
  }

  test.each([64, 128] as const)('are swizzled by %i bytes, and zeros outside the tensor', async (swizzle) => {
    await copy([0, 0, 0, 0], 16, swizzle, 0)
    await copy([8, 7, 2, 1], 24, swizzle, 1024)
    await copy([24, -3, 1, 0], 9, swizzle, 2048)
    await copy([-4, 18, 1, 0], 16, swizzle, 0)
    await copy([0, 0, 3, 0], 8, swizzle, 0)
    await copy([0, 0, 0, -1], 8, swizzle, 0)
    // The bits of the address count, not the rows of the box.
    await copy([0, 0, 0, 0], 16, swizzle, 384)
  })

  test('of memory that is not there', async () => {
    const input = new Int32Array([0, 100_000, 0, 0, 0, 1024])
    const maps = (address: bigint) => [matrixMap(2 ** 20, 64, 128, 8)(address)]
    const call = { name: 'boxes', input, words: 4097, threads: 64, sharedBytes: 16400 }
    await expect(run({ ...call, maps })).rejects.toThrow(
      /copyBox in line \d+ reads memory at 0x[0-9a-f]+, which is not the kernel's own/,
    )
    await expect(run(call)).rejects.toThrow('boxes takes 152 bytes of parameters, not 24')
  })

  test('maps that a driver would refuse are refused', () => {
    const good: TensorMapSpec = { address: 4096n, dtype: 'f16', sizes: [64, 8, 1, 1], strides: [128, 1024, 1024], box: [64, 8], swizzle: 128 } // oxfmt-ignore
    expect(driver.tensorMap(good)).toHaveLength(128)
    const refused = (change: Partial<TensorMapSpec>, message: string) =>
      expect(() => driver.tensorMap({ ...good, ...change })).toThrow(message)
    refused({ address: 4100n }, 'an address of 4100')
    refused({ sizes: [64, 0, 1, 1] }, 'a size of 0')
    refused({ strides: [120, 1024, 1024] }, 'a stride of 120 bytes')
    refused({ box: [64, 257] }, 'a box of 257 elements')
    refused({ swizzle: 64 }, 'a box row of 128 bytes under a swizzle of 64')
    refused({ box: [12, 8] }, 'a box row of 24 bytes')
  })
})

describe('barriers', () => {
  test.each([0, 1, 2, 3, 4])('a ring goes round in order %i', async (order) => {
    const out = await run({ name: 'ring', words: 32 * 7, count: 7, threads: 64, sharedBytes: 2048, order })
    expect([...out]).toEqual(Array.from({ length: 224 }, (_, i) => 100 * (i >> 5) + ((i + 1) % 32)))
  })

  test.each([0, 1, 2, 3, 4])('named ones hold in order %i', async (order) => {
    const out = await run({ name: 'named', words: 192, threads: 128, order })
    expect([...out]).toEqual(
      Array.from({ length: 192 }, (_, i) => 100 * Math.floor(i / 64) + ((i + 32) % 64)),
    )
  })

  test('registers are taken when others gave them', async () => {
    for (const order of [0, 1, 2]) {
      const out = await run({ name: 'registers', words: 3, threads: 384, order, fill: 0 })
      expect([...out.subarray(0, 2)].toSorted()).toEqual([0, 1])
    }
    const never = run({ name: 'registers', words: 3, threads: 384, count: 1, fill: 0 })
    await expect(never).rejects.toThrow(
      /no thread can go on: warps 4-7: lanes 0-31 at growRegisters in line \d+ \(0 of the block's registers are free\)/,
    )
  })
})

describe('products', () => {
  const a = numbers(64 * DEPTH, 1)

  async function multiply(form: Form, count: number, order = 0) {
    const { dtype, columns, transposed, swizzle } = form
    const b = numbers(DEPTH * columns, 2)
    // Contracted dimension first, or last.
    const bAt = (k: number, n: number) => (transposed ? b[k * columns + n]! : b[n * DEPTH + k]!)
    const input = Uint16Array.from([...a, ...b], (x) => bitsOfHalf(dtype, x))
    const [bRows, bColumns] = transposed ? [DEPTH, columns] : [columns, DEPTH]
    const maps = (address: bigint) => [
      matrixMap(64, DEPTH, swizzle)(address),
      matrixMap(bRows, bColumns, swizzle, bRows, 2 * a.length)(address),
    ]
    const sharedBytes = 2 * DEPTH * (64 + columns) + 8
    const words = await run({ name: 'products', input, maps, words: 128 * columns, count, threads: 128, sharedBytes, order }, form) // oxfmt-ignore
    const [out, under] = [floatsOf(words), floatsOf(words.subarray(64 * columns))]
    expect(under.slice(0, 64 * columns).every(Number.isNaN)).toBe(true)
    for (let thread = 0; thread < 128; thread++)
      for (let i = 0; i < columns / 2; i++) {
        // As the PTX manual gives the fragment of wgmma.m64nNk16.
        const row = 16 * (thread >> 5) + ((thread % 32) >> 2) + (i % 4 >= 2 ? 8 : 0)
        const column = 8 * (i >> 2) + 2 * (thread % 4) + (i & 1)
        let sum = count & 2 ? 1 : 0
        for (let k = 0; k < DEPTH; k++) sum += a[row * DEPTH + k]! * bAt(k, column)
        if (out[thread * (columns / 2) + i] !== sum)
          expect([row, column, out[thread * (columns / 2) + i]]).toEqual([row, column, sum])
      }
  }

  const FORMS: readonly Form[] = [
    PLAIN,
    { dtype: 'f16', columns: 256, transposed: true, swizzle: 128 },
    { dtype: 'bf16', columns: 96, transposed: true, swizzle: 64 },
    { dtype: 'f16', columns: 24, transposed: false, swizzle: 64 },
  ]
  test.each(FORMS)('$dtype, $columns columns, transposed $transposed, swizzle $swizzle', async (form) => {
    for (const count of [0, 1, 2, 5, 7]) await multiply(form, count)
    await multiply(form, 4, 1)
    await multiply(form, 3, 2)
  })

  test('ordinary stores are seen when they were fenced', async () => {
    const words = { name: 'stores', words: 128 * 32, threads: 128, sharedBytes: 40_000 }
    expect(floatsOf(await run(words)).every((x) => x === 16)).toBe(true)
    expect(floatsOf(await run({ ...words, count: 1 })).every(Number.isNaN)).toBe(true)
  })
})

describe('mistakes', () => {
  const maps = (address: bigint) => [matrixMap(64, DEPTH, 128)(address), matrixMap(64, DEPTH, 128)(address)]
  const input = new Uint16Array(64 * DEPTH)

  test.each<[count: number, message: RegExp]>([
    [0, /no thread can go on: warp 0: lane 0 in line \d+ for parity 0 of barrier (\d+); barrier \1 \(initialised in line \d+\) has in phase 0 0 of 2 arrivals and 0 bytes to come\./],
    [1, /barrierArrive in line \d+: the barrier at \d+ of line \d+ has its 2 arrivals already, and 16 bytes to come/],
    [2, /copyBox in line \d+: the barrier at \d+ of line \d+ got 8176 bytes more than its phase expects/],
    [3, /barrierArrive in line \d+: at shared address \d+ there is no barrier/],
    [4, /barrierArrive in line \d+: at shared address \d+ there is no barrier, or no longer/],
    [5, /barrierInit in line \d+: the barrier at \d+ was initialised in line \d+/],
    [6, /copyBox in line \d+: shared address 1088 is no multiple of 128/],
    [7, /copyBox in line \d+: shared addresses \[\d+, \d+\) lie outside/],
    [8, /the copy engine was not told of the barrier/],
    [9, /copyBox in line \d+: this is no tensor map/],
    [10, /copyBox in line \d+ writes where the box of line \d+ is still to land/],
    [11, /product in line \d+ reads what the box of line \d+ is still to bring/],
    [12, /product in line \d+: no productFence/],
    [13, /thread 0 of the warpgroup changed its accumulator 1 under the product of line \d+/],
    [14, /thread 0 of the warpgroup changed its part of `a` under the product of line \d+/],
    [15, /copyBox in line \d+ writes what the product of line \d+ still reads/],
    [16, /barrier 3 is one of 64 threads, not of 96/],
    [17, /warp 0: lanes 0-31 at namedSync in line \d+ \(barrier 3, 32 of 64 threads\)/],
    [18, /growRegisters in line \d+: to 40, but threads have 64/],
    [19, /the block returned before the box of line \d+ had landed/],
    [20, /the block returned before the product of line \d+ was done/],
    [21, /threads of a warpgroup give different descriptors/],
    [22, /product in line \d+ reads shared addresses \[\d+, \d+\), which lie outside/],
    [23, /warp 0: lanes 1-31 at syncThreads in line \d+, lane 0 in line \d+ for parity 0 of barrier \d+; warps 1-3: lanes 0-31 at syncThreads/],
    [24, /warps 0-2: lanes 0-31 at product in line \d+\./],
  ])('mistake %i', async (count, message) => {
    const call = { name: 'wrongs', input, maps, words: 4, threads: 128, sharedBytes: 2 * DEPTH * 128 + 64 }
    await expect(run({ ...call, count })).rejects.toThrow(message)
    // The device goes on.
    expect(await run({ ...call, count: 99 })).toHaveLength(4)
  }) // oxfmt-ignore
})

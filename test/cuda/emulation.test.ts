/** The emulation on the CPU: each function of prelude.cuh against plain computation. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CudaModule } from '../../runtime/cuda/driver.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import {
  floatsOf as floats,
  openTestEmulation,
  run as runOn,
  sourceOf,
  textOf,
  type Emulation,
  type Run,
} from './emulation-kernels.ts'
import { bitsOfHalf, halfOfBits } from './halves.ts'

const DTYPES = ['bf16', 'f16'] as const

let emulation: Emulation
let modules: Readonly<Record<'bf16' | 'f16', CudaModule>>
beforeAll(async () => {
  emulation = await openTestEmulation()
  const f16 = await emulation.driver.loadModule(sourceOf('f16', textOf(false)))
  modules = { bf16: emulation.bf16, f16 }
})
afterAll(() => emulation?.release())

/** In bf16 unless it says otherwise. */
const run = (r: Omit<Run, 'driver' | 'module'> & Partial<Run>) =>
  runOn({ driver: emulation.driver, module: emulation.bf16, ...r })

/** Small numbers that both half types hold; the same ones at each call. */
function numbers(count: number, seed: number): number[] {
  let x = seed
  return Array.from({ length: count }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0
    return ((x >>> 16) % 65) / 16 - 2
  })
}
describe('matrices', () => {
  test.each(DTYPES)('multiplyAdd has the fragments of mma.m16n8k16 (%s)', (dtype) => {
    // Positions as the PTX manual gives them: element i of a lane's a, b and d.
    const aAt = (lane: number, i: number) => [
      (lane >> 2) + ((i >= 2 && i < 4) || i >= 6 ? 8 : 0),
      (lane % 4) * 2 + (i & 1) + (i >= 4 ? 8 : 0),
    ]
    const bAt = (lane: number, i: number) => [(lane % 4) * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2]
    const dAt = (lane: number, i: number) => [(lane >> 2) + (i >= 2 ? 8 : 0), (lane % 4) * 2 + (i & 1)]
    const [a, b, d] = [numbers(256, 1), numbers(128, 2), numbers(128, 3)]
    const input = new Uint32Array(320)
    for (let lane = 0; lane < 32; lane++) {
      const half = (x: number | undefined) => bitsOfHalf(dtype, x!)
      for (let i = 0; i < 8; i++) {
        const [row, column] = aAt(lane, i)
        input[lane * 10 + (i >> 1)]! |= half(a[row! * 16 + column!]) << (16 * (i & 1))
      }
      for (let i = 0; i < 4; i++) {
        const [row, column] = bAt(lane, i)
        input[lane * 10 + 4 + (i >> 1)]! |= half(b[row! * 8 + column!]) << (16 * (i & 1))
        const [dRow, dColumn] = dAt(lane, i)
        floats(input)[lane * 10 + 6 + i] = d[dRow! * 8 + dColumn!]!
      }
    }
    const out = floats(run({ module: modules[dtype], name: 'product', input, words: 128 }))
    expect(emulation.driver.statistics?.multiplyAdds).toBe(1)
    for (let lane = 0; lane < 32; lane++)
      for (let i = 0; i < 4; i++) {
        const [row, column] = dAt(lane, i) as [number, number]
        // Sixteenths up to 2: every partial sum is exact.
        let sum = d[row * 8 + column]!
        for (let k = 0; k < 16; k++) sum += a[row * 16 + k]! * b[k * 8 + column]!
        expect(out[lane * 4 + i]).toBe(sum)
      }
  })

  test('loadMatrices gives rows, loadMatricesTransposed columns, of rows anywhere', () => {
    const halves = Uint16Array.from({ length: 2048 }, (_, i) => i)
    const rowOf = (lane: number) => ((lane * 37 + 11) % 256) * 16
    const input = new Uint32Array(1056)
    new Uint16Array(input.buffer).set(halves)
    for (let lane = 0; lane < 32; lane++) input[1024 + lane] = rowOf(lane)
    const out = new Uint16Array(run({ name: 'matrices', input, words: 256 }).buffer)
    const at = (matrix: number, row: number, column: number) => halves[rowOf(8 * matrix + row) / 2 + column]
    for (let lane = 0; lane < 32; lane++)
      for (let m = 0; m < 4; m++)
        for (let h = 0; h < 2; h++) {
          const [row, column] = [lane >> 2, 2 * (lane % 4) + h]
          expect(out[lane * 16 + 2 * m + h]).toBe(at(m, row, column))
          expect(out[lane * 16 + 8 + 2 * m + h]).toBe(at(m, column, row))
        }
  })

  const [a, b] = [numbers(64 * 128, 4), numbers(128 * 32, 5)]
  function multiply(dtype: 'bf16' | 'f16', options: Partial<Run>): void {
    const input = Uint16Array.from([...a, ...b], (x) => bitsOfHalf(dtype, x))
    const out = floats(
      run({ name: 'multiply', input, words: 2048, count: 128, threads: 128, sharedBytes: 12288, ...options }),
    )
    for (let row = 0; row < 64; row++)
      for (let column = 0; column < 32; column++) {
        let sum = 0
        for (let k = 0; k < 128; k++) sum += a[row * 128 + k]! * b[k * 32 + column]!
        expect(out[row * 32 + column]).toBe(sum)
      }
  }

  test.each(DTYPES)(
    'a product by copyAsync16, loadMatrices and multiplyAdd, in any order of warps (%s)',
    (dtype) => {
      for (const order of [0, 1, 2, 3]) {
        multiply(dtype, { module: modules[dtype], order })
        expect(emulation.driver.statistics).toEqual({
          multiplyAdds: 4 * 8 * 4,
          matrixLoads: 4 * 8 * 3,
          bankConflicts: 0,
          copies: 4 * 384,
          barriers: 8,
        })
      }
    },
  )

  test('bank conflicts are counted', async () => {
    multiply('bf16', { module: await emulation.driver.loadModule(sourceOf('plain', textOf(true, false))) })
    // Rows of 64 bytes side by side: eight rows lie in two places of the 128 bytes, four in each.
    expect(emulation.driver.statistics?.bankConflicts).toBe(4 * 8 * 3 * 4 * 3)
  })

  test('a barrier too few shows', async () => {
    const broken = textOf(true).replace(/(waitCopies<1>\(\);)\s+syncThreads\(\);/, '$1')
    expect(broken).not.toBe(textOf(true))
    const module = await emulation.driver.loadModule(sourceOf('unsynchronised', broken))
    expect(() => multiply('bf16', { module })).toThrow(/NaN/)
  })

  test('the portable switch of stacks', async () => {
    const flags = ['-DHEDDLE_UCONTEXT']
    const driver = await openEmulation({ cacheFolder: emulation.folder, flags })
    const module = await driver.loadModule(sourceOf('bf16', textOf(true)))
    multiply('bf16', { module, driver })
    expect(() => run({ module, driver, name: 'mistakes', words: 64, count: 0 })).toThrow('lane 8 of warp 0')
    driver.release()
  })
})

test('a copy lands when its group is waited for, and is a NaN before', () => {
  const input = Uint32Array.from({ length: 256 }, (_, i) => i)
  const out = run({ name: 'copies', input, words: 320 })
  const [old, gone] = [7, 0xffffffff]
  for (let lane = 0; lane < 32; lane++) {
    const first = 4 * lane
    const second = lane % 2 === 0 ? 128 + 4 * lane : 0
    const seen = [0, 1, 2, 3, 4].map((moment) => [out[64 * moment + lane], out[64 * moment + 32 + lane]])
    expect(seen).toEqual([
      [old, old],
      [gone, gone],
      [first, gone],
      [first, gone],
      [first, second],
    ])
  }
})

test('votes and exchanges of a warp', () => {
  const input = Uint32Array.from({ length: 32 }, (_, i) => Math.imul(i + 1, 0x9e3779b1))
  let votes = 0
  for (let lane = 0; lane < 32; lane++) votes |= (input[lane]! & 1) << lane
  for (const order of [0, 1, 5]) {
    const out = run({ name: 'exchanges', input, words: 128, order })
    for (let lane = 0; lane < 32; lane++)
      expect([...out.subarray(4 * lane, 4 * lane + 4)]).toEqual([
        votes >>> 0,
        input[(7 * lane + 3) % 32],
        input[lane ^ 5],
        input[lane ^ 16],
      ])
  }
})

describe('numbers', () => {
  const view = new DataView(new ArrayBuffer(4))
  const floatOf = (bits: number) => (view.setUint32(0, bits >>> 0), view.getFloat32(0))

  test.each(DTYPES)('every half becomes its float (%s)', (dtype) => {
    const out = floats(
      run({
        module: modules[dtype],
        name: 'unpacks',
        words: 65536,
        count: 65536,
        grid: [512, 1, 1],
        threads: 128,
      }),
    )
    for (let bits = 0; bits < 65536; bits++)
      if (!Object.is(out[bits], halfOfBits(dtype, bits)))
        expect([bits, out[bits]]).toEqual([bits, halfOfBits(dtype, bits)])
  })

  test.each(DTYPES)('packHalves rounds to nearest even, to subnormals, to infinities (%s)', (dtype) => {
    // All halves, the floats half-way to the next one and their neighbours, and what is beyond.
    const input: number[] = [
      Number.NaN,
      65519.996,
      65520,
      -65520,
      3.4028234e38,
      1e-45,
      -1e-45,
      2 ** -25,
      -(2 ** -25),
      1e-40,
    ]
    for (let bits = 0; bits < 65536; bits += 7) {
      const x = halfOfBits(dtype, bits)
      const next = halfOfBits(dtype, bits + 1 < 65536 ? bits + 1 : bits)
      if (Number.isNaN(x)) continue
      const middle = Math.fround((x + next) / 2)
      view.setFloat32(0, middle)
      const at = view.getUint32(0)
      input.push(x, middle, floatOf(at + 1), floatOf(at - 1))
    }
    const from = Float32Array.from(input)
    const count = from.length
    const grid = [Math.ceil(count / 128), 1, 1] as const
    const out = run({
      module: modules[dtype],
      name: 'packs',
      input: from,
      words: count,
      count,
      grid,
      threads: 128,
    })
    for (let i = 0; i < count; i++) {
      const [low, high] = [bitsOfHalf(dtype, from[i]!), bitsOfHalf(dtype, from[(i + 1) % count]!)]
      if (out[i] !== (low | (high << 16)) >>> 0)
        expect([from[i], out[i]! & 0xffff, out[i]! >>> 16]).toEqual([from[i], low, high])
    }
  })

  test('exp2Fast flushes subnormal results', () => {
    const input = Float32Array.of(
      0,
      1,
      -1,
      0.5,
      -126,
      -126.5,
      -149,
      -Infinity,
      Infinity,
      Number.NaN,
      127,
      128,
    )
    const out = floats(run({ name: 'powers', input, words: 12, count: 12, threads: 128 }))
    const expected = [1, 2, 0.5, Math.SQRT2, 2 ** -126, 0, 0, 0, Infinity, Number.NaN, 2 ** 127, Infinity]
    for (const [i, x] of expected.entries()) {
      if (x === Math.SQRT2) expect(Math.abs(out[i]! - x)).toBeLessThan(2e-7)
      else expect(out[i]).toBe(x)
    }
  })
})

describe('blocks', () => {
  test('counters of a whole grid', () => {
    for (const order of [0, 1, 7]) {
      const out = run({ name: 'counts', words: 13, grid: [5, 4, 2], threads: 64, order, fill: 0 })
      expect(out[0]).toBe(5 * 4 * 2 * 64)
      expect(out[1]).toBe(0)
      expect([...out.subarray(2, 12)]).toEqual(Array.from({ length: 10 }, () => 256))
      expect(out[12]).toBeGreaterThan(0)
    }
  })

  const neighbours = (count: number, order: number) => [
    ...run({ name: 'neighbours', words: 128, count, threads: 128, order }),
  ]
  const wrong = (out: readonly number[]) => out.filter((x) => x === 0xffffffff).length
  const crossed = Array.from({ length: 128 }, (_, i) => 1000 + ((i + 32) % 128))
  const swapped = Array.from({ length: 128 }, (_, i) => 1000 + (i ^ 1))

  test.each([0, 1, 2, 3])('barriers hold in order %i, and what misses one reads a NaN', (order) => {
    expect(neighbours(0, order)).toEqual(crossed)
    expect(neighbours(2, order)).toEqual(swapped)
    expect(wrong(neighbours(1, order))).toBeGreaterThan(0)
    expect(wrong(neighbours(3, order))).toBeGreaterThan(0)
  })

  test('returned threads do not count at a barrier', () => {
    const out = neighbours(4, 0)
    expect(out.slice(0, 64)).toEqual(Array.from({ length: 64 }, (_, i) => 1000 + ((i + 32) % 64)))
  })
})

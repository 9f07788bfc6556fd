/** The Hopper skeleton over lists, on the emulation: equal to dense attention over the pairs that the lists hold. */

import { afterAll, describe, expect, test } from 'vitest'
import type { ListInfo } from '../../codegen/artifact.ts'
import { emitCuda } from '../../codegen/index.ts'
import { causal, full, sinkLogit, slidingWindow } from '../../patterns/index.ts'
import type { Pattern } from '../../dsl/index.ts'
import { cudaAttention, loadCudaKernel, type CudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { compiled } from '../helpers.ts'
import { makeCase, within, type ListCase } from '../runtime/list-cases.ts'

const driver = await openEmulation({ multiprocessors: 2, capability: { major: 9, minor: 0 } })
const kernels: CudaKernel[] = []
afterAll(() => {
  for (const kernel of kernels) kernel.release()
  driver.synchronize()
  driver.release()
})

function kernelOf(pattern: Pattern, info: ListInfo, headDim: number): CudaKernel {
  const artifact = emitCuda(compiled(pattern), { headDims: [headDim], dtypes: ['bf16'], lists: [info] })
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  kernels.push(kernel)
  return kernel
}

const bf16 = ({ data, shape }: Tensor): Tensor => ({
  data: bfloatArray(data as Float32Array),
  shape,
  dtype: 'bf16',
})

interface Extra {
  readonly tables?: Readonly<Record<string, Int32Array | Float32Array>>
  readonly params?: Readonly<Record<string, number>>
}

async function difference(
  kernel: CudaKernel,
  pattern: Pattern,
  c: ListCase,
  extra: Extra = {},
): Promise<string | null> {
  const made = makeCase(c)
  const call = { ...made.call, ...extra, q: bf16(made.call.q), k: bf16(made.call.k), v: bf16(made.call.v) }
  const got = await cudaAttention(kernel, { ...call, lists: made.lists })
  const kept = within(pattern, made.holds)
  return compareWithOracle(kept, call, got, reference(kept, call), plain16(kept, call)).difference
}

const BASE: Omit<ListCase, 'lists'> = {
  batch: 1,
  kvHeads: 2,
  group: 2,
  qLen: 300,
  kvLen: 300,
  headDim: 64,
  density: 0.4,
  seed: 1,
}

const LENGTHS = [
  {},
  { qLen: 1, kvLen: 275, seed: 2 },
  { qLen: 150, kvLen: 333, seed: 3, density: 0.8 },
  { batch: 2, qLen: 200, kvLen: 260, seed: 4, lengths: [{ qLen: 190, kvLen: 201, qRow: 3 }, { kvStart: 7, kvLen: 250, qLen: 200 }] }, // oxfmt-ignore
] satisfies readonly Partial<ListCase>[]

const list = (share: ListInfo['share'], q: ListInfo['q'], kv: number): ListInfo => ({
  share,
  q,
  kv,
  order: 'index',
})

describe('each grain', () => {
  test.each([
    list('head', 128, 128),
    list('kvHead', 64, 64),
    list('head', 64, 16),
    list('request', 256, 32),
    list('head', 'whole', 64),
    list('kvHead', 128, 256),
  ])('%o', { timeout: 120_000 }, async (info) => {
    const kernel = kernelOf(causal, info, 64)
    for (const more of LENGTHS)
      expect(
        await difference(kernel, causal, { ...BASE, ...more, lists: [info] }),
        JSON.stringify(more),
      ).toBeNull()
  })
})

test('masks beside the lists, sinks, empty lists, wider heads', { timeout: 240_000 }, async () => {
  const info = list('head', 64, 32)
  const windowed = kernelOf(slidingWindow, info, 128)
  const c: ListCase = { ...BASE, headDim: 104, lists: [info] }
  expect(await difference(windowed, slidingWindow, c, { params: { window: 70 } })).toBeNull()
  const sunk = kernelOf(sinkLogit, info, 64)
  const sink = Float32Array.from([0.5, -1, 2, 0])
  expect(
    await difference(sunk, sinkLogit, { ...BASE, lists: [info], density: 0.05 }, { tables: { sink } }),
  ).toBeNull()
  const every = kernelOf(full, info, 64)
  expect(await difference(every, full, { ...BASE, lists: [info], density: 1 })).toBeNull()
  expect(await difference(every, full, { ...BASE, lists: [info], density: 0 })).toBeNull()
})

test('a sum of as many ones as the lists hold keys: each is met once', { timeout: 120_000 }, async () => {
  const info = list('kvHead', 128, 16)
  const kernel = kernelOf(causal, info, 64)
  const made = makeCase({ ...BASE, lists: [info] })
  const zeros = (t: Tensor): Tensor => ({ ...bf16(t), data: new Uint16Array(t.data.length) })
  const { q, k, v } = made.call
  const { lse } = await cudaAttention(kernel, { q: zeros(q), k: zeros(k), v: bf16(v), lists: made.lists })
  for (let head = 0; head < 4; head++)
    for (let row = 0; row < 300; row++) {
      let size = 0
      for (let kv = 0; kv <= row; kv++) if (made.holds(0, head, row, kv)) size++
      expect(Math.round(Math.exp(lse.data[head * 300 + row]!))).toBe(size)
    }
})

test('lists that this skeleton does not walk are refused in words', () => {
  const emit = (...lists: ListInfo[]) =>
    emitCuda(compiled(causal), { headDims: [64], dtypes: ['bf16'], lists })
  expect(() => emit(list('head', 1, 64))).toThrow('multiples of 64 rows')
  expect(() => emit(list('head', 64, 1))).toThrow('blocks of 16, 32, 64')
  expect(() => emit(list('head', 64, 64), list('head', 64, 16))).toThrow('one list at a time')
})

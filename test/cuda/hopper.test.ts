/** The Hopper skeleton on the emulation of sm_90: every way that a tile can be cut, brought, masked and written, against f64. */

import { afterAll, describe, expect, test } from 'vitest'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { emitCuda } from '../../codegen/cuda/emit.ts'
import type { Pattern } from '../../dsl/index.ts'
import { aShape, alibi, causal, document, full, sinkLogit, softcap } from '../../patterns/index.ts'
import { cudaAttention, loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { randomTensor } from '../../runtime/testing/cases.ts'
import { compiled } from '../helpers.ts'
import { artifactOf, difference, Kernels, rewritten, type Case, type Text } from './hopper-run.ts'

// Two blocks stay for all query tiles of a call: every ring goes round.
const DEVICE = { capability: { major: 9, minor: 0 }, multiprocessors: 2, seconds: 60 } as const
const driver = await openEmulation(DEVICE)
const kernels = new Kernels(driver)
afterAll(() => {
  kernels.release()
  driver.release()
})

const text = (pattern: Pattern, headDim: number, dtype: CudaDtype = 'bf16', valueDim = headDim): Text => ({
  pattern,
  dims: [headDim, valueDim],
  dtype,
})

async function expectRight(of: Text, given: Case, order = 0): Promise<void> {
  driver.setOrder(order)
  expect(await difference(kernels.of(of), of, given)).toBeNull()
}

describe('causal, head dim 64', () => {
  const CAUSAL = text(causal, 64)
  test.each([0, 1, 2, 3, 4])('more query tiles than blocks, in order %i', (order) =>
    expectRight(CAUSAL, { batch: 2, heads: [4, 2], rows: [210, 210] }, order),
  )

  test.each<[about: string, given: Case]>([
    ['one row, one key', { heads: [1, 1], rows: [1, 1] }],
    ['ends of tiles', { heads: [2, 1], rows: [192, 256] }],
    ['one beyond them', { heads: [2, 1], rows: [193, 257] }],
    ['fewer queries than keys', { heads: [3, 1], rows: [30, 330] }],
    ['more queries than keys, rows before the first key', { heads: [2, 2], rows: [250, 60], lengths: [{ qStart: -190 }] }],
    ['a negative scale', { heads: [2, 1], rows: [70, 140], scale: -0.3 }],
    ['a scale of zero', { heads: [2, 1], rows: [70, 140], scale: 0 }],
    ['no keys', { heads: [2, 1], rows: [40, 8], lengths: [{ kvLen: 0 }] }],
  ])('%s', (_, given) => expectRight(CAUSAL, given)) // oxfmt-ignore

  test.each([0, 1, 5])('lengths, with NaN in all rows that are no tokens, in order %i', (order) =>
    expectRight(
      CAUSAL,
      {
        batch: 5,
        heads: [2, 1],
        rows: [200, 300],
        lengths: [
          { kvLen: 130, qLen: 90, qRow: 5, kvStart: 7 },
          { kvLen: 0, qLen: 17 },
          { kvLen: 257, qLen: 200, kvStart: 43 },
          { kvLen: 256, qLen: 3, qRow: 197 },
          { kvLen: 128, qLen: 0 },
        ],
      },
      order,
    ),
  )
})

/** Dims of texts and dims between them; each with a number of rows that ends inside a tile. */
describe('dims', () => {
  test.each<[of: Text, run: readonly (readonly [headDim: number, valueDim: number])[]]>([
    [text(causal, 64, 'f16'), [[64, 64], [40, 57], [1, 1], [63, 8]]],
    [text(full, 96), [[96, 96], [70, 90]]],
    [text(causal, 128, 'f16'), [[128, 128], [128, 64], [100, 121]]],
    [text(full, 192, 'bf16', 128), [[192, 128]]],
    [text(causal, 192), [[192, 192], [160, 140]]],
    [text(full, 256, 'f16'), [[256, 256], [200, 255]]],
  ])('$dtype, $dims', async (of, run) => {
    for (const dims of run)
      expect(await difference(kernels.of(of), { ...of, dims }, { heads: [3, 1], rows: [150, 210] })).toBeNull()
    const lengths = [{ kvLen: 97, qLen: 60, kvStart: 5 }, { kvLen: 200, qLen: 131, qRow: 3 }]
    await expectRight(of, { batch: 2, heads: [2, 2], rows: [140, 210], lengths }, 3)
  }) // oxfmt-ignore

  test.each([1, 2])('row %i of the shape table', (row) =>
    expectRight({ ...text(causal, 64), row }, { batch: 2, heads: [2, 1], rows: [210, 330] }, 2),
  )
})

describe('patterns', () => {
  const lengths = [{ kvLen: 190, qLen: 100, kvStart: 20 }, {}]
  const params = { window: 40, sinkTokens: 9 }
  test.each<[of: Text, options: Partial<Case>]>([
    [text(aShape, 128), { params }],
    [text(alibi, 64), { tables: { slope: Float32Array.of(0.1, 0.01, 0.5, 0) } }],
    [text(softcap, 128, 'f16'), { params: { cap: 2 } }],
    [text(sinkLogit, 128), { tables: { sink: Float32Array.of(1.5, -2, 0, 30) } }],
    [text(document, 64, 'f16'), { tables: { docId: Int32Array.from({ length: 430 }, (_, i) => [0, 7, 1, 7][Math.floor((i % 215) / 55)]!) } }],
  ])('$pattern.name', async (of, options) => {
    const given: Case = { batch: 2, heads: [4, 2], rows: [160, 215], ...options }
    await expectRight(of, given)
    await expectRight(of, { ...given, lengths }, 3)
    await expectRight(of, { ...given, scale: -0.2 }, 1)
    await expectRight(of, { ...given, scale: 0, lengths: [{ kvLen: 0 }, {}] })
  }) // oxfmt-ignore
})

test('a device of capability 9.0 takes the Hopper text, one of 8.0 does not', async () => {
  const artifact = emitCuda(compiled(causal), { headDims: [64], dtypes: ['bf16'] })
  const [q, k, v] = [1, 2, 3].map((seed) => randomTensor([1, 2, 70, 64], 'bf16', seed))
  const call = { q: q!, k: k!, v: v! }
  const hopper = loadCudaKernel(artifact, driver)
  expect((await cudaAttention(hopper, call)).variant).toBe('d64-bf16-hopper')
  const old = await openEmulation()
  const variant = 'd64-bf16-hopper'
  await expect(cudaAttention(loadCudaKernel(artifact, old), { ...call, variant })).rejects.toThrow(
    'it is for compute capability 9.0, the device has 8.0',
  )
  hopper.release()
  old.release()
})

describe('what is left out of the text is noticed', () => {
  const CAUSAL = text(causal, 64)
  const artifact = artifactOf(CAUSAL)
  const given: Case = { heads: [2, 1], rows: [210, 300], lengths: [{ kvLen: 290, qLen: 210, kvStart: 3 }] }

  test.each<[about: string, from: string, to: string, message: RegExp]>([
    ['waiting for K', '    barrierWait(sharedAddress(&book->kFull[k.stage]), k.parity);\n', '', /product in line \d+ reads what the box of line \d+ is still to bring/],
    ['the parity of a second round', 'parity ^= 1u;', '', /has its 1 arrivals already/],
    ['releasing V', 'release(book->vEmpty[v.stage]);', '', /no thread can go on: .*for parity 0 of barrier \d+.* of 12 arrivals/],
    ['half the bytes of V', 'barrierExpect(full, V_BYTES);', 'barrierExpect(full, V_BYTES / 2);', /more than its phase expects/],
    ['the fence after ordinary stores', '  fenceAsync();\n  syncLanes();\n}', '  syncLanes();\n}', /out|lse/],
    ['waiting before K is released', 'productWait<1>();\n      pin(s);\n      endScores();', 'endScores();\n      productWait<1>();\n      pin(s);', /copyBox in line \d+ writes what the product of line \d+ still reads/],
    ['waiting before weights are rounded', 'productWait<0>();\n      endOutputs();\n      roundWeights();', 'roundWeights();\n      productWait<0>();\n      endOutputs();', /changed its part of `a`/],
    ['zeros behind the last key', 'place.kvStart + place.kvLen < call.kvRows', 'false', /out/],
  ])('%s', async (_, from, to, message) => {
    const changed = rewritten(artifact, (code) => {
      expect(code.split(from)).toHaveLength(2)
      return code.replace(from, to)
    })
    let told: string | null = null
    for (let order = 0; told === null && order < 5; order++) {
      // A launch that fails leaves the counters of its device as they are.
      const own = await openEmulation({ ...DEVICE, order })
      told = await difference(loadCudaKernel(changed, own), CAUSAL, given).catch((error: Error) => error.message)
      own.release()
    }
    expect(told).toMatch(message)
  }) // oxfmt-ignore
})

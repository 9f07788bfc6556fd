/** Patterns that choose by the data on CUDA: every kernel of a program on the emulation, end to end against the oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { halfArray } from '../../runtime/half.ts'
import type { ParamValues } from '../../runtime/params.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { elements, maxDifference } from '../helpers.ts'
import { LONG_HEAD_DIM, longCase } from '../runtime/long-rows.ts'
import { METHOD_NAMES, stageCase, type StageSizes } from '../runtime/stage-cases.ts'

const driver = await openEmulation({ multiprocessors: 2 })
afterAll(() => driver.release())

const BASE: StageSizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 75, headDim: 8 }

const stored = ({ data, shape }: Tensor, dtype: CudaDtype): Tensor =>
  dtype === 'bf16'
    ? { data: bfloatArray(data as Float32Array), shape, dtype }
    : { data: halfArray(data as Float32Array), shape }

async function differences(
  name: string,
  dtype: CudaDtype,
  all: readonly StageSizes[],
  params: ParamValues = {},
): Promise<void> {
  const compiled = stageCase(name, all[0]!, 1).compiled
  const { headDim } = all[0]!
  const artifact = emitCuda(compiled, { headDims: [headDim], dtypes: [dtype] })
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  for (const [seed, sizes] of all.entries()) {
    const made = stageCase(name, sizes, seed + 1)
    const [q, k, v] = [made.call.q, made.call.k, made.call.v].map((t) => stored(t, dtype)) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    const call = { ...made.call, q, k, v, params: { ...made.call.params, ...params } }
    const got = await cudaAttention(kernel, call)
    const { pattern } = made
    const about = `${name} ${JSON.stringify(sizes)}`
    const oracle = reference(pattern, call)
    if (oracle.lse.some(Number.isNaN)) {
      // A gated sum has no log-sum-exp, by which the comparison tells rows that kernels promise nothing of.
      const plain = plain16(pattern, call)
      expect(got.lse.data.every(Number.isNaN), about).toBe(true)
      expect(maxDifference(elements(got.out), oracle.out), about).toBeLessThan(
        2 * maxDifference(plain.out, oracle.out) + 1e-5,
      )
      continue
    }
    const compared = compareWithOracle(pattern, call, got, oracle, plain16(pattern, call))
    expect(compared.difference, about).toBeNull()
  }
  driver.synchronize()
  kernel.release()
}

describe('against the oracle', () => {
  test.each(METHOD_NAMES)('%s', { timeout: 300_000 }, async (name) => {
    await differences(name, 'bf16', [
      BASE,
      { ...BASE, qLen: 1, kvLen: 66 },
      // The gates of the test's branches are for one batch entry.
      { ...BASE, qLen: 21, kvLen: 70, batch: name === 'nsa' ? 1 : 2 },
    ])
  })

  test(
    "minference's heads of one kind alone, as most of its profiles have them",
    { timeout: 300_000 },
    async () => {
      const lines = { vertical: 5, slash: 9, k: 0, window: 0, sinkTokens: 0 }
      await differences('minference', 'bf16', [{ ...BASE, qLen: 40, kvLen: 61 }], lines)
    },
  )
})

describe('rows of more cells than a workgroup holds at once', () => {
  test.each(['count', 'mass'] as const)('keys by %s', { timeout: 300_000 }, async (keysBy) => {
    const { pattern, compiled, call } = longCase(40_000, keysBy)
    const artifact = emitCuda(compiled, { headDims: [LONG_HEAD_DIM], dtypes: ['bf16'] })
    const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
    const [q, k, v] = [call.q, call.k, call.v].map((t) => stored(t, 'bf16')) as [Tensor, Tensor, Tensor]
    const asked = { ...call, q, k, v }
    const got = await cudaAttention(kernel, asked)
    const plain = plain16(pattern, asked)
    expect(compareWithOracle(pattern, asked, got, reference(pattern, asked), plain).difference).toBeNull()
    kernel.release()
  })
})

describe('what a call may not ask', () => {
  const coded = (code: string) => expect.objectContaining({ name: 'HeddleError', code })
  const kernelFor = (name: string) => {
    const { compiled, call } = stageCase(name, BASE, 1)
    const artifact = emitCuda(compiled, { headDims: [BASE.headDim], dtypes: ['bf16'] })
    const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
    return { call, ask: (more: object) => cudaAttention(kernel, { ...call, ...more }) }
  }

  test('pages, and lengths of its batch entries', async () => {
    const { ask } = kernelFor('moba')
    // Of one sequence whose keys lie in one page: the tensors are what they were.
    await expect(ask({ pages: { table: Int32Array.of(0) } })).rejects.toThrow(coded('stages-pages'))
    await expect(ask({ lengths: [{}] })).rejects.toThrow(coded('stages-lengths'))
  })

  test('rows that are missing, unknown, or of another shape', async () => {
    const { call, ask } = kernelFor('dsa')
    const { qIndex, kIndex } = call.rows as Record<string, Tensor>
    await expect(ask({ rows: { qIndex: qIndex! } })).rejects.toThrow(coded('table-missing'))
    await expect(ask({ rows: { ...call.rows, other: kIndex! } })).rejects.toThrow(coded('table-unknown'))
    await expect(ask({ rows: { qIndex: qIndex!, kIndex: qIndex! } })).rejects.toThrow(coded('shape'))
  })
})

/** Patterns that choose by the data on CUDA: every kernel of a program on the emulation, end to end against the oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { halfArray } from '../../runtime/half.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { stageCase, type StageSizes } from '../runtime/stage-cases.ts'

const driver = await openEmulation({ multiprocessors: 2 })
afterAll(() => driver.release())

const METHODS = [
  'minference-block',
  'moba',
  'quest',
  'minference-vertical-slash',
  'anchor',
  'xattention',
  'dsa',
  'hisa',
  'pbs',
]

const BASE: StageSizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 75, headDim: 8 }

const stored = ({ data, shape }: Tensor, dtype: CudaDtype): Tensor =>
  dtype === 'bf16'
    ? { data: bfloatArray(data as Float32Array), shape, dtype }
    : { data: halfArray(data as Float32Array), shape }

async function differences(name: string, dtype: CudaDtype, all: readonly StageSizes[]): Promise<void> {
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
    const call = { ...made.call, q, k, v }
    const got = await cudaAttention(kernel, call)
    const { pattern } = made
    const compared = compareWithOracle(pattern, call, got, reference(pattern, call), plain16(pattern, call))
    expect(compared.difference, `${name} ${JSON.stringify(sizes)}`).toBeNull()
  }
  driver.synchronize()
  kernel.release()
}

describe('against the oracle', () => {
  test.each(METHODS)('%s', { timeout: 300_000 }, async (name) => {
    await differences(name, 'bf16', [
      BASE,
      { ...BASE, qLen: 1, kvLen: 66 },
      { ...BASE, qLen: 21, kvLen: 70, batch: 2 },
    ])
  })
})

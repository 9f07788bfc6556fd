/** Estimates of a few rows on CUDA, emulated: warps that have columns of one row give what tiles do. */

import { afterAll, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import { loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { kernelsOf } from '../../runtime/cuda/stored.ts'
import { stageCase, type StageSizes } from '../runtime/stage-cases.ts'
import { brainDifference } from './brain-call.ts'

const driver = await openEmulation({ multiprocessors: 2 })
afterAll(() => driver.release())

/** More heads than are staged at once; a step of one row whose keys end within a page; as many rows as are few, and one more. */
const SIZES: readonly Omit<StageSizes, 'headDim'>[] = [
  { batch: 1, qHeads: 12, kvHeads: 1, qLen: 1, kvLen: 69 },
  { batch: 2, qHeads: 4, kvHeads: 2, qLen: 8, kvLen: 77 },
  { batch: 1, qHeads: 4, kvHeads: 2, qLen: 9, kvLen: 41 },
  { batch: 1, qHeads: 2, kvHeads: 2, qLen: 1, kvLen: 1 },
]

// Channels of one thread: fewer than one for each, whole ones, a part of the last, and the most; and as many as the call says.
test.each([
  ['quest', 8],
  ['quest', 64],
  ['quest', 256],
  ['moba', 40],
  ['minference-block', 32],
  ['dsa', 16],
] as const)('%s, head dim %i', { timeout: 300_000 }, async (name, headDim) => {
  const [first] = SIZES
  const { compiled, pattern } = stageCase(name, { ...first!, headDim }, 1)
  const artifact = emitCuda(compiled, { headDims: [headDim], dtypes: ['bf16'] })
  const ids = kernelsOf(artifact.stages!.variants[0]!).flatMap((k) => k.forms.map((f) => f.id))
  expect(ids).toContain('few')
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  for (const [i, sizes] of SIZES.entries()) {
    const { call } = stageCase(name, { ...sizes, headDim }, i + 1)
    expect(await brainDifference(kernel, pattern, call), JSON.stringify(sizes)).toBeNull()
  }
  driver.synchronize()
  kernel.release()
})

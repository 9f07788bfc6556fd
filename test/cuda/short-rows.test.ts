/** Short rows on CUDA, emulated: keys chosen by a part of a warp, a warp, and a workgroup are the oracle's. */

import { afterAll, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import type { CudaStageKernel } from '../../codegen/cuda/manifest.ts'
import { loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { kernelsOf } from '../../runtime/cuda/stored.ts'
import { textOn } from '../../runtime/cuda/stages.ts'
import { sizesOfCall } from '../../runtime/stage-sizes.ts'
import { stageCase } from '../runtime/stage-cases.ts'
import { SHORT_CHOICES, SHORT_HEAD_DIM, shortCall, shortCalls, shortProgram } from '../runtime/short-rows.ts'
import { brainDifference } from './brain-call.ts'

const driver = await openEmulation({ multiprocessors: 2 })
afterAll(() => driver.release())

const artifactOf = (choice: (typeof SHORT_CHOICES)[number]) => {
  const { pattern, compiled } = shortProgram(choice)
  return { pattern, artifact: emitCuda(compiled, { headDims: [SHORT_HEAD_DIM], dtypes: ['bf16'] }) }
}

test.each(SHORT_CHOICES)('by %s', { timeout: 300_000 }, async (choice) => {
  const { pattern, artifact } = artifactOf(choice)
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  for (const call of shortCalls(choice, [64, 256, 1024])) {
    const about = JSON.stringify([call.q.shape, call.k.shape, call.params])
    expect(await brainDifference(kernel, pattern, call), about).toBeNull()
  }
  driver.synchronize()
  kernel.release()
})

test('statistics of a softmax are those of a warp, or of a workgroup', { timeout: 300_000 }, async () => {
  const name = 'minference-vertical-slash'
  const sizes = (kvLen: number) => ({ batch: 1, qHeads: 2, kvHeads: 1, qLen: 5, kvLen, headDim: 8 })
  const { compiled, pattern } = stageCase(name, sizes(1024), 1)
  const artifact = emitCuda(compiled, { headDims: [8], dtypes: ['bf16'] })
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  const statistics = kernelsOf(artifact.stages!.variants[0]!).find((k) => k.name.startsWith('statistics'))
  expect(statistics!.forms.map((f) => f.id)).toEqual(['cells1024'])
  for (const kvLen of [40, 1024, 1025]) {
    const { call } = stageCase(name, sizes(kvLen), kvLen)
    expect(await brainDifference(kernel, pattern, call), String(kvLen)).toBeNull()
  }
  kernel.release()
})

test('the text is the first that holds a row', () => {
  const { artifact } = artifactOf('count')
  const select = kernelsOf(artifact.stages!.variants[0]!).find((k) => k.name.startsWith('select'))!
  const powers = { capability: 80, maxSharedBytes: 101_376, vectors: false }
  const idFor = (kernel: CudaStageKernel, kvLen: number): string | null => {
    const { params } = shortCall(1, 1, { count: 1 })
    const sizes = { batch: 1, qHeads: 2, kvHeads: 1, qRows: 1, kvRows: kvLen, headDim: 4, valueDim: 4 }
    const values = new Map(Object.entries(params).map(([name, x]) => [name, [x]]))
    const call = { sizes, scale: 1, params: values, rows: new Map(), indexHeads: 0 }
    const { hash } = textOn(kernel, powers, sizesOfCall(call))
    return kernel.forms.find((f) => f.hash === hash)?.id ?? null
  }
  const asked = [1, 64, 65, 256, 257, 1024, 1025].map((kvLen) => idFor(select, kvLen))
  expect(asked).toEqual(['cells64', 'cells64', 'cells256', 'cells256', 'cells1024', 'cells1024', null])
})

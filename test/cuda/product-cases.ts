/** Calls of programs whose kernels make products of panels: a device in; tests of it against the oracle out. */

import { describe, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver } from '../../runtime/cuda.ts'
import { halfArray } from '../../runtime/half.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { judge } from '../../runtime/testing/judge.ts'
import { stageCase, type StageCase, type StageSizes } from '../runtime/stage-cases.ts'

/** Three tiles of keys and two of queries, none of them whole. */
export const SIZES: StageSizes = { batch: 1, qHeads: 2, kvHeads: 1, qLen: 139, kvLen: 277, headDim: 40 }

const stored = ({ data, shape }: Tensor, dtype: CudaDtype): Tensor =>
  dtype === 'bf16'
    ? { data: bfloatArray(data as Float32Array), shape, dtype }
    : { data: halfArray(data as Float32Array), shape }

/** How the device is wrong, or null. */
export const difference = (
  driver: CudaDriver,
  name: string,
  dtype: CudaDtype,
  sizes: StageSizes,
  consts: Readonly<Record<string, number>> = {},
): Promise<string | null> => differenceOf(driver, stageCase(name, sizes, 11, consts), dtype, sizes.headDim)

/** The same of a case that was made already. */
export async function differenceOf(
  driver: CudaDriver,
  { compiled, pattern, call: made }: StageCase,
  dtype: CudaDtype,
  headDim: number,
): Promise<string | null> {
  const artifact = emitCuda(compiled, { headDims: [headDim], dtypes: [dtype] })
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  const [q, k, v] = [stored(made.q, dtype), stored(made.k, dtype), stored(made.v, dtype)]
  const call = { ...made, q, k, v }
  const got = await cudaAttention(kernel, call)
  kernel.release()
  // A number that is rounded to few bits may fall to either side.
  return judge(pattern, call, got, reference(pattern, call), plain16(pattern, call)).difference
}

const METHODS = ['xattention', 'anchor', 'moba', 'quest', 'dsa', 'hisa', 'minference-vertical-slash', 'pbs']

/** Tiles that are cut, chunks that begin within a block, vectors of any width, both types of halves. */
export function testProducts(driver: CudaDriver): void {
  describe('against the oracle', () => {
    test.each(METHODS)('%s over several tiles', { timeout: 300_000 }, async (name) => {
      expect(await difference(driver, name, 'bf16', SIZES)).toBeNull()
    })

    test('IEEE halves, whose eleven bits are two parts beside an f32', { timeout: 300_000 }, async () => {
      for (const name of ['moba', 'xattention', 'anchor'])
        expect(await difference(driver, name, 'f16', { ...SIZES, qLen: 37, kvLen: 133 }), name).toBeNull()
    })

    test('vectors that are not in eights', { timeout: 300_000 }, async () => {
      for (const name of ['moba', 'xattention', 'minference-block'])
        expect(
          await difference(driver, name, 'bf16', { ...SIZES, qLen: 37, kvLen: 133, headDim: 20 }),
          name,
        ).toBeNull()
    })
  })
}

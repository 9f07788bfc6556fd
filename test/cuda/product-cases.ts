/** Calls of programs whose kernels make products of panels: a method, a type and lengths in; how a device is wrong, or null, out. */

import { judge } from '../../bench/selection-cases.ts'
import { emitCuda } from '../../codegen/index.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver } from '../../runtime/cuda.ts'
import { halfArray } from '../../runtime/half.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { stageCase, type StageSizes } from '../runtime/stage-cases.ts'

/** Three tiles of keys and two of queries, none of them whole. */
export const SIZES: StageSizes = { batch: 1, qHeads: 2, kvHeads: 1, qLen: 139, kvLen: 277, headDim: 40 }

const stored = ({ data, shape }: Tensor, dtype: CudaDtype): Tensor =>
  dtype === 'bf16'
    ? { data: bfloatArray(data as Float32Array), shape, dtype }
    : { data: halfArray(data as Float32Array), shape }

export async function difference(
  driver: CudaDriver,
  name: string,
  dtype: CudaDtype,
  sizes: StageSizes,
  consts: Readonly<Record<string, number>> = {},
): Promise<string | null> {
  const { compiled, pattern, call: made } = stageCase(name, sizes, 11, consts)
  const artifact = emitCuda(compiled, { headDims: [sizes.headDim], dtypes: [dtype] })
  const kernel = loadCudaKernel(JSON.stringify(artifact), driver)
  const [q, k, v] = [stored(made.q, dtype), stored(made.k, dtype), stored(made.v, dtype)]
  const call = { ...made, q, k, v }
  const got = await cudaAttention(kernel, call)
  kernel.release()
  // A number that is rounded to few bits may fall to either side.
  return judge(pattern, call, got).difference
}

export const METHODS = [
  'xattention',
  'anchor',
  'moba',
  'quest',
  'dsa',
  'hisa',
  'minference-vertical-slash',
  'pbs',
]

/** A kernel of brain floats and a call in f32 in; where its answer to the rounded call differs from the oracle's, or null, out. */

import { bfloatArray } from '../../runtime/bfloat.ts'
import { cudaAttention, type CudaKernel } from '../../runtime/cuda.ts'
import { plain16, reference, type ReferenceCall } from '../../runtime/reference.ts'
import type { Tensor } from '../../runtime/tensor.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import type { Program } from '../helpers.ts'

const brain = ({ data, shape }: Tensor): Tensor => ({
  data: bfloatArray(data as Float32Array),
  shape,
  dtype: 'bf16',
})

export async function brainDifference(
  kernel: CudaKernel,
  pattern: Program['pattern'],
  given: ReferenceCall,
): Promise<string | null> {
  const call = { ...given, q: brain(given.q), k: brain(given.k), v: brain(given.v) }
  const got = await cudaAttention(kernel, call)
  return compareWithOracle(pattern, call, got, reference(pattern, call), plain16(pattern, call)).difference
}

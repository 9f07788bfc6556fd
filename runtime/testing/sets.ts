/** Which keys a kernel lets each query attend, exactly: values with a single one in each row in, the first difference out. */

import type { Pattern } from '../../dsl/index.ts'
import { bfloatArray } from '../bfloat.ts'
import { halfArray } from '../half.ts'
import { reference, type ReferenceCall } from '../reference.ts'
import { readView, viewOf, type StorageDtype, type Tensor } from '../tensor.ts'
import type { KernelResult } from './compare.ts'

/** Weights below it may be rounded to nothing. */
const LEAST: Readonly<Record<StorageDtype, number>> = { f32: 1e-30, bf16: 1e-30, f16: 1e-6 }

/** Row r has its one in column r - first; rows outside [first, first + dim) have none. */
function oneHot({ shape, dtype: tag, data }: Tensor, first: number): Tensor {
  const [batch, heads, rows, dim] = shape
  const values = new Float32Array(batch * heads * rows * dim)
  for (let head = 0; head < batch * heads; head++) {
    for (let c = 0; c < dim && first + c < rows; c++) values[(head * rows + first + c) * dim + c] = 1
  }
  if (data instanceof Float32Array) return { data: values, shape }
  return tag === 'bf16'
    ? { data: bfloatArray(values), dtype: tag, shape }
    : { data: halfArray(values), shape }
}

/**
 * Asks the kernel as often as it takes to give each key a column of its own.
 * @param call `v` gives shape and type alone
 * @returns the first query and key that the kernel and the pattern disagree about, in words; null if there is none
 */
export async function setDifference(
  pattern: Pattern,
  call: ReferenceCall,
  answer: (call: ReferenceCall) => Promise<KernelResult>,
): Promise<string | null> {
  const { dtype, shape } = viewOf('v', call.v, call.layout)
  const [, , kvRows, dim] = shape
  for (let first = 0; first < Math.max(1, kvRows); first += dim) {
    const v = { ...oneHot(call.v, first), layout: 'bhld' as const }
    const asked = { ...call, v }
    const want = reference(pattern, asked).out
    const got = readView(viewOf('out', (await answer(asked)).out))
    for (let at = 0; at < want.length; at++) {
      const wrong = want[at] === 0 ? got[at] !== 0 : want[at]! > LEAST[dtype] && !(got[at]! > 0)
      if (!wrong) continue
      const row = Math.floor(at / dim)
      const weight = `weight ${got[at]}, the oracle's ${want[at]}`
      return `row ${row} of all batch entries and heads, key row ${first + (at % dim)}: ${weight}`
    }
  }
  return null
}

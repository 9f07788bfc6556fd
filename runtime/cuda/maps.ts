/** Tensor maps: a manifest's rule and a tensor of the call in; the 128 bytes that the kernel takes, made once, out. */

import type { TensorMapRule } from '../../codegen/cuda/manifest.ts'
import type { Address, CudaDriver, TensorMapSpec } from './driver.ts'
import { VECTOR, type DeviceView } from './tensor.ts'

const MOST = 512
const BYTES = 2

/** Of dimensions of one the stride means nothing, but a map wants one that it could step by. */
function stepOf(count: number, stride: number, otherwise: number): number {
  return count > 1 ? stride * BYTES : Math.ceil((otherwise * BYTES) / VECTOR) * VECTOR
}

/** A tensor without rows becomes one row of zeros: maps have no empty dimensions, and outside it all is zero too. */
export function mapSpec(rule: TensorMapRule, view: DeviceView, empty: () => Address): TensorMapSpec {
  const [batch, heads, rows, dim] = view.shape
  const [batchStride, headStride, rowStride] = view.strides
  const form = { dtype: view.dtype, box: [rule.columns, rule.rows] as const, swizzle: rule.swizzle }
  if (rows === 0) {
    const step = stepOf(1, 0, dim)
    return { ...form, address: empty(), sizes: [dim, 1, 1, 1], strides: [step, step, step] }
  }
  return {
    ...form,
    address: view.address,
    sizes: [dim, rows, heads, batch],
    strides: [stepOf(rows, rowStride, dim), stepOf(heads, headStride, dim), stepOf(batch, batchStride, dim)],
  }
}

export class TensorMaps {
  readonly #driver: CudaDriver
  readonly #made = new Map<string, Uint8Array>()

  constructor(driver: CudaDriver) {
    this.#driver = driver
  }

  of(spec: TensorMapSpec): Uint8Array {
    const { address, dtype, sizes, strides, box, swizzle } = spec
    const key = `${address} ${dtype} ${sizes.join()} ${strides.join()} ${box.join()} ${swizzle}`
    let map = this.#made.get(key)
    if (map === undefined) {
      if (this.#made.size >= MOST) this.#made.clear()
      map = this.#driver.tensorMap(spec)
      this.#made.set(key, map)
    }
    return map
  }
}

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

/**
 * A tensor without rows becomes one row of zeros: maps have no empty dimensions, and outside it all is zero too.
 * @param step of the rule, evaluated for the call; null: rows are taken in their own order
 */
export function mapSpec(
  rule: TensorMapRule,
  view: DeviceView,
  step: number | null,
  empty: () => Address,
): TensorMapSpec {
  const [batch, heads, rows, dim] = view.shape
  const [batchStride, headStride, rowStride] = view.strides
  const form = { dtype: view.dtype, box: [rule.columns, rule.rows] as const, swizzle: rule.swizzle }
  const residues = step === null ? [] : [step]
  if (rows === 0) {
    const one = stepOf(1, 0, dim)
    const others = [...residues.map(() => 1), 1, 1]
    return { ...form, address: empty(), sizes: [dim, 1, ...others], strides: [one, ...others.map(() => one)] }
  }
  const outer = [stepOf(heads, headStride, dim), stepOf(batch, batchStride, dim)]
  const inner = step === null ? [rows] : [Math.max(1, Math.floor(rows / step)), step]
  const steps = inner.map((n, i) => stepOf(n, i === 0 ? rowStride * (step ?? 1) : rowStride, dim))
  return {
    ...form,
    address: view.address,
    sizes: [dim, ...inner, heads, batch],
    strides: [...steps, ...outer],
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

/** cudaAttention(): tensors on the host in, output and LSE on the host out, through memory of the device for this one call. */

import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray, fromBfloat } from '../bfloat.ts'
import { fromHalf, halfArray } from '../half.ts'
import { resolveTables, type TableData } from '../tables.ts'
import {
  checkDtypes,
  checkLayout,
  emptyLike,
  extentOf,
  viewOf,
  type Layout,
  type Shape,
  type Tensor,
  type View,
} from '../tensor.ts'
import { cudaSizes, type CudaCallOptions } from './call.ts'
import type { Address, CudaDriver } from './driver.ts'
import type { CudaKernel } from './kernel.ts'
import type { DeviceTensor } from './tensor.ts'

export interface CudaAttentionCall extends CudaCallOptions {
  /** Half or brain floats as bits (see Tensor.dtype), or a Float32Array, which is rounded to `dtype`. */
  readonly q: Tensor
  /** With `pages`: [pages, kvHeads, page size, headDim]. */
  readonly k: Tensor
  readonly v: Tensor
  /** What a Float32Array is rounded to; bf16 by default. */
  readonly dtype?: CudaDtype
  /** A typed array for each of the pattern's tables, row-major. */
  readonly tables?: Readonly<Record<string, TableData>>
  /** Measures the kernel on the device's own clock. */
  readonly timestamps?: boolean
}

export interface CudaAttentionResult {
  /** Of q's kind, [batch, heads, qLen, valueDim], in the call's layout. */
  readonly out: Tensor & { readonly layout: Layout }
  /** Natural log of the sum of exponentials, the sink logit included; -Infinity for a row that attends nothing. */
  readonly lse: {
    readonly data: Float32Array
    readonly shape: readonly [batch: number, heads: number, qLen: number]
  }
  /** Milliseconds in the kernel, without transfers; null unless `timestamps` was asked for. */
  readonly kernelMs: number | null
  /** The id of the variant that ran. */
  readonly variant: string
}

/** Computes a kernel's attention for tensors on the host. */
export async function cudaAttention(
  kernel: CudaKernel,
  given: CudaAttentionCall,
): Promise<CudaAttentionResult> {
  const { artifact, driver } = kernel
  const layout = given.layout ?? 'bhld'
  checkLayout('layout', layout)
  const views = (['q', 'k', 'v'] as const).map((name) => viewOf(name, given[name], layout)) as [
    View,
    View,
    View,
  ]
  const stored = checkDtypes(views[0], views.slice(1))
  const dtype: CudaDtype = stored === 'f32' ? (given.dtype ?? 'bf16') : stored
  const [q, k, v] = views
  const sizes = cudaSizes(q.shape, k.shape, v.shape, given.pages)
  const { batch, qHeads, qRows, valueDim } = sizes
  const tables = resolveTables(artifact.tables, given.tables, sizes)
  const outShape: Shape = [batch, qHeads, qRows, valueDim]
  const held = new Held(driver)
  try {
    const place = (view: View): DeviceTensor => {
      const extent = extentOf(view.shape, view.strides)
      const data = bitsOf(view.data.subarray(0, extent), dtype)
      return { address: held.copy(data), shape: view.shape, strides: view.strides, dtype }
    }
    const count = batch * qHeads * qRows
    const [outBytes, lseBytes] = [2 * count * valueDim, 4 * count]
    const out: DeviceTensor = { address: held.blank(outBytes), shape: outShape, layout, dtype }
    const lse = held.blank(lseBytes)
    const prepared = await kernel.prepare({
      ...optionsOf(given),
      q: place(q),
      k: place(k),
      v: place(v),
      out,
      lse,
      tables: Object.fromEntries(tables.map((t) => [t.info.name, held.copy(t.data)])),
    })
    const kernelMs = given.timestamps === true ? timed(driver, () => prepared.run()) : null
    if (kernelMs === null) prepared.run()
    const result = emptyLike(given.q.data, outShape, layout)
    const bits = stored === 'f32' ? new Uint16Array(outBytes / 2) : result.data
    const logs = new Float32Array(count)
    driver.copyOut(bytesOf(bits), out.address)
    driver.copyOut(bytesOf(logs), lse)
    if (stored === 'f32') {
      const decode = dtype === 'bf16' ? fromBfloat : fromHalf
      bits.forEach((x, i) => (result.data[i] = decode(x)))
    }
    return {
      out: stored === 'bf16' ? { ...result, dtype: 'bf16' } : result,
      lse: { data: logs, shape: [batch, qHeads, qRows] },
      kernelMs,
      variant: prepared.variant,
    }
  } finally {
    held.free()
  }
}

/** The options that both forms of a call share. */
function optionsOf({ params, scale, lengths, pages, variant }: CudaAttentionCall): CudaCallOptions {
  return {
    ...(params === undefined ? {} : { params }),
    ...(scale === undefined ? {} : { scale }),
    ...(lengths === undefined ? {} : { lengths }),
    ...(pages === undefined ? {} : { pages }),
    ...(variant === undefined ? {} : { variant }),
  }
}

const bytesOf = (data: ArrayBufferView): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** What kernels read: bits as they are, numbers rounded to them. */
function bitsOf(data: Float32Array | Uint16Array, dtype: CudaDtype): Uint16Array {
  if (data instanceof Uint16Array) return data
  return dtype === 'bf16' ? bfloatArray(data) : halfArray(data)
}

/** Memory of one call. */
class Held {
  readonly #driver: CudaDriver
  readonly #held: Address[] = []

  constructor(driver: CudaDriver) {
    this.#driver = driver
  }

  #take(bytes: number): Address {
    const address = this.#driver.alloc(bytes)
    this.#held.push(address)
    return address
  }

  copy(data: ArrayBufferView): Address {
    const address = this.#take(data.byteLength)
    this.#driver.copyIn(address, bytesOf(data))
    return address
  }

  /** Bytes that are NaN as 16-bit and as 32-bit floats: a row that no kernel writes does not look like a result. */
  blank(bytes: number): Address {
    const address = this.#take(bytes)
    this.#driver.memset(address, 0xff, bytes)
    return address
  }

  free(): void {
    for (const address of this.#held.splice(0)) this.#driver.free(address)
  }
}

function timed(driver: CudaDriver, run: () => void): number {
  const events = [driver.createEvent(), driver.createEvent()] as const
  try {
    events[0].record()
    run()
    events[1].record()
    return driver.elapsed(...events)
  } finally {
    for (const event of events) event.release()
  }
}

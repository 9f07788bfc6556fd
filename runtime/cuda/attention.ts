/** cudaAttention(): tensors on the host in, output and LSE on the host out, through memory of the device for this one call. */

import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { bfloatArray, fromBfloat } from '../bfloat.ts'
import { fromHalf, halfArray } from '../half.ts'
import { resolveLengths } from '../lengths.ts'
import { resolveLists, type GivenList } from '../lists.ts'
import { packView, scatter } from '../pack.ts'
import { resolveRows } from '../stage-sizes.ts'
import { resolveTables, type TableData } from '../tables.ts'
import {
  checkDtypes,
  checkLayout,
  emptyLike,
  extentOf,
  stridesOf,
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
  /** Of an artefact over lists: which kv units each unit of queries attends. */
  readonly lists?: readonly GivenList[]
  /** Of a pattern with a `forward`: the vectors that it declares, [batch, sharers, tokens, channels], in f32. */
  readonly rows?: Readonly<Record<string, Tensor>>
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

/** In elements. */
const PROGRAM_ALIGN = 4

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
  const { rows, indexHeads } = resolveRows(artifact.stages?.rows ?? [], given.rows, sizes, layout)
  const tables = resolveTables(artifact.tables, given.tables, { ...sizes, indexHeads })
  const lists = resolveLists(artifact.lists ?? [], given.lists, sizes, resolveLengths(given.lengths, sizes))
  // Programs read halves in vectors; kernels of a mask take any alignment.
  const align = artifact.stages === null ? 1 : PROGRAM_ALIGN
  const outShape: Shape = [batch, qHeads, qRows, valueDim]
  const held = new Held(driver)
  try {
    const place = (view: View): DeviceTensor => {
      const { data, strides } = align === 1 ? view : packView(view, 0, view.shape[0], 0, view.shape[1], align)
      const bits = bitsOf(data.subarray(0, extentOf(view.shape, strides)), dtype)
      return { address: held.copy(bits), shape: view.shape, strides, dtype }
    }
    const count = batch * qHeads * qRows
    const result = emptyLike(given.q.data, outShape, layout)
    const outView = viewOf('out', result)
    // Rows of the output on the device, which may be wider than the caller's.
    const row = Math.ceil(valueDim / align) * align
    const outStrides = align === 1 ? outView.strides : stridesOf(outShape, 'bhld', row)
    const [outBytes, lseBytes] = [align === 1 ? 2 * count * valueDim : 2 * count * row, 4 * count]
    const out: DeviceTensor = { address: held.blank(outBytes), shape: outShape, strides: outStrides, dtype }
    const lse = held.blank(lseBytes)
    const prepared = await kernel.prepare({
      ...optionsOf(given),
      q: place(q),
      k: place(k),
      v: place(v),
      out,
      lse,
      tables: Object.fromEntries(tables.map((t) => [t.info.name, held.copy(t.data)])),
      ...(lists.length > 0 ? { lists: lists.map((words) => held.copy(words)) } : {}),
      rows: Object.fromEntries(
        [...rows].map(([name, { data, shape }]) => [name, { address: held.copy(data), shape }]),
      ),
    })
    const kernelMs = given.timestamps === true ? timed(driver, () => prepared.run()) : null
    if (kernelMs === null) prepared.run()
    const bits = new Uint16Array(outBytes / 2)
    const logs = new Float32Array(count)
    driver.copyOut(bytesOf(bits), out.address)
    driver.copyOut(bytesOf(logs), lse)
    const halves = stored === 'f32' ? new Uint16Array(result.data.length) : (result.data as Uint16Array)
    if (align === 1) halves.set(bits)
    else
      scatter(
        { ...outView, data: halves },
        { batchBase: 0, batch, headBase: 0, heads: qHeads },
        bits.buffer,
        row,
      )
    if (stored === 'f32') {
      const decode = dtype === 'bf16' ? fromBfloat : fromHalf
      halves.forEach((x, i) => (result.data[i] = decode(x)))
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

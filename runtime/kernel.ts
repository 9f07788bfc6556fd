/** Kernel: an artefact loaded on a device; records its dispatches into the caller's own compute pass. */
/// <reference lib="esnext.disposable" preserve="true" />

import type { Artifact, Dtype, ListInfo, Variant } from '../codegen/artifact.ts'
import { parseArtifact } from './artifact.ts'
import { uploaded, type Resource } from './call.ts'
import { jobOf, type JobOptions } from './job.ts'
import type { RealLength } from './lengths.ts'
import { checkListCount, listWords, type GivenList } from './lists.ts'
import { HeddleError } from './messages.ts'
import { Lease } from './pool.ts'
import { boundOf, roundBinding, slicesOf, wholeCall, type Placed } from './slices.ts'
import { stageTexts } from './stages.ts'
import { checkTable, checkTableNames, countOf, tableSizes, type TableData } from './tables.ts'
import {
  checkLayout,
  checkShape,
  checkStrides,
  sizesOf,
  stridesOf,
  type Layout,
  type Shape,
  type Sizes,
  type Strides,
} from './tensor.ts'
import { chooseVariant, powersOf, type Wanted } from './variant.ts'
import { Gpu } from './webgpu.ts'

/** A buffer, or a place in one. */
export type BufferRange = GPUBuffer | { readonly buffer: GPUBuffer; readonly offset: number }

export interface EncodeCall extends JobOptions {
  readonly q: BufferRange
  readonly k: BufferRange
  readonly v: BufferRange
  readonly out: BufferRange
  /** f32 bits, [batch, heads, qLen], contiguous. */
  readonly lse: BufferRange
  readonly dtype: Dtype
  /** Logical, [batch, heads, len, dim]. */
  readonly shapes: { readonly q: Shape; readonly k: Shape; readonly v: Shape }
  /** Of tensors without strides. */
  readonly layout?: Layout
  readonly strides?: {
    readonly q?: Strides
    readonly k?: Strides
    readonly v?: Strides
    readonly out?: Strides
  }
  /** Values of tables in buffers are not looked at. */
  readonly tables?: Readonly<Record<string, TableData | GPUBuffer>>
  /** For each list of the kernel what a call gives, or a buffer of the form in codegen/artifact.ts; ids that are not there are dropped. */
  readonly lists?: readonly (GivenList | GPUBuffer)[]
}

/** Small buffers that a recorded call reads. */
export interface Encoded extends Disposable {
  readonly variant: string
  /** Gives them back; call it once the commands have been submitted. */
  release(): void
}

const offsetOf = (range: BufferRange): number => ('buffer' in range ? range.offset : 0)
const bufferOf = (range: BufferRange): GPUBuffer => ('buffer' in range ? range.buffer : range)
const isListBuffer = (x: GivenList | GPUBuffer): x is GPUBuffer => !('counts' in x)
const wholeOf = (buffer: GPUBuffer): Resource => ({
  buffer,
  offset: 0,
  size: buffer.size - (buffer.size % 4),
})

/** The words of those lists that do not lie in buffers yet, by number. */
function givenWords(
  infos: readonly ListInfo[],
  given: readonly (GivenList | GPUBuffer)[],
  sizes: Sizes,
  lengths: readonly RealLength[],
): Map<number, Int32Array<ArrayBuffer>> {
  checkListCount(infos, given)
  return new Map(
    given.flatMap((list, n) =>
      isListBuffer(list) ? [] : [[n, listWords(infos[n]!, n, list, sizes, lengths)] as const],
    ),
  )
}

const isBuffer = (x: TableData | GPUBuffer): x is GPUBuffer => !ArrayBuffer.isView(x)

export class Kernel implements Disposable {
  readonly artifact: Artifact
  readonly device: GPUDevice
  readonly #gpu: Gpu
  readonly #leases = new Set<Lease>()
  #released = false

  /** @param artifact a checked one: `loadKernel` checks */
  constructor(artifact: Artifact, device: GPUDevice) {
    this.artifact = artifact
    this.device = device
    this.#gpu = Gpu.of(device)
    this.#gpu.throwIfLost()
    this.#gpu.retain()
  }

  /** The device's shared state, if the kernel may still be used. */
  open(): Gpu {
    if (this.#released) throw new HeddleError('kernel-released', { pattern: this.artifact.pattern })
    this.#gpu.throwIfLost()
    return this.#gpu
  }

  /** The variant that a call of this form would run; of a pattern that does not select by data. */
  variantFor(wanted: Wanted, id?: string): Variant {
    return chooseVariant(this.artifact, wanted, powersOf(this.device), id)
  }

  /** Compiles a variant, or all kernels of a program, ahead of the first call, so that `encode` need not wait for the driver. */
  async prepare(wanted: Wanted, id?: string): Promise<void> {
    const gpu = this.open()
    const { stages } = this.artifact
    const texts = stages
      ? stageTexts(chooseVariant(stages, wanted, powersOf(this.device), id))
      : [this.variantFor(wanted, id)]
    for (const text of texts) await gpu.compile(text)
  }

  /** Records the attention of tensors that lie in the caller's buffers. Submitting is the caller's. */
  encode(pass: GPUComputePassEncoder, given: EncodeCall): Encoded {
    const gpu = this.open()
    const { artifact, device } = this
    const { shapes, dtype } = given
    checkShape('q', shapes.q)
    checkShape('k', shapes.k)
    checkShape('v', shapes.v)
    const sizes = sizesOf(shapes.q, shapes.k, shapes.v)
    const layout = given.layout ?? 'bhld'
    checkLayout('layout', layout)
    const job = jobOf(artifact, gpu, given, sizes, dtype, layout)
    const tabled = { ...sizes, indexHeads: job.indexHeads }
    checkTableNames(artifact.tables, given.tables ?? {}, tabled)
    const words = givenWords(artifact.lists ?? [], given.lists ?? [], sizes, job.lengths)
    const { batch, qHeads, qRows, valueDim } = sizes
    const outShape: Shape = [batch, qHeads, qRows, valueDim]
    const place = (name: Placed['name'], shape: Shape): Placed => {
      const own = given.strides?.[name]
      if (own !== undefined) checkStrides(name, own)
      const bytesPerElement = dtype === 'f16' ? 2 : 4
      const placed = {
        name,
        shape,
        strides: own ?? stridesOf(shape, layout),
        bytesPerElement,
        offset: offsetOf(given[name]),
      }
      checkAlignment(placed, job.variant.align)
      return placed
    }
    const [q, k, v, out] = [
      place('q', shapes.q),
      place('k', shapes.k),
      place('v', shapes.v),
      place('out', outShape),
    ]
    const { maxStorageBufferBindingSize, minStorageBufferOffsetAlignment } = device.limits
    const limits = {
      maxStorageBufferBindingSize,
      minStorageBufferOffsetAlignment,
      listBytes: job.listBytes,
    }
    const slices = (job.divides ? slicesOf : wholeCall)([q, k, v, out], sizes, limits)
    const lse = rangeOf('lse', given.lse, offsetOf(given.lse), batch * qHeads * qRows * 4)
    const bound = slices.map((slice) => {
      const of = (tensor: Placed) => {
        const { offset, size } = boundOf(tensor, slice, qHeads)
        return rangeOf(tensor.name, given[tensor.name], offset, size)
      }
      return { slice, q: of(q), k: of(k), v: of(v), out: of(out), lse }
    })
    const lease = new Lease(gpu.pool)
    this.#leases.add(lease)
    const release = () => {
      if (this.#leases.delete(lease)) lease.end('keep')
    }
    try {
      const tables = new Map(
        artifact.tables.map((info): [string, Resource] => {
          const data = given.tables![info.name]!
          if (!isBuffer(data))
            return [info.name, uploaded(device, lease, checkTable(info, data, tabled).data)]
          return [info.name, rangeOf(`tables.${info.name}`, data, 0, 4 * countOf(tableSizes(info, tabled)))]
        }),
      )
      const lists = (given.lists ?? []).map((list, n) =>
        isListBuffer(list) ? wholeOf(list) : uploaded(device, lease, words.get(n)!),
      )
      const meta = uploaded(device, lease, job.meta)
      const strides = { q: q.strides, k: k.strides, v: v.strides, out: out.strides }
      for (const { slice, ...tensors } of bound) {
        job.record(pass, slice, strides, { ...tensors, tables, lists, meta }, lease)
      }
    } catch (error) {
      release()
      throw error
    }
    return { variant: job.variant.id, release, [Symbol.dispose]: release }
  }

  /** Gives back what the kernel holds on the device; calls that are under way end well. */
  release(): void {
    if (this.#released) return
    this.#released = true
    for (const lease of this.#leases) lease.end('destroy')
    this.#leases.clear()
    this.#gpu.release()
  }

  [Symbol.dispose](): void {
    this.release()
  }
}

/**
 * Loads a built artefact on a device. Kernels are compiled when they are first called; the device keeps them.
 * @param artifact what `heddle build` wrote: the text of its JSON file, or the record
 */
export function loadKernel(artifact: unknown, device: GPUDevice): Kernel {
  return new Kernel(parseArtifact(artifact), device)
}

function checkAlignment({ name, strides, bytesPerElement, offset }: Placed, align: number): void {
  const what = ['the stride of the batch', 'the stride of heads', 'the stride of rows']
  strides.forEach((got, i) => {
    if (got % align !== 0)
      throw new HeddleError('alignment', { tensor: name, what: what[i]!, multiple: align, got })
  })
  const multiple = Math.max(4, align * bytesPerElement)
  if (offset % multiple !== 0) {
    throw new HeddleError('alignment', { tensor: name, what: 'the byte offset', multiple, got: offset })
  }
}

/** What is bound of a buffer: `size` bytes, up to whole vectors where the buffer goes on. */
function rangeOf(tensor: string, range: BufferRange, offset: number, size: number): Resource {
  const buffer = bufferOf(range)
  const room = buffer.size - offset
  if (room < Math.max(4, size)) {
    throw new HeddleError('tensor-size', { tensor, needed: offset + size, got: buffer.size, unit: 'bytes' })
  }
  return { buffer, offset, size: Math.min(roundBinding(size), room - (room % 4)) }
}

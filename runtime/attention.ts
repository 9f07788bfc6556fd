/** attention(): tensors on the host in, output and LSE on the host out, through buffers that the runtime owns. */

import { uploaded, uploadTables, type Resource } from './call.ts'
import { jobOf, type Job, type JobOptions } from './job.ts'
import type { Kernel } from './kernel.ts'
import { resolveLists, type GivenList } from './lists.ts'
import { HeddleError } from './messages.ts'
import type { Slice } from './meta.ts'
import { packView, scatter } from './pack.ts'
import { Lease, USAGE } from './pool.ts'
import { readBack } from './read-back.ts'
import { roundBinding, slicesOf, wholeCall } from './slices.ts'
import { resolveTables, type TableData } from './tables.ts'
import {
  checkDtypes,
  checkLayout,
  emptyLike,
  sizesOf,
  stridesOf,
  viewOf,
  type Layout,
  type Shape,
  type Sizes,
  type Tensor,
  type View,
} from './tensor.ts'
import type { Gpu } from './webgpu.ts'

export interface AttentionCall extends JobOptions {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  /** A typed array for each of the pattern's tables, row-major. */
  readonly tables?: Readonly<Record<string, TableData>>
  /** One for each list that the kernel was built for. */
  readonly lists?: readonly GivenList[]
  /** Of inputs that name no layout, and of the output. */
  readonly layout?: Layout
  /** Measures the kernel on the GPU's own clock; needs the feature timestamp-query. */
  readonly timestamps?: boolean
}

export interface AttentionResult {
  /** Of q's dtype, [batch, heads, qLen, valueDim]. */
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
export async function attention(kernel: Kernel, given: AttentionCall): Promise<AttentionResult> {
  const gpu = kernel.open()
  const { artifact, device } = kernel
  const layout = given.layout ?? 'bhld'
  checkLayout('layout', layout)
  const [q, k, v] = [viewOf('q', given.q, layout), viewOf('k', given.k, layout), viewOf('v', given.v, layout)]
  const sizes = sizesOf(q.shape, k.shape, v.shape)
  const dtype = checkDtypes(q, [k, v])
  if (given.timestamps && !device.features.has('timestamp-query')) throw new HeddleError('no-timestamps', {})
  const job = jobOf(artifact, gpu, given, sizes, dtype, layout)
  const tables = resolveTables(artifact.tables, given.tables, { ...sizes, indexHeads: job.indexHeads })
  const lists = resolveLists(artifact.lists ?? [], given.lists, sizes, job.lengths)
  for (const text of job.texts) await gpu.compile(text)

  const { batch, qHeads, qRows, valueDim } = sizes
  const outShape: Shape = [batch, qHeads, qRows, valueDim]
  const out = emptyLike(given.q.data, outShape, layout)
  const lse = new Float32Array(batch * qHeads * qRows)
  const views = { q, k, v, out: { ...viewOf('out', out), name: 'out' } }
  const timed = given.timestamps === true
  const inputs: Inputs = { tables: new Map(tables.map((t) => [t.info.name, t.data])), lists }
  const work: Work = { gpu, job, inputs, sizes, views, lse, timed }
  let kernelMs = 0
  for (const slice of planSlices(device, work)) kernelMs += await runSlice(work, slice)
  return {
    out,
    lse: { data: lse, shape: [batch, qHeads, qRows] },
    kernelMs: timed ? kernelMs : null,
    variant: job.variant.id,
  }
}

type Views = Readonly<Record<'q' | 'k' | 'v' | 'out', View>>

/** What the call gives beside tensors. */
interface Inputs {
  readonly tables: ReadonlyMap<string, TableData>
  readonly lists: readonly Int32Array<ArrayBuffer>[]
}

interface Work {
  readonly gpu: Gpu
  readonly job: Job
  readonly inputs: Inputs
  readonly sizes: Sizes
  readonly views: Views
  readonly lse: Float32Array
  readonly timed: boolean
}

/** Every slice has buffers of its own, packed, so that only their sizes are limited. */
function planSlices(device: GPUDevice, { job, sizes, views }: Work): Slice[] {
  const { align, dtype } = job.variant
  const bytesPerElement = dtype === 'f16' ? 2 : 4
  const placed = (['q', 'k', 'v', 'out'] as const).map((name) => {
    const { shape } = views[name]
    return {
      name,
      shape,
      strides: stridesOf(shape, 'bhld', roundUp(shape[3], align)),
      bytesPerElement,
      offset: 0,
    }
  })
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits
  const limits = {
    maxStorageBufferBindingSize: Math.min(maxStorageBufferBindingSize, maxBufferSize),
    minStorageBufferOffsetAlignment: 1,
    listBytes: job.listBytes,
  }
  return job.divides ? slicesOf(placed, sizes, limits) : wholeCall(placed, sizes, limits)
}

const roundUp = (n: number, to: number) => Math.ceil(n / to) * to

/** Uploads, runs and downloads one slice; gives the kernel's milliseconds if the call is timed. */
async function runSlice(work: Work, slice: Slice): Promise<number> {
  const { gpu, sizes } = work
  const lease = new Lease(gpu.pool)
  const queries: GPUQuerySet[] = []
  let outcome: 'keep' | 'destroy' = 'destroy'
  try {
    const run = await gpu.scoped(
      'dispatch',
      () => lease.bytes,
      () => submitSlice(work, slice, lease, queries),
    )
    const { out, lse, times } = run
    const { qRows, qHeads } = sizes
    const rows = slice.batch * slice.heads * qRows
    const first = (slice.batchBase * qHeads + slice.headBase) * qRows
    const regions = [out, { ...lse, offset: 4 * first, size: 4 * rows }, ...(times ? [times] : [])]
    const [outBytes, lseBytes, timeBytes] = await readBack(gpu, lease, regions)
    scatter(work.views.out, slice, outBytes!, run.outRow)
    work.lse.set(new Float32Array(lseBytes!, 0, rows), first)
    outcome = 'keep'
    if (!timeBytes) return 0
    const [start, end] = new BigUint64Array(timeBytes)
    return Number(end! - start!) / 1e6
  } finally {
    lease.end(outcome)
    queries.forEach((set) => set.destroy())
  }
}

function submitSlice(work: Work, slice: Slice, lease: Lease, queries: GPUQuerySet[]) {
  const {
    gpu: { device },
    job,
    inputs,
    sizes,
    views,
    timed,
  } = work
  const { align, dtype } = job.variant
  const { qHeads, kvHeads, batch, qRows, valueDim } = sizes
  const group = qHeads / kvHeads
  const kvFirst = Math.floor(slice.headBase / group)
  const kvCount = Math.floor((slice.headBase + slice.heads - 1) / group) - kvFirst + 1
  const packed = {
    q: packView(views.q, slice.batchBase, slice.batch, slice.headBase, slice.heads, align),
    k: packView(views.k, slice.batchBase, slice.batch, kvFirst, kvCount, align),
    v: packView(views.v, slice.batchBase, slice.batch, kvFirst, kvCount, align),
  }
  const outRow = roundUp(valueDim, align)
  const outShape: Shape = [slice.batch, slice.heads, qRows, valueDim]
  const outStrides = stridesOf(outShape, 'bhld', outRow)
  const outBytes = slice.batch * slice.heads * qRows * outRow * (dtype === 'f16' ? 2 : 4)
  const space = (bytes: number): Resource => {
    const size = roundBinding(bytes)
    return { buffer: lease.take(size, USAGE.storage), offset: 0, size }
  }
  const out = space(outBytes)
  const lse = space(batch * qHeads * qRows * 4)
  const resources = {
    q: uploaded(device, lease, packed.q.data),
    k: uploaded(device, lease, packed.k.data),
    v: uploaded(device, lease, packed.v.data),
    out,
    lse,
    meta: uploaded(device, lease, job.meta),
    tables: uploadTables(device, lease, inputs.tables),
    lists: inputs.lists.map((words) => uploaded(device, lease, words)),
  }
  const strides = { q: packed.q.strides, k: packed.k.strides, v: packed.v.strides, out: outStrides }
  const encoder = device.createCommandEncoder()
  const querySet = timed ? device.createQuerySet({ type: 'timestamp', count: 2 }) : null
  if (querySet) queries.push(querySet)
  const pass = encoder.beginComputePass(
    querySet ? { timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } } : {},
  )
  job.record(pass, slice, strides, resources, lease)
  pass.end()
  let times: Resource | null = null
  if (querySet) {
    times = { buffer: lease.take(16, USAGE.resolve), offset: 0, size: 16 }
    encoder.resolveQuerySet(querySet, 0, 2, times.buffer, 0)
  }
  device.queue.submit([encoder.finish()])
  return { out: { ...out, size: roundUp(outBytes, 4) }, outRow, lse, times }
}

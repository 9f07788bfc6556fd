/** One call of a kernel, checked: sizes and the caller's options in, all that its dispatches need out. */

import type { Artifact, Binding, Variant } from '../codegen/artifact.ts'
import { resolveLengths, type Length, type RealLength } from './lengths.ts'
import { HeddleError } from './messages.ts'
import { listStrideOf, metaWords, uniformBlock, type CallStrides, type Slice } from './meta.ts'
import { resolveParams, type Params, type ParamValues } from './params.ts'
import { USAGE, type Lease } from './pool.ts'
import { gridOf, roundBinding, tilingOf } from './slices.ts'
import type { TableData } from './tables.ts'
import type { Sizes, StorageDtype } from './tensor.ts'
import { chooseVariant, powersOf } from './variant.ts'
import type { Compiled } from './webgpu.ts'

/** What a call may say beside its tensors. */
export interface CallOptions {
  readonly params?: ParamValues
  /** Factor of q . k; headDim ** -0.5 by default. */
  readonly scale?: number
  /** One entry per batch entry, where rows are padding or positions do not start at kvLen - qLen. */
  readonly lengths?: readonly Length[]
  /** Runs this variant, by id, in place of the first that fits. */
  readonly variant?: string
}

export interface Call {
  readonly artifact: Artifact
  readonly variant: Variant
  readonly sizes: Sizes
  readonly scale: number
  readonly params: Params
  readonly lengths: readonly RealLength[]
  readonly meta: Int32Array<ArrayBuffer>
}

export function checkCall(
  artifact: Artifact,
  device: GPUDevice,
  sizes: Sizes,
  dtype: StorageDtype,
  options: CallOptions,
): Call {
  const checked = checkOptions(artifact, sizes, options)
  const variant = chooseVariant(artifact, { ...sizes, dtype }, powersOf(device), options.variant)
  return { ...checked, variant }
}

/** All of a call but the kernel that runs it. */
export function checkOptions(artifact: Artifact, sizes: Sizes, options: CallOptions): Omit<Call, 'variant'> {
  const { headDim, qHeads } = sizes
  const scale: unknown = options.scale ?? headDim ** -0.5
  if (typeof scale !== 'number' || !Number.isFinite(scale)) throw new HeddleError('scale', { got: scale })
  const lengths = resolveLengths(options.lengths, sizes)
  const params = resolveParams(artifact.params, options.params, qHeads)
  return {
    artifact,
    sizes,
    scale,
    params,
    lengths,
    meta: metaWords(artifact, sizes, lengths, params),
  }
}

/** Bytes of a slice's tile lists: one for each batch entry, and for each of its heads unless they share it. */
export function listBytesOf({ artifact, variant, sizes }: Call, { batch, heads }: Slice): number {
  if (variant.entries.list === null) return 0
  const { groups, tiles } = tilingOf(variant, heads, sizes)
  return batch * (artifact.sharesLists ? 1 : groups) * tiles * listStrideOf(sizes.kvRows, variant.tile.kv) * 4
}

/** A range of a buffer, as a bind group takes it. */
export interface Resource {
  readonly buffer: GPUBuffer
  readonly offset: number
  readonly size: number
}

export type Resources = Readonly<Record<'q' | 'k' | 'v' | 'out' | 'lse', Resource>> & {
  /** What kernels of a stage plan hand on to each other. */
  readonly kvOrder?: Resource
  readonly before?: Resource
  readonly state?: Resource
  readonly tables: ReadonlyMap<string, Resource>
  readonly lists: readonly Resource[]
  readonly meta: Resource
}

/** Pieces that one writeBuffer may carry: Dawn stages a copy of each. */
const PIECE = 64 * 2 ** 20

/** Copies into a buffer from its start; sizes that are no multiple of four bytes are filled up with zeros. */
export function upload(device: GPUDevice, buffer: GPUBuffer, data: ArrayBufferView): void {
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  const whole = bytes.length - (bytes.length % 4)
  for (let at = 0; at < whole; at += PIECE) {
    device.queue.writeBuffer(buffer, at, bytes, at, Math.min(PIECE, whole - at))
  }
  if (whole < bytes.length) {
    const rest = new Uint8Array(4)
    rest.set(bytes.subarray(whole))
    device.queue.writeBuffer(buffer, whole, rest)
  }
}

/** A buffer of the lease that holds the data. */
export function uploaded(
  device: GPUDevice,
  lease: Lease,
  data: ArrayBufferView,
  usage: number = USAGE.storage,
): Resource {
  const size = roundBinding(data.byteLength)
  const buffer = lease.take(size, usage)
  upload(device, buffer, data)
  return { buffer, offset: 0, size }
}

export const uploadTables = (
  device: GPUDevice,
  lease: Lease,
  tables: ReadonlyMap<string, TableData>,
): Map<string, Resource> => new Map([...tables].map(([name, data]) => [name, uploaded(device, lease, data)]))

/** Records the dispatches of one slice: the list of tiles where the kernel keeps one, then the attention. */
export function recordSlice(
  device: GPUDevice,
  pass: GPUComputePassEncoder,
  call: Call,
  compiled: Compiled,
  slice: Slice,
  strides: CallStrides,
  resources: Resources,
  lease: Lease,
): void {
  const { variant, sizes, scale, params } = call
  const grid = gridOf(slice, sizes, variant, device.limits.maxComputeWorkgroupsPerDimension)
  if (grid.tiles === 0) return
  const block = uniformBlock(variant, { sizes, slice, grid, scale, strides, params })
  const uniforms = uploaded(device, lease, new Uint8Array(block), USAGE.uniform)
  const listBytes = roundBinding(listBytesOf(call, slice))
  const list =
    variant.entries.list === null
      ? null
      : { buffer: lease.take(listBytes, USAGE.storage), offset: 0, size: listBytes }
  const resourceOf = ({ role, table, part }: Binding): Resource => {
    if (role === 'uniforms') return uniforms
    if (role === 'list') return list!
    if (role === 'part') return resources.lists[part!]!
    return role === 'table' ? resources.tables.get(table!)! : resources[role]!
  }
  const group = device.createBindGroup({
    layout: compiled.layout,
    entries: variant.bindings.map((b) => ({ binding: b.binding, resource: resourceOf(b) })),
  })
  for (const pipeline of [compiled.list, compiled.attend]) {
    if (pipeline === null) continue
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(grid.x, grid.y)
  }
}

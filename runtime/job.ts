/** A checked call of a kernel, whatever its kind: where its tensors have to lie and how its dispatches are recorded out. */

import type { Artifact, Variant } from '../codegen/artifact.ts'
import {
  checkCall,
  checkOptions,
  listBytesOf,
  recordSlice,
  type CallOptions,
  type Resources,
} from './call.ts'
import type { RealLength } from './lengths.ts'
import { HeddleError } from './messages.ts'
import type { CallStrides, Slice } from './meta.ts'
import type { Lease } from './pool.ts'
import { resolveRows } from './stage-sizes.ts'
import { recordStages, textsFor, type StageCall } from './stages.ts'
import type { Layout, Sizes, StorageDtype, Tensor } from './tensor.ts'
import { chooseVariant, powersOf } from './variant.ts'
import type { Compilable, Gpu } from './webgpu.ts'

export interface JobOptions extends CallOptions {
  /** The vectors that a pattern with a `forward` reads beside q, k and v: [batch, sharers, tokens, channels]. */
  readonly rows?: Readonly<Record<string, Tensor>>
}

export interface Job {
  readonly variant: Pick<Variant, 'id' | 'align' | 'dtype'>
  readonly meta: Int32Array<ArrayBuffer>
  readonly lengths: readonly RealLength[]
  /** Heads of a learned scorer; 0 where the call has none. */
  readonly indexHeads: number
  /** What recording needs compiled; it waits for the driver where that has not been done before. */
  readonly texts: readonly Compilable[]
  readonly listBytes: (slice: Slice) => number
  /** False where values pass between heads: the call runs as one. */
  readonly divides: boolean
  readonly record: (
    pass: GPUComputePassEncoder,
    slice: Slice,
    strides: CallStrides,
    resources: Resources,
    lease: Lease,
  ) => void
}

export function jobOf(
  artifact: Artifact,
  gpu: Gpu,
  given: JobOptions,
  sizes: Sizes,
  dtype: StorageDtype,
  layout: Layout,
): Job {
  return (artifact.stages ? stagesJob : attendJob)(artifact, gpu, given, sizes, dtype, layout)
}

const attendJob: typeof jobOf = (artifact, gpu, given, sizes, dtype) => {
  const { device } = gpu
  const call = checkCall(artifact, device, sizes, dtype, given)
  return {
    variant: call.variant,
    meta: call.meta,
    lengths: call.lengths,
    indexHeads: 0,
    texts: [call.variant],
    listBytes: (slice) => listBytesOf(call, slice),
    divides: true,
    record: (pass, slice, strides, resources, lease) =>
      recordSlice(device, pass, call, gpu.compileNow(call.variant), slice, strides, resources, lease),
  }
}

const stagesJob: typeof jobOf = (artifact, gpu, given, sizes, dtype, layout) => {
  const { rows: infos, variants } = artifact.stages!
  if (given.lengths !== undefined) throw new HeddleError('stages-lengths', { pattern: artifact.pattern })
  const { rows, indexHeads } = resolveRows(infos, given.rows, sizes, layout)
  const checked = checkOptions(artifact, sizes, given)
  const variant = chooseVariant({ variants }, { ...sizes, dtype }, powersOf(gpu.device), given.variant)
  const call: StageCall = { ...checked, variant, rows, indexHeads }
  return {
    variant,
    meta: call.meta,
    lengths: call.lengths,
    indexHeads,
    texts: textsFor(variant, call),
    listBytes: () => 0,
    divides: false,
    record: (pass, _, strides, resources, lease) => recordStages(gpu, pass, call, strides, resources, lease),
  }
}

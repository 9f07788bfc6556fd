/** Stages: a `forward` program's kernels and a call in; its dispatches, in one pass and without a word from the host, out. */

import type {
  Artifact,
  JsonExpr,
  StageAttend,
  StageBinding,
  StageForm,
  StageModule,
  StageVariant,
  Variant,
} from '../codegen/artifact.ts'
import { recordSlice, uploaded, type Call, type Resource, type Resources } from './call.ts'
import { HeddleError } from './messages.ts'
import type { CallStrides, Slice } from './meta.ts'
import { USAGE, type Lease } from './pool.ts'
import { roundBinding } from './slices.ts'
import {
  formFor,
  groupsOf,
  sizesOfCall,
  stageUniforms,
  unitsInChunk,
  type RowsData,
  type StageRun,
  type StageSizes,
} from './stage-sizes.ts'
import { stridesOf } from './tensor.ts'
import type { Compilable, Compiled, Gpu } from './webgpu.ts'

/** What a call of a `forward` program has beyond one of a mask. */
export interface StageCall extends Omit<Call, 'variant'> {
  readonly variant: StageVariant
  readonly rows: ReadonlyMap<string, RowsData>
  readonly indexHeads: number
}

type AnyKernel = StageModule | StageAttend

export const kernelsOf = ({ steps }: StageVariant): AnyKernel[] =>
  steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))

type Size = (e: JsonExpr) => number

/** @param form whose text takes the place of the kernel's own */
const moduleText = (kernel: StageModule, form: StageForm | null = null): Compilable => ({
  id: form ? `${kernel.name}.${form.id}` : kernel.name,
  code: (form ?? kernel).code,
  bindings: kernel.bindings,
  entries: { attend: 'run', list: null },
})

/** Every text of a program, to be compiled. */
export const stageTexts = (variant: StageVariant): Compilable[] =>
  kernelsOf(variant).flatMap((kernel) =>
    kernel.kind === 'attend'
      ? [kernel, ...(kernel.forms ?? [])].map((k) => k.variant)
      : [moduleText(kernel), ...(kernel.forms ?? []).map((form) => moduleText(kernel, form))],
  )

/** The texts that calls of these sizes run. */
export function textsFor(variant: StageVariant, call: StageSizes): Compilable[] {
  const size = sizesOfCall(call)
  return kernelsOf(variant).map((kernel) =>
    kernel.kind === 'attend' ? variantFor(kernel, size) : moduleText(kernel, formFor(kernel.forms, size)),
  )
}

const variantFor = (kernel: StageAttend, size: Size): Variant =>
  (formFor(kernel.forms, size) ?? kernel).variant

/** Records all of a call's dispatches; texts that have not been compiled yet are waited for. */
export function recordStages(
  gpu: Gpu,
  pass: GPUComputePassEncoder,
  call: StageCall,
  strides: CallStrides,
  resources: Resources,
  lease: Lease,
): void {
  const { device } = gpu
  const size = sizesOfCall(call)
  const stored = new Map(
    call.variant.stored.map(({ name, words, units }): [string, Resource] => {
      const bytes = roundBinding(4 * size(words))
      checkBinding(device, name, bytes)
      const buffer = lease.take(bytes, USAGE.storage)
      if (units !== null) device.queue.writeBuffer(buffer, 0, Int32Array.of(size(units), 0, 0, 0))
      return [name, { buffer, offset: 0, size: bytes }]
    }),
  )
  const rows = new Map(
    [...call.rows].map(([name, { data }]) => [name, uploaded(device, lease, data)] as const),
  )
  const stage: Stage = { device, pass, call, strides, resources, lease, stored, rows, size }
  const run = (kernel: AnyKernel, chunk: StageRun | null): void => {
    if (kernel.when !== undefined && size(kernel.when) === 0) return
    if (kernel.kind === 'attend') return attend(stage, kernel, gpu)
    const form = formFor(kernel.forms, size)
    const compiled = gpu.compileNow(moduleText(kernel, form))
    const own = chunk ? unitsInChunk(kernel, chunk, size) : { base: 0, count: size(kernel.units) }
    dispatch(stage, kernel, form ?? kernel, compiled, own)
  }
  for (const step of call.variant.steps) {
    if (step.kind === 'once') {
      run(step.kernel, null)
      continue
    }
    const [rowsOfChunk, units] = [size(step.rows), size(step.units)]
    for (let base = 0; base < units; base += rowsOfChunk) {
      for (const kernel of step.kernels) run(kernel, { base, count: Math.min(rowsOfChunk, units - base) })
    }
  }
}

interface Stage {
  readonly device: GPUDevice
  readonly pass: GPUComputePassEncoder
  readonly call: StageCall
  readonly strides: CallStrides
  readonly resources: Resources
  readonly lease: Lease
  readonly stored: ReadonlyMap<string, Resource>
  readonly rows: ReadonlyMap<string, Resource>
  readonly size: Size
}

function checkBinding({ limits }: GPUDevice, tensor: string, needed: number): void {
  const limit = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize)
  if (needed > limit)
    throw new HeddleError('binding-limit', { tensor, what: 'a stored value', needed, limit })
}

function dispatch(
  stage: Stage,
  kernel: StageModule,
  { tile, workgroup }: StageForm | StageModule,
  { layout, attend: pipeline }: Compiled,
  { base, count }: StageRun,
): void {
  const { device, pass, call, lease, size } = stage
  const groups = groupsOf(call, { ...kernel, tile }, count, size, workgroup)
  if (groups === 0) return
  const most = device.limits.maxComputeWorkgroupsPerDimension
  const x = Math.min(groups, most)
  const y = Math.ceil(groups / x)
  if (y > most) throw new HeddleError('grid-limit', { tiles: groups, most: most * most })
  const grid = { unitBase: base, unitCount: count, gridX: x, groupCount: groups }
  const block = stageUniforms(call, kernel.uniforms, stage.strides, grid)
  const uniforms = uploaded(device, lease, new Uint8Array(block), USAGE.uniform)
  pass.setPipeline(pipeline)
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout,
      entries: kernel.bindings.map((b) => ({ binding: b.binding, resource: resourceOf(stage, b, uniforms) })),
    }),
  )
  pass.dispatchWorkgroups(x, y)
}

function resourceOf({ resources, stored, rows }: Stage, b: StageBinding, uniforms: Resource): Resource {
  switch (b.role) {
    case 'uniforms':
      return uniforms
    case 'stored':
      return stored.get(b.stored!)!
    case 'rows':
      return rows.get(b.rows!)!
    case 'table':
      return resources.tables.get(b.table!)!
    default:
      return resources[b.role]
  }
}

function attend(stage: Stage, kernel: StageAttend, gpu: Gpu): void {
  const { device, pass, call, strides, resources, lease, stored } = stage
  const { batch, qHeads } = call.sizes
  const slice: Slice = { batchBase: 0, batch, headBase: 0, heads: qHeads }
  const one = (name: string | null) => (name === null ? undefined : stored.get(name)!)
  const [before, state, kvOrder] = [one(kernel.before), one(kernel.state), one(kernel.kvOrder)]
  const own: Resources = {
    ...resources,
    ...(kernel.rows ? { k: stored.get(kernel.rows.k)!, v: stored.get(kernel.rows.v)! } : {}),
    lists: kernel.lists.map((name) => stored.get(name)!),
    ...(before ? { before } : {}),
    ...(state ? { state } : {}),
    ...(kvOrder ? { kvOrder } : {}),
  }
  const { kvHeads, headDim, valueDim } = call.sizes
  const units = kernel.rows && stage.size(kernel.rows.units)
  const along = (dim: number) => stridesOf([batch, kvHeads, units ?? 0, dim], 'bhld')
  const placed = units === null ? strides : { ...strides, k: along(headDim), v: along(valueDim) }
  const variant = variantFor(kernel, stage.size)
  recordSlice(device, pass, { ...call, variant }, gpu.compileNow(variant), slice, placed, own, lease)
}

/** A program's artefact has kernels of this kind and no others. */
export const stagesOf = ({ stages }: Artifact): NonNullable<Artifact['stages']> | null => stages ?? null

/** emit(): a compiled pattern in, an Artifact with one variant per (headDim, valueDim, dtype, capability) out. */

import type { CompiledPattern } from '../compiler/index.ts'
import { printExpr } from '../compiler/ir.ts'
import { readsHead, type KernelPlan } from '../compiler/plan.ts'
import {
  ARTIFACT_VERSION,
  type Artifact,
  type Binding,
  type Dtype,
  type ListInfo,
  type Variant,
} from './artifact.ts'
import { attend } from './flash.ts'
import { alignOf, Frame, walksList, type Problem } from './frame.ts'
import { contentHash } from './hash.ts'
import { listTiles } from './list.ts'
import type { Kernel, Memory } from './kernel.ts'
import { print } from './print.ts'
import { checkHeadDim, derivedUniforms, VERSION } from './record.ts'
import type { Parts } from './rows.ts'
import {
  CAPABILITY_NAMES,
  capabilityOf,
  ceilingOf,
  DEFAULT_CAPABILITIES,
  scheduleOf,
  type CapabilityName,
} from './schedule.ts'
import type { Target } from './target.ts'
import { tileTests } from './tiles.ts'
import { storageType, WGSL } from './wgsl.ts'

export { CAPABILITY_NAMES, DEFAULT_CAPABILITIES, type CapabilityName } from './schedule.ts'
export { HEAD_DIMS, VERSION } from './record.ts'
export { emitCuda, SKELETONS, type EmitCudaOptions } from './cuda/emit.ts'
export type { Arch, CudaArtifact, CudaDtype, CudaEntry, CudaVariant, Skeleton } from './cuda/manifest.ts'
export type {
  Artifact,
  Binding,
  Capability,
  Dtype,
  JsonExpr,
  ListInfo,
  Share,
  UniformField,
  Variant,
} from './artifact.ts'

/** The languages that kernels are printed in. */
export const TARGETS = { wgsl: WGSL } as const satisfies Readonly<Record<string, Target>>
export type TargetName = keyof typeof TARGETS

export interface EmitOptions {
  readonly target: TargetName
  readonly headDims: readonly number[]
  /** As many as headDims, or none: each equals its headDim. */
  readonly valueDims?: readonly number[]
  readonly dtypes: readonly Dtype[]
  /** What a dtype has no use for is left out: native halves without half storage. */
  readonly capabilities?: readonly CapabilityName[]
  /** Lists that a call gives: what they hold is attended, as far as the pattern's mask keeps it. By default all that it keeps. */
  readonly lists?: readonly ListInfo[]
}

export function emit(pattern: Pick<CompiledPattern, 'plan'>, options: EmitOptions): Artifact {
  const { plan } = pattern
  const target = TARGETS[options.target]
  const { lists } = options
  if (lists) checkLists(lists)
  const parts = lists ? { lists, listed: plan, ranges: false } : null
  const wanted = options.capabilities ?? DEFAULT_CAPABILITIES
  // A runtime takes the first that fits, so they stand best first whatever the order of the wish.
  const capabilities = CAPABILITY_NAMES.filter((c) => wanted.includes(c))
  const variants: Variant[] = []
  options.headDims.forEach((headDim, n) => {
    const valueDim = options.valueDims?.[n] ?? headDim
    for (const dtype of options.dtypes) {
      for (const capability of capabilities) {
        const variant = emitVariant(plan, parts, target, headDim, valueDim, dtype, capability)
        if (variant) variants.push(variant)
      }
    }
  })
  const record = {
    version: ARTIFACT_VERSION,
    heddle: VERSION,
    pattern: plan.name,
    cite: plan.cite,
    target: options.target,
    hash: '',
    consts: plan.consts,
    params: plan.params,
    tables: plan.tables,
    derived: derivedUniforms(plan),
    sinkLogit: plan.sinkLogit !== null,
    tiles: plan.tiles.how,
    sharesLists: !readsHead(plan),
    ...(lists ? { lists } : {}),
    variants,
  } as const
  return { ...record, hash: contentHash(record) }
}

function emitVariant(
  plan: KernelPlan,
  parts: Parts | null,
  target: Target,
  headDim: number,
  valueDim: number,
  dtype: Dtype,
  capability: CapabilityName,
): Variant | null {
  checkHeadDim(headDim)
  checkHeadDim(valueDim)
  const schedule = scheduleOf(capability, dtype, valueDim)
  if (!schedule) return null
  const id = `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${capability}`
  const problem: Problem = { plan, headDim, valueDim, dtype, schedule, parts }
  const frame = new Frame(problem, target.reserved)
  const ranges = parts === null || parts.ranges
  const tests = tileTests(frame, ranges ? plan.tiles : { ...plan.tiles, kept: [] })
  // Of the tiles that a list names, it is asked only whether they drop a pair.
  const listed =
    !parts || parts.listed === plan ? tests : tileTests(frame, { ...parts.listed.tiles, kept: [] })
  const main = attend(frame, { plan: tests, listed })
  const lister = walksList(problem) ? listTiles(frame, tests) : null
  const entries = [main.entry, ...(lister ? [lister.entry] : [])]
  const memory = [...main.memory, ...(lister?.memory ?? [])]
  const { uniforms } = frame
  const kernel: Kernel = {
    head: [
      `${plan.name}: ${printExpr(plan.mask)}${plan.score ? `; score ${printExpr(plan.score)}` : ''}`,
      `${frame.tile.q} x ${frame.tile.kv} tiles found by ${tilesBy(problem)}; ${main.entry.threads} threads, ${id}`,
      `npx heddle build ${plan.name} --target ${target.name} --head-dim ${headDim} --dtype ${dtype}`,
    ],
    uniforms: {
      name: uniforms,
      binding: 0,
      fields: frame.fields.map((f) => ({ name: f.text, type: f.field.type })),
    },
    buffers: frame.buffers.map((b) => b.buffer),
    memory,
    constants: frame.constants,
    functions: frame.functions,
    entries,
  }
  const bindings: Binding[] = [
    { binding: 0, role: 'uniforms', access: 'uniform', type: 'Uniforms' },
    ...frame.buffers.map(({ buffer, role, table, part }) => ({
      binding: buffer.binding,
      role,
      ...(table === undefined ? {} : { table }),
      ...(part === undefined ? {} : { part }),
      access: buffer.access,
      type: `array<${storageType(buffer)}>`,
    })),
  ]
  const needs = {
    workgroupBytes: Math.max(...[main, ...(lister ? [lister] : [])].map((e) => bytesOf(e.memory))),
    invocations: main.entry.threads,
    storageBuffers: frame.buffers.length,
  }
  const ceiling = ceilingOf(capability)
  if (needs.workgroupBytes > ceiling.bytes || needs.invocations > ceiling.invocations) {
    throw new Error(
      `the schedule of ${id} takes ${needs.workgroupBytes} bytes of workgroup memory, beyond ${ceiling.bytes}`,
    )
  }
  return {
    id,
    headDim,
    valueDim,
    dtype,
    capability: capabilityOf(capability, needs),
    tile: frame.tile,
    workgroup: main.entry.threads,
    ...(frame.cut ? { unit: { tokens: frame.cut.unit, packs: frame.cut.packed } } : {}),
    align: alignOf(frame.problem),
    entries: { attend: main.entry.name, list: lister ? lister.entry.name : null },
    bindings,
    uniforms: frame.fields.map((f) => f.field),
    code: print(kernel, target),
  }
}

/** @throws RangeError for a list that no kernel walks */
function checkLists(lists: readonly ListInfo[]): void {
  const whole = (n: number, most: number) => Number.isInteger(n) && n >= 1 && n <= most
  for (const { q, kv } of lists) {
    if (q !== 'whole' && !whole(q, MOST_UNIT))
      throw new RangeError(
        `a list's query unit is a whole number from 1 to ${MOST_UNIT} or 'whole', not ${q}`,
      )
    if (kv !== 'span' && !whole(kv, MOST_UNIT))
      throw new RangeError(`a list's kv unit is a whole number from 1 to ${MOST_UNIT} or 'span', not ${kv}`)
  }
  if (lists.length === 0 || lists.slice(0, -1).some((l) => l.order === 'score'))
    throw new RangeError('there is at least one list, and none but the last is in order of score')
}
/** Unit sizes times positions stay int32. */
const MOST_UNIT = 2 ** 20

const tilesBy = ({ plan, parts }: Problem): string =>
  [
    ...(parts === null || parts.ranges ? [plan.tiles.how] : []),
    ...(parts ? [`${parts.lists.length} given list${parts.lists.length === 1 ? '' : 's'}`] : []),
  ].join(' and ')

const BYTES = { bool: 4, i32: 4, u32: 4, f32: 4, f32x4: 16, u32x2: 8, f16: 2, f16x4: 8 } as const
// Implementations count each variable up to a multiple of 16 bytes.
const bytesOf = (memory: readonly Memory[]): number =>
  memory.reduce((sum, m) => sum + Math.ceil((m.dims.reduce((a, b) => a * b, 1) * BYTES[m.type]) / 16) * 16, 0)

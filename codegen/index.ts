/** emit(): a compiled pattern in, an Artifact with one variant per (headDim, valueDim, dtype, capability) out. */

import type { CompiledPattern } from '../compiler/index.ts'
import { readsHead } from '../compiler/plan.ts'
import { Sizes } from '../compiler/stages/sizes.ts'
import {
  ARTIFACT_VERSION,
  type Artifact,
  type Dtype,
  type ListInfo,
  type StageVariant,
  type Variant,
} from './artifact.ts'
import { contentHash } from './hash.ts'
import { checkWidths } from './head-dim.ts'
import { derivedUniforms, VERSION } from './record.ts'
import { CAPABILITY_NAMES, DEFAULT_CAPABILITIES, type CapabilityName } from './schedule.ts'
import { emitStages } from './stages/emit.ts'
import type { Target } from './target.ts'
import { emitVariant, PLAIN } from './variant.ts'
import { WGSL } from './wgsl.ts'
import { Unsupported } from './stages/units.ts'

export { CAPABILITY_NAMES, DEFAULT_CAPABILITIES, type CapabilityName } from './schedule.ts'
export { HEAD_DIMS, VERSION } from './record.ts'
export { checkWidths, HeadDimError } from './head-dim.ts'
export { Unsupported } from './stages/units.ts'
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

/** A pattern with a `forward` brings its stages, and the sizes that they are made of. */
export type Emitted = Pick<CompiledPattern, 'plan'> & Partial<Pick<CompiledPattern, 'stages' | 'ir'>>

/** @throws Unsupported for stages that no kernel computes, HeadDimError for vectors that do not fit each other at a head dim */
export function emit(pattern: Emitted, options: EmitOptions): Artifact {
  const { plan } = pattern
  checkWidths(pattern.stages, options.headDims, options.valueDims)
  const target = TARGETS[options.target]
  const { lists } = options
  if (lists) checkLists(lists)
  const parts = lists ? { lists, listed: plan, ranges: false, kvOrder: null } : null
  const wanted = options.capabilities ?? DEFAULT_CAPABILITIES
  // A runtime takes the first that fits, so they stand best first whatever the order of the wish.
  const capabilities = CAPABILITY_NAMES.filter((c) => wanted.includes(c))
  const sizes = pattern.ir && new Sizes(pattern.ir, plan.tables)
  const program = pattern.stages && sizes ? { pattern: plan, plan: pattern.stages, sizes } : null
  const variants: Variant[] = []
  const programs: StageVariant[] = []
  options.headDims.forEach((headDim, n) => {
    const valueDim = options.valueDims?.[n] ?? headDim
    for (const dtype of options.dtypes) {
      for (const capability of capabilities) {
        const asked = { target, headDim, valueDim, dtype, capability }
        const staged = program && emitStages({ ...program, ...asked })
        if (staged) programs.push(staged)
        const variant = program
          ? null
          : emitVariant({ plan, parts, rows: null, skip: null, state: PLAIN, ...asked })
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
    ...(program ? { stages: { rows: program.plan.graph.inputs, variants: programs } } : {}),
    variants,
  } as const
  return { ...record, hash: contentHash(record) }
}

/**
 * As `emit`, with those of the capabilities that compute the pattern: tiles that are part of its meaning are those of some kernels.
 *
 * @throws Unsupported where none does
 */
export function emitWhereAble(pattern: Emitted, options: EmitOptions): Artifact {
  try {
    return emit(pattern, options)
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error
    const able = (options.capabilities ?? DEFAULT_CAPABILITIES).filter((capability) => {
      try {
        return (emit(pattern, { ...options, capabilities: [capability] }).stages?.variants.length ?? 1) > 0
      } catch (reason) {
        if (reason instanceof Unsupported) return false
        throw reason
      }
    })
    if (able.length === 0) throw error
    return emit(pattern, { ...options, capabilities: able })
  }
}

/** @throws RangeError for a list that no kernel walks */
function checkLists(lists: readonly ListInfo[]): void {
  const whole = (n: number, most: number) => Number.isInteger(n) && n >= 1 && n <= most
  for (const { q, kv, form } of lists) {
    if (form === 'bits') throw new RangeError('a list that a call gives has ids')
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

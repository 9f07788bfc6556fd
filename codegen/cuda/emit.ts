/** emitCuda(): a compiled pattern in, a CudaArtifact with a text per (skeleton, headDim, valueDim, dtype) out. */

import type { CompiledPattern } from '../../compiler/index.ts'
import { readsHead } from '../../compiler/plan.ts'
import type { ListInfo } from '../artifact.ts'
import { contentHash } from '../hash.ts'
import { checkHeadDim, derivedUniforms, VERSION } from '../record.ts'
import { AMPERE } from './ampere.ts'
import { CALL_BYTES, CALL_FIELDS } from './call.ts'
import { DECODE } from './decode.ts'
import { checkWidths } from '../head-dim.ts'
import { HOPPER, RESIDUES } from './hopper.ts'
import { fasterOf } from './faster.ts'
import { LISTS, walksNot } from './lists.ts'
import {
  CUDA_ARTIFACT_VERSION,
  type CudaArtifact,
  type CudaDtype,
  type CudaStageKernel,
  type CudaStageStep,
  type CudaVariant,
  type Skeleton,
} from './manifest.ts'
import { emitCudaStages } from './stages.ts'
import { OVER_LISTS, passesOf, patternSection } from './pattern.ts'
import type { Request, Shape, SkeletonSpec } from './skeleton.ts'
import { idOf, isListed, paddedDim, variantOf } from './variant.ts'

/** Best first: what runs few query rows, then what is made for the newest devices, then what runs on all. */
export const SKELETONS: readonly SkeletonSpec[] = [DECODE, RESIDUES, LISTS, HOPPER, AMPERE]

export interface EmitCudaOptions {
  /** From 1 to 256; each runs in the text of the next greater dim that a skeleton has. */
  readonly headDims: readonly number[]
  /** As many as headDims, or none: each equals its headDim. */
  readonly valueDims?: readonly number[]
  readonly dtypes: readonly CudaDtype[]
  /** All of them unless given. */
  readonly skeletons?: readonly Skeleton[]
  /** Texts that check page tables and indices. */
  readonly debug?: boolean
  /** Lists that a call gives: what they name is attended, as far as the pattern's mask keeps it. By default all that it keeps. */
  readonly lists?: readonly ListInfo[]
  /** Takes one of the skeleton's shapes; the first unless given. */
  readonly shapes?: ShapeChoice
}

export type ShapeChoice = (spec: SkeletonSpec, request: Request, shapes: readonly Shape[]) => Shape

/** A pattern with a `forward` brings its stages, and the sizes that they are made of. */
type Emitted = Pick<CompiledPattern, 'plan'> & Partial<Pick<CompiledPattern, 'stages' | 'ir'>>

/** @throws RangeError for a dim or a number of tables that there is no kernel for */
export function emitCuda(pattern: Emitted, options: EmitCudaOptions): CudaArtifact {
  const { plan } = pattern
  const { headDims, valueDims, dtypes, debug = false, shapes: choose = first } = options
  const { lists } = options
  const wanted = SKELETONS.filter(
    ({ name, walks }) =>
      (options.skeletons?.includes(name) ?? true) &&
      walks !== 'sets' &&
      (walks === 'lists') === (lists !== undefined),
  )
  const dims = headDims.map((headDim, n) => [headDim, valueDims?.[n] ?? headDim] as const)
  dims.flat().forEach(checkHeadDim)
  checkWidths(pattern.stages, headDims, valueDims)
  const obstacle = lists && walksNot(lists, dims.flat())
  if (obstacle) throw new RangeError(`kernels for CUDA walk ${obstacle}`)
  const variants = new Map<string, CudaVariant>()
  const { stages, ir } = pattern
  const program = stages && ir ? { plan, stages, ir } : null
  for (const spec of program ? [] : wanted) {
    const passes = lists ? [{ plan, ...OVER_LISTS }] : passesOf(plan, spec.walks === 'residues')
    // The last is the one by residue, where there is such a one.
    const pass = passes.at(-1)
    if (pass === undefined) continue
    const traits = {
      scored: plan.score !== null,
      plan: pass.plan,
      list: lists?.[0] ?? null,
      sets: null,
    }
    const listed = lists !== undefined || isListed(pass.plan, spec)
    const sections = passes.map((p) => patternSection(p.plan, listed, p))
    const padded = dims.map(([h, v]) => [paddedDim(spec, h), paddedDim(spec, v)] as const)
    // A loader takes the first that is large enough.
    padded.sort(([h, v], [other, otherValue]) => h - other || v - otherValue)
    for (const [headDim, valueDim] of padded) {
      for (const dtype of dtypes) {
        const request: Request = { headDim, valueDim, dtype, traits }
        const id = idOf(spec, request)
        const shape = choose(spec, request, spec.shapes(request))
        variants.set(id, variantOf(id, spec, request, shape, { plan, passes, listed, sections, debug }))
      }
    }
  }
  const record: Omit<CudaArtifact, 'hash'> = {
    version: CUDA_ARTIFACT_VERSION,
    heddle: VERSION,
    pattern: plan.name,
    cite: plan.cite,
    target: 'cuda',
    consts: plan.consts,
    params: plan.params,
    tables: plan.tables,
    derived: derivedUniforms(plan),
    sinkLogit: plan.sinkLogit !== null,
    tiles: plan.tiles.how,
    sharesLists: !readsHead(plan),
    call: { bytes: CALL_BYTES, fields: CALL_FIELDS },
    lists: lists ?? null,
    stages: program && {
      rows: program.stages.graph.inputs,
      variants: dims.flatMap(([headDim, valueDim]) =>
        dtypes.map((dtype) => {
          const dims = { headDim, valueDim, dtype, debug }
          return emitCudaStages(program, { ...dims, faster: (form) => fasterOf(form, dims) })
        }),
      ),
    },
    variants: [...variants.values()],
  }
  return { ...record, hash: contentHash(withoutCubins(record)) }
}

/** What the hash is over: cubins are made of the rest, when there is a compiler. */
function withoutCubins({ variants, stages, ...record }: Omit<CudaArtifact, 'hash'>): object {
  const bare = <T extends { readonly cubins: unknown }>({ cubins: _, ...rest }: T) => rest
  const kernel = ({ faster, forms, ...k }: CudaStageKernel) => ({
    ...bare(k),
    forms: forms.map(bare),
    faster: faster.map((f) => ({ ...f, variant: bare(f.variant) })),
  })
  const step = (s: CudaStageStep) =>
    s.kind === 'once' ? { ...s, kernel: kernel(s.kernel) } : { ...s, kernels: s.kernels.map(kernel) }
  return {
    ...record,
    variants: variants.map(bare),
    stages: stages && {
      ...stages,
      variants: stages.variants.map((v) => ({ ...v, steps: v.steps.map(step) })),
    },
  }
}

const first: ShapeChoice = (_spec, _request, shapes) => shapes[0]!

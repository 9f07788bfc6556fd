/** emitCuda(): a compiled pattern in, a CudaArtifact with a text per (skeleton, headDim, valueDim, dtype) out. */

import { createHash } from 'node:crypto'
import type { CompiledPattern } from '../../compiler/index.ts'
import { printExpr } from '../../compiler/ir.ts'
import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import type { ListInfo } from '../artifact.ts'
import { contentHash } from '../hash.ts'
import { checkHeadDim, derivedUniforms, VERSION } from '../record.ts'
import { AMPERE } from './ampere.ts'
import { CALL_BYTES, CALL_FIELDS, CALL_TEXT } from './call.ts'
import { DECODE } from './decode.ts'
import { HOPPER, RESIDUES } from './hopper.ts'
import { listBytes, listEntry } from './list.ts'
import { entryBytes, LISTS, walksNot } from './lists.ts'
import {
  CUDA_ARTIFACT_VERSION,
  type CudaArtifact,
  type CudaDtype,
  type CudaEntry,
  type CudaStageStep,
  type CudaVariant,
  type SizeRule,
  type Skeleton,
} from './manifest.ts'
import { stepJson } from './order.ts'
import { emitCudaStages } from './stages.ts'
import { OVER_LISTS, passesOf, patternSection, type Pass } from './pattern.ts'
import { and, le, min, mul, product, v } from './rules.ts'
import type { Request, Shape, SkeletonSpec } from './skeleton.ts'
import { textOf } from './text.ts'

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
      (options.skeletons?.includes(name) ?? true) && (walks === 'lists') === (lists !== undefined),
  )
  const dims = headDims.map((headDim, n) => [headDim, valueDims?.[n] ?? headDim] as const)
  dims.flat().forEach(checkHeadDim)
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
    const traits = { scored: plan.score !== null, plan: pass.plan, list: lists?.[0] ?? null }
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
        dtypes.map((dtype) => emitCudaStages(program, { headDim, valueDim, dtype })),
      ),
    },
    variants: [...variants.values()],
  }
  return { ...record, hash: contentHash(withoutCubins(record)) }
}

/** What the hash is over: cubins are made of the rest, when there is a compiler. */
function withoutCubins({ variants, stages, ...record }: Omit<CudaArtifact, 'hash'>): object {
  const bare = <T extends { readonly cubins: unknown }>({ cubins: _, ...rest }: T) => rest
  const step = (s: CudaStageStep) =>
    s.kind === 'once' ? { ...s, kernel: bare(s.kernel) } : { ...s, kernels: s.kernels.map(bare) }
  return {
    ...record,
    variants: variants.map(bare),
    stages: stages && {
      ...stages,
      variants: stages.variants.map((v) => ({ ...v, steps: v.steps.map(step) })),
    },
  }
}

const isListed = (plan: KernelPlan, { sharesTests }: SkeletonSpec): boolean =>
  plan.tiles.how === 'list' || (sharesTests && plan.tiles.how === 'test' && !readsHead(plan))

const first: ShapeChoice = (_spec, _request, shapes) => shapes[0]!

const paddedDim = ({ name, headDims }: SkeletonSpec, dim: number): number => {
  const padded = headDims.find((d) => d >= dim)
  if (padded === undefined) throw new Error(`the ${name} skeleton has no text for a head dim of ${dim}`)
  return padded
}

const idOf = ({ name }: SkeletonSpec, { headDim, valueDim, dtype }: Request): string =>
  `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${name}`

function variantOf(
  id: string,
  spec: SkeletonSpec,
  request: Request,
  shape: Shape,
  { plan, passes, listed, sections, debug }: Written,
): CudaVariant {
  const { headDim, valueDim, dtype } = request
  const given = spec.walks === 'lists'
  const file = (name: string): Part => [name, textOf(name)]
  const parts: Part[] = [
    ['configuration', configuration(request, shape, debug)],
    ['call', CALL_TEXT],
    ...[...PRELUDE, ...spec.preludes].map(file),
    ...(spec.made ? [['shape', spec.made(request, shape).trimEnd()] as const] : []),
    // A list's units are asked about as the tiles of its own size that they are.
    ...(given ? inUnits([['pattern', sections[0]!.trimEnd()], ...['tiles.cuh', 'lists.cuh'].map(file)]) : []),
    ...sections.flatMap((section, i) =>
      inNamespace(passes.length > 1 ? i : null, [
        ['pattern', section.trimEnd()],
        ...['tiles.cuh', ...spec.texts, ...(listed && !given ? ['list.cuh'] : [])].map(file),
      ]),
    ),
  ]
  const code =
    `${headOf(id, plan, spec, request, shape, debug)}\n` +
    parts.map(([name, text]) => `\n${partLine(name)}\n\n${text}\n`).join('')
  const entries = passes.flatMap((pass, i) =>
    entriesOf(spec, request, shape, pass, passes.length > 1 ? i : null),
  )
  return {
    id,
    skeleton: spec.name,
    headDim,
    valueDim,
    dtype,
    capability: spec.capability,
    suffix: spec.suffix,
    needs: spec.needs,
    pays: paysOf(passes.at(-1)!),
    debug,
    tile: shape.tile,
    units: shape.units,
    entries: listed && !given ? [listEntry(plan, shape.tile), ...entries] : entries,
    splits: spec.splits,
    workspace: {
      counters: spec.counters,
      list: given ? entryBytes(shape) : listed ? listBytes(plan, shape.tile) : 0,
      scratch: passes.length > 1 ? partialBytes(valueDim) : spec.scratch,
    },
    hash: createHash('sha256').update(code).digest('hex'),
    code,
    cubins: [],
  }
}

type Part = readonly [name: string, text: string]

/** What a variant is written from, beside its shape. */
interface Written {
  /** The pattern's own; those of the passes say less. */
  readonly plan: KernelPlan
  readonly passes: readonly Pass[]
  readonly listed: boolean
  /** Of each pass. */
  readonly sections: readonly string[]
  readonly debug: boolean
}

const PRELUDE = ['prelude.cuh']

/** Texts of several passes say the same names; their entries must differ even so. */
function inNamespace(index: number | null, parts: readonly Part[]): readonly Part[] {
  if (index === null) return parts
  const space = `pass${index}`
  const open: Part = [space, `#undef ENTRY\n#define ENTRY(name) name##${index}\nnamespace ${space} {`]
  return [open, ...parts, [`end of ${space}`, '}']]
}

const inUnits = (parts: readonly Part[]): readonly Part[] => [
  ['units', 'namespace units {\nconstexpr int TILE_KV = UNIT_KV;'],
  ...parts,
  ['end of units', '}'],
]

/** The entries of one launch: the maps of a pass by residue have its step. */
const entriesOf = (
  spec: SkeletonSpec,
  request: Request,
  shape: Shape,
  { step }: Pass,
  index: number | null,
): CudaEntry[] =>
  spec.entries(request, shape).map((entry) => ({
    ...entry,
    name: index === null ? entry.name : `${entry.name}${index}`,
    tensorMaps: entry.tensorMaps.map((rule) => (step ? { ...rule, step: stepJson(step) } : rule)),
  }))

/** f32 outputs of all rows, as wide as the text's value dim. */
const partialBytes = (valueDim: number): SizeRule =>
  product(v('batch'), v('qHeads'), v('qRows'), 4 * valueDim)

/** Classes of fewer rows than this leave most of a tile empty. */
const LEAST_CLASS = 32

function paysOf({ step }: Pass): CudaVariant['pays'] {
  if (step === null) return null
  const json = stepJson(step)
  return and(le(2, json), le(mul(json, LEAST_CLASS), min(v('qRows'), v('kvRows'))))
}

/** What a part of the text begins with. */
export const partLine = (name: string): string => `// ==== ${name} ====`

function headOf(
  id: string,
  plan: KernelPlan,
  spec: SkeletonSpec,
  { headDim, valueDim, dtype, traits }: Request,
  shape: Shape,
  debug: boolean,
): string {
  const { tile, threads, reason } = shape
  const dims = `--head-dim ${headDim}${valueDim === headDim ? '' : ` --value-dim ${valueDim}`}`
  return [
    `${plan.name}: ${printExpr(plan.mask)}${plan.score ? `; score ${printExpr(plan.score)}` : ''}`,
    `${id}: ${tile.q} x ${tile.kv} tiles found by ${traits.plan.tiles.how}; ${threads} threads`,
    `shape: ${reason}`,
    `npx heddle build ${plan.name} --target cuda ${dims} --dtype ${dtype} --skeleton ${spec.name}${debug ? ' --debug' : ''}`,
  ]
    .map((line) => `// ${line}`)
    .join('\n')
}

function configuration({ headDim, valueDim, dtype }: Request, shape: Shape, debug: boolean): string {
  const constants = {
    BF16: dtype === 'bf16',
    DEBUG: debug,
    HEAD_DIM: headDim,
    VALUE_DIM: valueDim,
    TILE_Q: shape.tile.q,
    TILE_KV: shape.tile.kv,
    UNITS: shape.units,
    UNIT_KV: shape.tile.kv / shape.units,
    THREADS: shape.threads,
    ...shape.constants,
  }
  return Object.entries(constants)
    .map(([name, value]) => `constexpr ${typeof value === 'boolean' ? 'bool' : 'int'} ${name} = ${value};`)
    .join('\n')
}

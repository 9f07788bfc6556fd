/** variantOf(): a skeleton, the passes of a plan and a shape in; one text with what a loader needs to launch it out. */

import { createHash } from 'node:crypto'
import { printExpr } from '../../compiler/ir.ts'
import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import { CALL_TEXT } from './call.ts'
import { listBytes, listEntry } from './list.ts'
import { entryBytes } from './lists.ts'
import type { CudaEntry, CudaVariant, SizeRule } from './manifest.ts'
import { stepJson } from './order.ts'
import type { Pass } from './pattern.ts'
import { and, le, min, mul, product, v } from './rules.ts'
import type { Request, Shape, SkeletonSpec } from './skeleton.ts'
import { textOf } from './text.ts'

/** True if the kernel `list` finds the tiles of a plan before a skeleton that asks no tests itself. */
export const isListed = (plan: KernelPlan, { sharesTests }: SkeletonSpec): boolean =>
  plan.tiles.how === 'list' || (sharesTests && plan.tiles.how === 'test' && !readsHead(plan))

/** The least of a skeleton's head dims that has room for one. */
export const paddedDim = ({ name, headDims }: SkeletonSpec, dim: number): number => {
  const padded = headDims.find((d) => d >= dim)
  if (padded === undefined) throw new Error(`the ${name} skeleton has no text for a head dim of ${dim}`)
  return padded
}

export const idOf = ({ name }: SkeletonSpec, { headDim, valueDim, dtype }: Request): string =>
  `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${name}`

export function variantOf(
  id: string,
  spec: SkeletonSpec,
  request: Request,
  shape: Shape,
  { plan, passes, listed, sections, debug }: Written,
): CudaVariant {
  const { headDim, valueDim, dtype } = request
  const given = spec.walks === 'lists'
  const records = given || spec.walks === 'sets'
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
        ...['tiles.cuh', ...spec.texts, ...(listed && !records ? ['list.cuh'] : [])].map(file),
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
    entries: listed && !records ? [listEntry(plan, shape.tile), ...entries] : entries,
    splits: spec.splits,
    workspace: {
      counters: spec.counters,
      list: spec.list ?? (given ? entryBytes(shape) : listed ? listBytes(plan, shape.tile) : 0),
      scratch: passes.some((p) => p.part !== 'whole') ? partialBytes(valueDim) : spec.scratch,
    },
    hash: createHash('sha256').update(code).digest('hex'),
    code,
    cubins: [],
  }
}

type Part = readonly [name: string, text: string]

/** What a variant is written from, beside its shape. */
export interface Written {
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

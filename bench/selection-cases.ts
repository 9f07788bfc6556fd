/** A pattern with a `forward`, some consts and a seed in; a random call, and how far what a device made of it is right, out. */

import type { Artifact } from '../codegen/artifact.ts'
import type { CudaArtifact } from '../codegen/cuda/manifest.ts'
import type { Pattern } from '../dsl/index.ts'
import { SELECTIONS } from '../patterns/index.ts'
import type { ExampleSizes } from '../patterns/examples.ts'
import { SELECTION_EXAMPLES, selectionInputs } from '../patterns/selection-examples.ts'
import {
  plain16,
  plain32,
  reference,
  type ReferenceCall,
  type ReferencePattern,
} from '../runtime/reference.ts'
import { viewOf, type StorageDtype, type Tensor } from '../runtime/tensor.ts'
import { randomTensor } from '../runtime/testing/cases.ts'
import type { KernelResult } from '../runtime/testing/compare.ts'
import { drawSeeded, type Draw } from '../runtime/testing/draw.ts'
import { judge, undecidedRows, type Judgement } from '../runtime/testing/judge.ts'
import { setDifference } from '../runtime/testing/sets.ts'

/** A pattern at consts of its own, for one head dim and one type. */
export interface SelectionUnit<A> {
  readonly pattern: string
  /** small: blocks of few tokens, as tests have them. wide: blocks of whole tiles. */
  readonly grain: 'small' | 'wide'
  readonly consts: Readonly<Record<string, number>>
  readonly headDim: number
  readonly dtype: StorageDtype
  readonly artifact: A
  /** Calls beyond the random ones; there are none. */
  readonly extra: readonly never[]
}

export interface PreparedSelections {
  readonly units: {
    readonly wgsl: readonly SelectionUnit<Artifact>[]
    readonly cuda: readonly SelectionUnit<CudaArtifact>[]
  }
  /** By pattern, at its own consts; causal is among them. */
  readonly timed: {
    readonly wgsl: Readonly<Record<string, Artifact>>
    readonly cuda: Readonly<Record<string, CudaArtifact>>
  }
}

export type AnyUnit = SelectionUnit<unknown>

export interface Sizes {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly indexer?: NonNullable<ExampleSizes['indexer']>
}

/** A call as kernels and the oracle take it. */
export type SelectionCall = ReferenceCall & { readonly rows: Readonly<Record<string, Tensor>> }

/** Blocks of a few sizes, some of them cut; a few steps of decoding; chunks that begin anywhere. */
const LONGEST = { small: 110, wide: 330 } as const

/** As many heads as have products of their own, or share one with those of other queries, and as many as have not. */
const INDEXERS = [
  { heads: 64, channels: 128 },
  { heads: 13, channels: 64 },
  { heads: 3, channels: 8 },
  { heads: 40, channels: 72 },
] as const

/** Heads of a kv head, where blocks are of whole tiles; of patterns that add up over them as many as share a product. */
const GROUPS: Readonly<Record<string, readonly number[]>> = { nsa: [2, 16, 9] }

export function drawSizes(d: Draw, { grain, pattern }: Pick<AnyUnit, 'grain' | 'pattern'>): Sizes {
  const kvHeads = d.int(1, 2)
  const group = d.pick(grain === 'small' ? [2, 1, 4] : (GROUPS[pattern] ?? [2, 1]))
  const kvLen = d.int(1, LONGEST[grain])
  const qLen = d.pick([() => kvLen, () => 1, () => d.int(1, kvLen)])()
  const batch = grain === 'small' ? d.int(1, 2) : 1
  const hasIndexer = Object.keys(SELECTION_EXAMPLES[pattern]!.rows).length > 0
  const sizes = { batch, qHeads: kvHeads * group, kvHeads, qLen, kvLen }
  if (grain === 'small' || !hasIndexer) return sizes
  // The oracle takes as long for a query as there are heads.
  return { ...sizes, qLen: Math.min(qLen, 8), indexer: d.pick(INDEXERS) }
}

export function patternOf({
  pattern,
  consts,
}: Pick<AnyUnit, 'pattern' | 'consts'>): Pattern & ReferencePattern {
  const found = SELECTIONS.find((s) => s.pattern.name === pattern)!.pattern
  return { ...found, consts: { ...found.consts, ...consts } } as unknown as Pattern & ReferencePattern
}

export function callOf(
  unit: Pick<AnyUnit, 'pattern' | 'headDim' | 'dtype'>,
  sizes: Sizes,
  seed: number,
): SelectionCall {
  const { headDim, dtype } = unit
  const { batch, qHeads, kvHeads, qLen, kvLen } = sizes
  const { params, tables, rows } = selectionInputs(unit.pattern, { ...sizes, headDim }, seed)
  const tensor = (heads: number, length: number, of: number) =>
    randomTensor([batch, heads, length, headDim], dtype, 4 * seed + of)
  return {
    q: tensor(qHeads, qLen, 1),
    k: tensor(kvHeads, kvLen, 2),
    v: tensor(kvHeads, kvLen, 3),
    params,
    tables,
    rows,
  }
}

export interface Attempt extends Judgement {
  /** The call in words. */
  readonly about: string
}

interface Drawn {
  readonly call: SelectionCall
  readonly about: string
}

function drawCall(unit: AnyUnit, seed: number): Drawn {
  const { value: sizes } = drawSeeded((d) => drawSizes(d, unit), seed)
  const about = `${unit.pattern} ${JSON.stringify(unit.consts)}, ${unit.dtype}, ${JSON.stringify(sizes)}`
  return { call: callOf(unit, sizes, seed), about }
}

type Answer = (call: SelectionCall) => Promise<KernelResult>

/** A random call, compared with the oracle. */
export async function attempt(unit: AnyUnit, seed: number, answer: Answer): Promise<Attempt> {
  const { call, about } = drawCall(unit, seed)
  const [pattern, plain] = [patternOf(unit), unit.dtype === 'f32' ? plain32 : plain16]
  const got = await answer(call)
  return { ...judge(pattern, call, got, reference(pattern, call), plain(pattern, call)), about }
}

/** Branches that meet other keys, and tiles that are left out, have no one set. */
export const hasOneSet = ({ pattern, grain }: AnyUnit): boolean =>
  grain === 'small' && pattern !== 'nsa' && pattern !== 'blasst'

/** A random call that asks which keys each query meets, exactly. */
export async function attemptSets(unit: AnyUnit, seed: number, answer: Answer): Promise<Attempt> {
  const { call, about } = drawCall(unit, seed)
  const pattern = patternOf(unit)
  const difference = await setDifference(pattern, call, (asked) => answer({ ...call, ...asked }))
  if (difference === null) return { ratio: 0, difference, undecided: 0, about }
  const undecided = undecidedRows(
    pattern,
    call,
    reference(pattern, call).out,
    viewOf('v', call.v).shape[3],
  ).size
  return { ratio: 0, difference: undecided > 0 ? null : difference, undecided, about }
}

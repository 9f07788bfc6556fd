/** SkeletonSpec: what emit() asks of a machine model: which texts, which shape for which dims, how it is launched. */

import type { KernelPlan } from '../../compiler/plan.ts'
import type { ListInfo, Share } from '../artifact.ts'
import type { SetsInfo } from './gather.ts'
import type { CudaDtype, CudaEntry, CudaVariant, Skeleton } from './manifest.ts'

/** Whose a list is, as the texts say it. */
export const SHARES: Readonly<Record<Share, number>> = { request: 0, kvHead: 1, head: 2 }

/** What a tile shape may depend on, beside the dims. */
export interface Traits {
  readonly scored: boolean
  readonly plan: KernelPlan
  /** What is walked, if a call gives it. */
  readonly list: ListInfo | null
  /** What is walked, of an attend of a program that is over sets. */
  readonly sets: SetsInfo | null
}

export interface Request {
  /** Padded: members of the skeleton's `headDims`. */
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: CudaDtype
  readonly traits: Traits
}

/** One alternative of the shape table. */
export interface Shape {
  readonly tile: { readonly q: number; readonly kv: number }
  /** Units of a list that a kv tile is drawn from; 1: it is one itself. */
  readonly units: number
  readonly threads: number
  readonly sharedBytes: number
  /** Printed as constexprs at the head of the text, beside HEAD_DIM, VALUE_DIM, TILE_Q, TILE_KV, THREADS, BF16, DEBUG. */
  readonly constants: Readonly<Record<string, number | boolean>>
  /** Why this one, in half a sentence. */
  readonly reason: string
}

export interface SkeletonSpec {
  readonly name: Skeleton
  /** Head dims that have a text of their own; others run padded in the next greater. */
  readonly headDims: readonly number[]
  readonly capability: CudaVariant['capability']
  readonly suffix: CudaVariant['suffix']
  readonly needs: CudaVariant['needs']
  /** Best first; more than one: what autotuning tries. Never empty. */
  readonly shapes: (request: Request) => readonly Shape[]
  /** Files of this folder that know no pattern, after the prelude of all. */
  readonly preludes: readonly string[]
  /** Files of this folder, in order, after pattern and tiles. */
  readonly texts: readonly string[]
  /** Text made for the shape rather than read from a file: instruction wrappers. It stands after the preludes. */
  readonly made?: (request: Request, shape: Shape) => string
  /** In order of launch, `list` left out: emit puts it first where the plan lists its tiles. */
  readonly entries: (request: Request, shape: Shape) => readonly CudaEntry[]
  /**
   * Tiles that are found by tests, and are the same for all heads, are listed once for them by a kernel of its own; else each
   * query tile of each head asks the tests again.
   */
  readonly sharesTests: boolean
  /**
   * mask: any plan. residues: rows and keys by remainder, for plans that have such an order; another kernel beside it takes them
   * as they are. lists: of what a call's lists name. sets: of what the lists of a program name, whatever their forms.
   */
  readonly walks: 'mask' | 'residues' | 'lists' | 'sets'
  readonly splits: CudaVariant['splits']
  /** Bytes. `list`: of what its own entries leave there for each other; absent: emit's, of lists. */
  readonly counters: CudaVariant['workspace']['counters']
  readonly list?: CudaVariant['workspace']['list']
  readonly scratch: CudaVariant['workspace']['scratch']
}

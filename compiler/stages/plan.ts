/**
 * StagePlan: the kernels that a `forward` program runs as, in order, with the buffers between them. No target is named:
 * what a kernel computes is said by nodes of the stage graph, how much of it there is by expressions of the lengths.
 *
 * Scores are virtual. A kernel that needs a cell of a node of scores evaluates the node's tree down to what is stored:
 * dots of rows (inputs, stored rows, and what a loader makes of them element by element), and stored vectors. The rule of
 * what is stored:
 *   rows     a pool, linear, rope or quantize that a dot, an attend or another kernel reads
 *   scores   a pool or argmax of which at most one axis grows with the length; a dot of a few rows; statistics of a softmax,
 *            two numbers a row;
 *            of a plane that topK or topP chooses from, one chunk of q units at a time, and with it the rows of the inner
 *            products whose softmax it is made of
 *   sets     lists of what topK chose, bits of what where and topP let pass
 * A buffer never has a place for each pair of tokens: where one that grows with both lengths would be over tokens on both
 * sides, the program is refused.
 */

import type { Expr } from '../ir.ts'
import type { KvTiles, PatternIr } from '../plan.ts'
import type { Typing } from './typing.ts'
import type { FilterRange } from './filter-range.ts'
import type { Patches } from './patches.ts'
import type { Axis, Share, StageGraph, StageNode, Until, Visible } from './graph.ts'

/**
 * What a buffer is, its dims in order after [batch, sharer of its share]:
 *   rows     [unit, channel]     f32, of the numbers that the node's precision has
 *   codes    [unit, word]       u32: numbers of few bits, two brain floats a word, which hold them as they are
 *   scales   [unit]             f32: what the codes of a row are multiplied by
 *   scores   [q unit, kv unit]   f32; a cell that is not visible is -infinity
 *   max, sum [q unit]            f32: the greatest cell of a row and the sum of exp(cell - max); an empty row has sum 0
 *   counts   [q unit]            i32: units that the row of a set has
 *   ids      [q unit, most]      i32: the units of a list, ascending, or by falling score where the set is sorted so
 *   spans    [q unit, most, 2]   i32: start and end of the units of a list of spans, in tokens, ascending and disjoint; of
 *                                distances that blocks draw with room for more blocks in place of parts of one (drawn.ts)
 *   bits     [q unit, words]     u32: bit (v & 31) of word (v >> 5) is kv unit v
 *   order    [token]             i32: the original token at each place of a permutation
 *   extents  [unit, 2]           i32: the least and the greatest original position of a unit of tokens that a permutation moved
 *   state    [token, valueDim + 2]  f32: maximum, sum, weighted values
 */
export type Holds =
  | 'rows'
  | 'codes'
  | 'scales'
  | 'scores'
  | 'max'
  | 'sum'
  | 'counts'
  | 'ids'
  | 'spans'
  | 'bits'
  | 'order'
  | 'extents'
  | 'state'

/** Rows of units that are finer than those that a chunk counts. */
export interface Finer {
  /** How many of them go into one unit of the chunk. */
  readonly each: number
  /** How many of the first unit's are not of this call. */
  readonly before: Expr
}

export interface StageBuffer {
  /** `rows3`: what it holds and the node that it belongs to. */
  readonly name: string
  readonly holds: Holds
  readonly node: StageNode
  readonly dtype: 'f32' | 'i32' | 'u32'
  readonly share: Share
  /** Row-major sizes, batch and sharers first. */
  readonly shape: readonly Expr[]
  readonly bytes: Expr
  /** One call; one chunk, so that the space is used again; or between calls, in the cache's state. */
  readonly life: 'call' | 'chunk' | 'kept'
  /** Of a chunk's rows; null: they are the units that the chunk counts. */
  readonly finer: Finer | null
  /** Of extents: whose they are. */
  readonly axis: Axis | null
}

/** What all kernels have. One workgroup's work is one (batch, sharer, unit) of the grid, or a part of it. */
interface Kernel {
  /** `topK5`: its kind's word and the node that it makes. */
  readonly name: string
  /** What it makes. */
  readonly node: StageNode
  readonly grid: { readonly share: Share; readonly units: Expr; readonly finer?: Finer }
  readonly reads: readonly StageBuffer[]
  readonly writes: readonly StageBuffer[]
  /** The nodes of scores whose cells it evaluates on the fly. */
  readonly streams: readonly StageNode[]
  /** Floating-point operations, and bytes read and written, of one call; both within a constant factor. */
  readonly flops: Expr
  readonly bytes: Expr
  /** Run only where this (of params alone) holds. */
  readonly when: Expr | null
  /** Run only when the value kept under the name is made anew. */
  readonly keep: { readonly name: string; readonly until: Until } | null
}

/** Rows of `node`, its rows' words down to stored rows and inputs computed in one go. */
export interface RowsKernel extends Kernel {
  readonly kind: 'rows'
  /** Pools of the same operand over the same units, which are made beside it. */
  readonly also: readonly StageNode<'poolRows'>[]
}
/** Maximum and sum of each row of the softmax's operand. */
export interface StatisticsKernel extends Kernel {
  readonly kind: 'statistics'
}
/** Cells of `node`, each with the pools in its tree written out as loops; `members` source cells go into one. */
export interface ScoresKernel extends Kernel {
  readonly kind: 'scores'
  readonly members: Expr
}
/** Lists or bits of a topK or topP, from a stored row of scores. */
export interface SelectKernel extends Kernel {
  readonly kind: 'select'
  /** A row's own; of the groups of a row; of all rows of a head, whose scores are swept twice and never stored. */
  readonly scope: 'row' | 'group' | 'head'
}
/** Bits of a where, and-ed or or-ed over the units that a pool of the set puts together. */
export interface FilterKernel extends Kernel {
  readonly kind: 'filter'
  /** The pools of the set that it does at once, innermost first; its bits are those of `node`, the last of them. */
  readonly votes: readonly StageNode<'poolSet'>[]
}
/** One set from others: other units, spans of ranges and splits, spans that offsets cover. */
export interface ListsKernel extends Kernel {
  readonly kind: 'lists'
}
/** The order of an argsort. */
export interface SortKernel extends Kernel {
  readonly kind: 'sort'
}
/** Where units of tokens in an order lie in their own, so that a mask that asks does not look at each token. */
export interface ExtentsKernel extends Kernel {
  readonly kind: 'extents'
  readonly axis: Axis
}
export interface AttendKernel extends Kernel {
  readonly kind: 'attend'
  readonly node: StageNode<'attend'>
  readonly kept: Kept
  /** The operands of a state, or the output and LSE of the call. */
  readonly makes: 'state' | 'output'
}
/** One state or output from several states. */
export interface CombineKernel extends Kernel {
  readonly kind: 'combine'
  readonly node: StageNode<'merge'> | StageNode<'gated'> | StageNode<'choose'>
  readonly makes: 'state' | 'output'
}

export type StageKernel =
  | RowsKernel
  | StatisticsKernel
  | ScoresKernel
  | SelectKernel
  | FilterKernel
  | ListsKernel
  | SortKernel
  | ExtentsKernel
  | AttendKernel
  | CombineKernel

/**
 * Which pairs an attend meets: those of the mask that are in some part, each pair in the first part that holds it. Parts
 * stand in the order ranges, spans, blocks by falling size, tokens, then as written; what `after` brings stands before all.
 */
export interface Kept {
  readonly parts: readonly Part[]
  /** By which argsort the tokens of a side are laid out. */
  readonly layout: { readonly q: StageNode<'argsort'> | null; readonly kv: StageNode<'argsort'> | null }
}

export type Part =
  /** Closed form: `keep` and the mask over token pairs, and where the tiles of that are. No buffer. */
  | {
      readonly kind: 'ranges'
      readonly keep: Expr
      readonly tiles: KvTiles
      readonly without: readonly PairTerm[]
    }
  /** Every unit of an operand that is not of tokens, as it is visible. */
  | { readonly kind: 'units'; readonly visible: Visible }
  /** A `where` that reads no score: asked of unit pairs in the kernel, because its grain is too fine for a buffer. */
  | (SetPart & { readonly kind: 'test' })
  /** A stored set: lists of ids or spans, or bits. */
  | (SetPart & { readonly kind: 'list'; readonly form: SetForm })

export type SetForm = 'ids' | 'spans' | 'bits'

/** The grain of the part is that of its axes. */
export interface SetPart {
  readonly set: StageNode
  readonly share: Share
  readonly q: Axis
  readonly kv: Axis
  /** The most units that a row can have. */
  readonly most: Expr
  /** What else a pair must pass. */
  readonly within: PairTerm
  /** A pair of any of these is met by an earlier part, or by the state that is gone on with. */
  readonly without: readonly PairTerm[]
}

/** Pairs of tokens that pass a predicate, lie in all of some sets and in none of others. */
export interface PairTerm {
  readonly keep: Expr | null
  readonly sets: readonly StageNode[]
  readonly minus: readonly StageNode[]
}

/** Kernels in the order of launch; those of `chunks` run for one chunk of q units after another, in the same buffers. */
export type Step =
  | { readonly kind: 'once'; readonly kernel: StageKernel }
  | {
      readonly kind: 'chunks'
      readonly axis: Axis
      /** q units a chunk, `chunk` in the sizes of its kernels: its buffer stays within CHUNK_BYTES, or is one row. */
      readonly rows: Expr
      readonly count: Expr
      readonly kernels: readonly StageKernel[]
    }

/** What the buffers of a chunk may take together. */
export const CHUNK_BYTES = 2 ** 27

export interface StagePlan {
  readonly graph: StageGraph
  /** What its nodes were typed with: sizes, inputs, and the interner that can make more of them. */
  readonly typing: Typing
  readonly pattern: PatternIr
  /** The buffers that hold a node's value: what virtual scores, loaders and parts read it from. */
  readonly stored: ReadonlyMap<StageNode, readonly StageBuffer[]>
  /** The filters of pools that are intervals of columns; others are asked of every cell. */
  readonly filters: ReadonlyMap<StageNode, FilterRange>
  /** The pools each of whose cells is one inner product. */
  readonly patches: ReadonlyMap<StageNode, Patches>
  readonly steps: readonly Step[]
  readonly buffers: readonly StageBuffer[]
  /** Bytes of all buffers of a call, and of those kept between calls. */
  readonly workspace: Expr
  readonly keptBytes: Expr
}

/**
 * The stage graph: what a `forward` program computes. One interned node a use of a word, its operands as edges, its
 * functions as expressions over declared variables, and the type of its value.
 */

import type { Expr } from '../ir.ts'
import { NO_SPAN, type Span } from '../source.ts'

/** Who has a value of its own. An index head is a head of a learnt scorer, pooled away before attention. */
export const SHARES = ['request', 'kvHead', 'head', 'indexHead'] as const
export type Share = (typeof SHARES)[number]
export type Side = 'q' | 'kv'
export type Visible = 'any' | 'all' | 'off'
export type Reduce = 'sum' | 'mean' | 'max' | 'min'
export type Precision = 'f32' | 'int8' | 'int4' | 'fp8' | 'sign'

/**
 * How the tokens of a side are cut into units. Interned, so equal is `===`. A ragged last unit holds the tokens that exist;
 * a window that does not fit whole does not exist.
 */
export type Grouping =
  | { readonly kind: 'token' }
  | { readonly kind: 'whole' }
  | { readonly kind: 'block'; readonly size: number }
  | { readonly kind: 'window'; readonly size: number; readonly step: number }
  /** Variable lengths: the i32 table holds each unit's end. */
  | { readonly kind: 'chunk'; readonly ends: string }
  /** Labelled: the i32 table holds each token's unit; null where only rows of clusters are known, not their members. */
  | { readonly kind: 'cluster'; readonly labels: string | null }
  /** Index modulo step. */
  | { readonly kind: 'residue'; readonly step: number }
  /** Spans of tokens that a range or a split gives: for each sharer and q unit other ones, at most `most`, none longer. */
  | { readonly kind: 'span'; readonly most: Expr; readonly longest: Expr }
  /** The units of a set: for each sharer and q unit those that it holds, in the order of its list. */
  | { readonly kind: 'units'; readonly of: StageNode }
  /** Distances q - kv, counted in units of `of` (token or block) from `least` on; on the kv side alone. */
  | { readonly kind: 'offset'; readonly of: Grouping; readonly least: Expr; readonly count: Expr }
  /** Every step-th of some units, from start to before end; negative ones count from the end, as Python's do. */
  | {
      readonly kind: 'slice'
      readonly of: Grouping
      readonly start: Expr
      readonly end: Expr | null
      readonly step: number
    }

/** Interned. `order` is the argsort whose permutation put the tokens in this order; null: their own. */
export interface Axis {
  readonly side: Side
  readonly units: Grouping
  readonly order: StageNode<'argsort'> | null
}

export interface RowsType {
  readonly kind: 'rows'
  readonly share: Share
  readonly axis: Axis
  /** Length of a vector: a constant, or an expression of headDim, valueDim and a table's dims. */
  readonly channels: Expr
  /** The numbers that a component can be; arithmetic is f32 whatever this says. */
  readonly precision: Precision
}

/**
 * A matrix of q units and kv units, one for each sharer: virtual, unless the plan stores it. The first axis is that of
 * the rows, the second that of the columns; in a vector made by `values` the second may be of the q side.
 */
export interface ScoresType {
  readonly kind: 'scores'
  readonly share: Share
  readonly q: Axis
  readonly kv: Axis
  /**
   * How a cell is known to be visible: by the mask, of which it keeps `any` or `all` pairs; without it, `off`; or, of
   * distances, where a visible cell goes into it. A cell that `within` left out stays so under every word.
   */
  readonly visible: Visible | 'sources'
}

/** A set of (sharer, q unit, kv unit), meaning the token pairs that they hold, in original positions. */
export interface SetType {
  readonly kind: 'set'
  readonly share: Share
  readonly q: Axis
  readonly kv: Axis
  /** In which order a row's units are listed and met. */
  readonly sorted: 'index' | 'score'
  /** The most units that a row can have; a perHead param stands for its greatest value. */
  readonly most: Expr
}

export interface PermutationType {
  readonly kind: 'permutation'
  readonly share: Share
  readonly side: Side
}

/** The online softmax of every query token and head: running maximum, sum and weighted values. */
export interface StateType {
  readonly kind: 'state'
}
export interface OutputType {
  readonly kind: 'output'
}

export type ValueType = RowsType | ScoresType | SetType | PermutationType | StateType | OutputType
export type ValueKind = ValueType['kind']

/** `per`: the units within which a choice is made; the units of a set are those of the node's last operand. */
export type Per = Grouping | 'row' | 'head'

interface Choice {
  /** Boolean over a cell's units: taken first, whatever its score. */
  readonly force: Expr | null
  /** Whether forced units cost of the amount, or come on top of it. */
  readonly forced: 'counted' | 'extra'
  readonly per: Per
}

/** The axes that a pool changes; null: they stay. */
export interface Regrouping {
  readonly q: Grouping | null
  readonly kv: Grouping | null
  readonly share: Share | null
}

/** When a kept value is made anew. */
export type Until =
  | { readonly kind: 'steps'; readonly steps: Expr }
  | { readonly kind: 'layers' }
  /** When the cosine of the operand's rows with those of the last making falls to `above` or below. */
  | { readonly kind: 'similar'; readonly above: Expr }

export interface Tile {
  readonly q: number
  readonly kv: number
}

/**
 * What a node holds besides its operands. Functions are expressions: over rows they read `unit.*` and `channel`, over
 * scores `q.*`, `kv.*`, head, kvHead and batch; operands are `s`, `t`, `u` in order; pooling filters read `into.*` too.
 */
export interface Args {
  // Leaves
  /** Q, K, V or a declared table of rows. */
  input: { readonly name: string }
  /** One number a sharer: a param, a constant, a length; for each query token where `rows`, over the variable q. */
  fill: { readonly value: Expr; readonly share: Share; readonly rows: boolean }
  /** A predicate of token pairs over q and kv, original positions. */
  pairs: { readonly keep: Expr }
  /** A span [start, end) for each unit, over `unit.*`. */
  range: { readonly by: Grouping; readonly start: Expr; readonly end: Expr }

  // Rows
  slice: { readonly start: Expr; readonly end: Expr | null; readonly step: number }
  concat: null
  channels: { readonly table: string }
  linear: { readonly weight: string; readonly bias: string | null }
  rope: {
    readonly position: Expr
    readonly base: number
    readonly pairs: 'halves' | 'neighbours'
    /** How many leading channels turn; null: all. */
    readonly width: number | null
  }
  quantize: { readonly precision: Exclude<Precision, 'f32'> }
  poolRows: { readonly by: Grouping; readonly how: Reduce | 'concat'; readonly of: Expr | null }
  mapRows: { readonly value: Expr }
  permute: null

  // Scores
  dot: { readonly scale: Expr; readonly visible: Visible }
  values: { readonly value: Expr }
  map: { readonly value: Expr }
  softmax: null
  argmax: null
  skew: null
  unskew: null
  within: null
  /** `lse`: the logarithm of the sum of exponentials, which plans have and authors have no word for. */
  poolScores: Regrouping & { readonly how: Reduce | 'lse'; readonly of: Expr | null }
  count: null
  stateMax: null
  stateLse: null

  // Sets
  topK: Choice & { readonly sorted: SetType['sorted'] }
  topP: Choice & { readonly cross: 'keep' | 'drop' }
  where: { readonly keep: Expr }
  poolSet: Regrouping & { readonly how: 'any' | 'all' }
  union: null
  intersect: null
  difference: null
  split: { readonly by: 'parts' | 'size'; readonly amount: number }

  // Order
  argsort: { readonly descending: boolean; readonly per: Grouping | null }

  // Attention
  attend: {
    /** Of the operands' units, where K is not of tokens. */
    readonly visible: Visible
    /** Added to the scaled logit, over `q.*` and `kv.*`. */
    readonly bias: Expr | null
    /** Positions of rotary embedding, applied by the loader; over `q.*`, `kv.*`, rank and kept. */
    readonly position: { readonly q: Expr; readonly kv: Expr } | null
    readonly tile: Tile | null
    /** Of a whole tile: left out, or the last one of its rows. Over tileMax, rowMax, rowSum and the index record. */
    readonly skip: Expr | null
    readonly stop: Expr | null
  }
  merge: null
  gated: null

  // Control
  /** The first operand where `when` (of params alone) holds, else the second. */
  choose: { readonly when: Expr }
  reuse: { readonly name: string; readonly until: Until }
}
export type Word = keyof Args

/**
 * Operands in order. Those that are not plain:
 *   attend      Q, K, V, the set, and the state that it goes on with, if there is one
 *   topK, topP  the scores, the amount (scores whose kv axis is whole), and the set whose units are `per`, if it is one
 *   gated       state, weight, state, weight, ..
 *   poolScores  the scores, and the set whose units are the new kv axis, if it is one
 *   reuse       the value, and the rows that are compared, if `until` says so
 */
export type StageNode<W extends Word = Word> = W extends Word
  ? {
      readonly word: W
      readonly src: readonly StageNode[]
      readonly arg: Args[W]
      readonly type: ValueType
      readonly span: Span
      /** Order of making within one graph: sources stand before their users. */
      readonly id: number
    }
  : never

/** Vectors that the caller passes besides Q, K and V; their channels are the uniform `$name.channels`. */
export interface RowsInput {
  readonly name: string
  readonly side: Side
  readonly share: Share
  readonly grain: 'token' | 'whole'
}

export interface StageGraph {
  readonly inputs: readonly RowsInput[]
  /** A state or an output: what `forward` returns. */
  readonly result: StageNode
  /** What the result is made of, sources before their users. */
  readonly nodes: readonly StageNode[]
}

/** Makes groupings, axes and nodes of one pattern; equal ones are the same object. */
export class StageInterner {
  readonly #nodes = new Map<string, StageNode>()
  readonly #groupings = new Map<string, Grouping>()
  readonly #axes = new Map<string, Axis>()
  readonly #numbers = new Map<object, number>()

  grouping(wanted: Grouping): Grouping {
    return remember(this.#groupings, this.#key(wanted), () => wanted)
  }

  axis(side: Side, units: Grouping, order: Axis['order'] = null): Axis {
    const made: Axis = { side, units: this.grouping(units), order }
    return remember(this.#axes, `${side} ${this.#key(made.units)} ${order?.id ?? ''}`, () => made)
  }

  node<W extends Word>(
    word: W,
    src: readonly StageNode[],
    arg: Args[W],
    type: ValueType,
    span: Span = NO_SPAN,
  ): StageNode {
    const key = `${word} ${src.map((n) => n.id).join(',')} ${this.#key(arg)} ${this.#key(type)}`
    const made = () => ({ word, src, arg, type, span, id: this.#nodes.size }) as unknown as StageNode
    return remember(this.#nodes, key, made)
  }

  /** Text that two equal records share: what is interned goes by its number, the rest by its fields. */
  #key(x: unknown): string {
    if (typeof x !== 'object' || x === null) return `${typeof x}:${String(x)}`
    if ('op' in x || 'word' in x) {
      const number = this.#numbers.get(x) ?? this.#numbers.size
      this.#numbers.set(x, number)
      return `#${number}`
    }
    const fields = Object.entries(x).map(([name, value]) => `${name}=${this.#key(value)}`)
    return `{${fields.toSorted().join(' ')}}`
  }
}

function remember<V>(known: Map<string, V>, key: string, make: () => V): V {
  const found = known.get(key) ?? make()
  known.set(key, found)
  return found
}

/** What a node is made of, sources before their users; units of a set count as sources. */
export function nodesUnder(...roots: readonly StageNode[]): StageNode[] {
  const seen = new Set<StageNode>()
  const go = (node: StageNode): void => {
    if (seen.has(node)) return
    node.src.forEach(go)
    seen.add(node)
  }
  roots.forEach(go)
  return [...seen]
}

/** True of the set that an attend has where the author gives none: all that the mask keeps. */
export const isEverything = (node: StageNode): boolean =>
  node.word === 'pairs' && node.arg.keep.op === 'const' && node.arg.keep.arg === true

/** The author's functions and numbers in a graph, as expressions. */
export function functionsIn({ nodes }: StageGraph): Expr[] {
  const inside = (x: unknown): Expr[] => {
    if (typeof x !== 'object' || x === null || 'word' in x) return []
    return 'op' in x ? [x as Expr] : Object.values(x).flatMap(inside)
  }
  return nodes.flatMap((node) => inside(node.arg))
}

export const isWord = <W extends Word>(node: StageNode, ...words: readonly W[]): node is StageNode<W> =>
  words.some((word) => word === node.word)

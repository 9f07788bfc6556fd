/** The oracle: a pattern run as JavaScript and tensors in, attention in f64 under that pattern out. */

import type { Dim, TableInfo } from '../compiler/plan.ts'
import type { RowsSpec, Step } from '../dsl/index.ts'
import { roundBfloat } from './bfloat.ts'
import { roundHalf } from './half.ts'
import { resolveLengths, type Length, type RealLength } from './lengths.ts'
import { HeddleError } from './messages.ts'
import { resolveParams, type Params, type ParamSpec, type ParamValues } from './params.ts'
import { attendForward, type Carried } from './reference-forward.ts'
import { resolveTables, tableAt, type Table, type TableData } from './tables.ts'
import {
  checkDtypes,
  readView,
  sizesOf,
  viewOf,
  type Layout,
  type Sizes,
  type StorageDtype,
  type Tensor,
  type View,
} from './tensor.ts'

type ElementTable = Omit<TableInfo, 'name' | 'dims'> & {
  readonly kind?: 'table'
  readonly dims: readonly (string | number)[]
}

/** What the oracle reads of what pattern() returns. */
export interface ReferencePattern {
  readonly consts: Readonly<Record<string, number>>
  readonly params: Readonly<Record<string, ParamSpec>>
  readonly tables: Readonly<Record<string, ElementTable | RowsSpec>>
  readonly mask: (ix: never) => boolean
  readonly score: ((s: number, ix: never) => number) | null
  readonly sinkLogit: ((ix: never) => number) | null
  /** Which pairs are attended, where that depends on the data; all that the mask keeps, without one. */
  readonly forward?: ((inputs: never) => unknown) | null
}

export interface ReferenceCall {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly params?: ParamValues
  readonly tables?: Readonly<Record<string, TableData>>
  readonly scale?: number
  readonly lengths?: readonly Length[]
  /** The vectors that a forward program reads besides q, k and v: [batch, sharers, tokens, channels]. */
  readonly rows?: Readonly<Record<string, Tensor>>
  /** For each batch entry, what reuse() keeps from call to call. */
  readonly carried?: readonly Carried[]
  /** Of tensors that name none; results are always contiguous [batch, heads, len, dim]. */
  readonly layout?: Layout
}

export interface ReferenceResult {
  /** [batch, heads, qLen, valueDim]. */
  readonly out: Float64Array
  /**
   * [batch, heads, qLen]; -Infinity where a row attends nothing and the pattern has no sink logit. NaN of a gated sum,
   * which has none.
   */
  readonly lse: Float64Array
  /** Number of (batch, head, query, key) that are attended. */
  readonly kept: number
  /** The largest magnitude of a kept logit, before or after the score function: what rounding errors grow with. */
  readonly logitMax: number
  /** The largest magnitude of a value that some query attends. */
  readonly valueMax: number
  /** Whether a query row attends a key row (rows of the tensors, not positions). */
  keeps(batch: number, head: number, row: number, kvRow: number): boolean
  /**
   * By batch entry: what each selecting word of a forward program chose from and what it chose, in the program's order.
   * Without one, nothing.
   */
  readonly steps: readonly (readonly Step[])[]
}

/** Attention as the definition says it, in f64: what every kernel is compared with. */
export function reference(pattern: ReferencePattern, call: ReferenceCall): ReferenceResult {
  return attend(pattern, call, { weigh: (x) => x, single: false })
}

const ROUND: Readonly<Record<StorageDtype, (x: number) => number>> = {
  f32: Math.fround,
  f16: roundHalf,
  bf16: roundBfloat,
}

/**
 * The same attention with every step rounded to f32, and the output rounded to what the tensors hold: its error against
 * `reference` is what plain attention of that precision has, and the yardstick for a kernel's.
 */
export function plain32(pattern: ReferencePattern, call: ReferenceCall): ReferenceResult {
  const store = ROUND[viewOf('q', call.q, call.layout).dtype]
  const result = attend(pattern, call, { weigh: (x) => x, single: true })
  return { ...result, out: result.out.map(store) }
}

/**
 * As plain32, but what softmax weighs values with is rounded to the tensors' type before it meets them, as matrix units
 * take it: the yardstick for kernels that run on those.
 */
export function plain16(pattern: ReferencePattern, call: ReferenceCall): ReferenceResult {
  const store = ROUND[viewOf('q', call.q, call.layout).dtype]
  const result = attend(pattern, call, { weigh: store, single: true })
  return { ...result, out: result.out.map(store) }
}

/** What a pattern's functions are called with: the index record and the pattern's own names. */
export interface Named {
  [name: string]: number | { at(...indices: number[]): number }
}

/** How the arithmetic of attention is rounded. */
export interface Precision {
  /** Rounds what values are weighed with. */
  readonly weigh: (x: number) => number
  /** Everything is rounded to f32. */
  readonly single: boolean
}

/** One call, checked, and the pattern's functions bound to it. */
export interface Prepared {
  readonly sizes: Sizes
  readonly lengths: readonly RealLength[]
  readonly views: { readonly q: View; readonly k: View; readonly v: View }
  readonly params: Params
  readonly tables: readonly Table[]
  readonly scale: number
  /** The record for all pairs: a pattern reads its fields and keeps nothing. */
  readonly ix: Named
  /** Sets the record to a head of a batch entry. */
  enter(batch: number, head: number): void
}

function prepare(pattern: ReferencePattern, call: ReferenceCall): Prepared {
  const views = {
    q: viewOf('q', call.q, call.layout),
    k: viewOf('k', call.k, call.layout),
    v: viewOf('v', call.v, call.layout),
  }
  checkDtypes(views.q, [views.k, views.v])
  const sizes = sizesOf(views.q.shape, views.k.shape, views.v.shape)
  const { qHeads, kvHeads, headDim } = sizes
  const lengths = resolveLengths(call.lengths, sizes)
  const params = resolveParams(
    Object.entries(pattern.params).map(([name, spec]) => named(name, spec)),
    call.params,
    qHeads,
  )
  const tables = resolveTables(tableInfos(pattern), call.tables, withIndexHeads(pattern, call, sizes))
  const scale: unknown = call.scale ?? headDim ** -0.5
  if (typeof scale !== 'number' || !Number.isFinite(scale)) throw new HeddleError('scale', { got: scale })
  const ix: Named = { ...pattern.consts, qHeads, kvHeads, headDim }
  for (const table of tables) ix[table.info.name] = { at: (...indices) => tableAt(table, indices) }
  const enter = (b: number, head: number): void => {
    const kvHead = Math.floor((head * kvHeads) / qHeads)
    Object.assign(ix, { batch: b, head, kvHead, qLen: lengths[b]!.qLen, kvLen: lengths[b]!.kvLen })
    for (const [name, values] of params) ix[name] = values[head] ?? values[0]!
  }
  return { sizes, lengths, views, params, tables, scale, ix, enter }
}

/** An indexer has as many heads as its rows. */
function withIndexHeads(pattern: ReferencePattern, { rows }: ReferenceCall, sizes: Sizes): Sizes {
  const named = Object.entries(pattern.tables).find(
    ([, spec]) => spec.kind === 'rows-input' && spec.share === 'indexHead',
  )
  const tensor = named && rows?.[named[0]]
  return tensor ? { ...sizes, indexHeads: tensor.shape[1] } : sizes
}

function attend(pattern: ReferencePattern, call: ReferenceCall, precision: Precision): ReferenceResult {
  const prepared = prepare(pattern, call)
  return pattern.forward
    ? attendForward(pattern, call, prepared, precision)
    : attendAll(pattern, prepared, precision)
}

/** Attention over all that the mask keeps. */
function attendAll(
  pattern: ReferencePattern,
  prepared: Prepared,
  { weigh, single }: Precision,
): ReferenceResult {
  const round = (x: number): number => (single ? Math.fround(x) : x)
  const { sizes, lengths, ix, enter } = prepared
  const { q, k, v } = prepared.views
  const { batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim } = sizes
  const factor = round(prepared.scale)
  const group = qHeads / kvHeads
  const mask = pattern.mask as (ix: Named) => boolean
  const score = pattern.score as ((s: number, ix: Named) => number) | null
  const sinkLogit = pattern.sinkLogit as ((ix: Named) => number) | null

  const [qs, ks, vs] = [readView(q), readView(k), readView(v)]
  const out = new Float64Array(batch * qHeads * qRows * valueDim)
  const lse = new Float64Array(batch * qHeads * qRows).fill(-Infinity)
  let kept = 0
  let logitMax = 0
  let valueMax = 0
  const keys: number[] = []
  const logits: number[] = []

  const attendRow = (b: number, head: number, row: number, kvHead: number): void => {
    const { qRow, qStart, kvStart, kvLen } = lengths[b]!
    const qAt = ((b * qHeads + head) * qRows + row) * headDim
    const kvBase = (b * kvHeads + kvHead) * kvRows + kvStart
    ix.q = qStart + row - qRow
    keys.length = logits.length = 0
    for (let kv = 0; kv < kvLen; kv++) {
      ix.kv = kv
      if (!mask(ix)) continue
      const kAt = (kvBase + kv) * headDim
      let dot = 0
      // The innermost loop: a call of `round` for every product takes three times as long.
      if (single)
        for (let i = 0; i < headDim; i++) dot = Math.fround(dot + Math.fround(qs[qAt + i]! * ks[kAt + i]!))
      else for (let i = 0; i < headDim; i++) dot += qs[qAt + i]! * ks[kAt + i]!
      const plain = round(dot * factor)
      const logit = score ? round(score(plain, ix)) : plain
      logitMax = Math.max(logitMax, Math.abs(plain), Number.isFinite(logit) ? Math.abs(logit) : 0)
      keys.push(kv)
      logits.push(logit)
    }
    kept += keys.length
    const sink = sinkLogit ? round(sinkLogit(ix)) : -Infinity
    const top = logits.reduce((a, b) => Math.max(a, b), sink)
    if (top === -Infinity) return
    let sum = round(Math.exp(round(sink - top)))
    const rowAt = (b * qHeads + head) * qRows + row
    const acc = out.subarray(rowAt * valueDim, (rowAt + 1) * valueDim)
    keys.forEach((kv, n) => {
      const p = round(Math.exp(round(logits[n]! - top)))
      sum = round(sum + p)
      const weight = weigh(p)
      const vAt = (kvBase + kv) * valueDim
      for (let i = 0; i < valueDim; i++) {
        const value = vs[vAt + i]!
        valueMax = Math.max(valueMax, Math.abs(value))
        acc[i] = round(acc[i]! + round(weight * value))
      }
    })
    for (let i = 0; i < valueDim; i++) acc[i] = round(acc[i]! / sum)
    lse[rowAt] = round(top + round(Math.log(sum)))
  }

  for (let b = 0; b < batch; b++) {
    const { qRow, qLen } = lengths[b]!
    for (let head = 0; head < qHeads; head++) {
      enter(b, head)
      for (let row = qRow; row < qRow + qLen; row++) attendRow(b, head, row, Math.floor(head / group))
    }
  }
  const keeps = (b: number, head: number, row: number, kvRow: number): boolean => {
    const { qRow, qStart, qLen, kvStart, kvLen } = lengths[b]!
    const real = row >= qRow && row < qRow + qLen && kvRow >= kvStart && kvRow < kvStart + kvLen
    if (!real) return false
    enter(b, head)
    ix.q = qStart + row - qRow
    ix.kv = kvRow - kvStart
    return mask(ix)
  }
  return { out, lse, kept, logitMax, valueMax, keeps, steps: lengths.map(() => []) }
}

const named = <T extends object>(name: string, spec: T): T & { readonly name: string } => ({ ...spec, name })

/** Dims that are names of consts become their sizes, as they do when the pattern is compiled. */
const tableInfos = ({ tables, consts }: ReferencePattern): TableInfo[] => {
  const sizeOf = (d: string | number) =>
    typeof d === 'string' && Object.hasOwn(consts, d) ? consts[d]! : (d as Dim)
  return Object.entries(tables).flatMap(([name, spec]) =>
    'dims' in spec ? [named(name, { ...spec, dims: spec.dims.map(sizeOf) })] : [],
  )
}

/** Attention over part of the keys. */
export interface Half {
  readonly out: ArrayLike<number>
  readonly lse: ArrayLike<number>
}

/** Attention over the union of two disjoint sets of keys; at most one of the two may hold the sink logit. */
export function mergeHalves(a: Half, b: Half): { out: Float64Array; lse: Float64Array } {
  const rows = a.lse.length
  const dim = rows === 0 ? 0 : a.out.length / rows
  const out = new Float64Array(a.out.length)
  const lse = new Float64Array(rows).fill(-Infinity)
  for (let row = 0; row < rows; row++) {
    const top = Math.max(a.lse[row]!, b.lse[row]!)
    if (top === -Infinity) continue
    const [x, y] = [Math.exp(a.lse[row]! - top), Math.exp(b.lse[row]! - top)]
    lse[row] = top + Math.log(x + y)
    for (let i = row * dim; i < (row + 1) * dim; i++) out[i] = (x * a.out[i]! + y * b.out[i]!) / (x + y)
  }
  return { out, lse }
}

/** The oracle: a pattern run as JavaScript and tensors in, dense attention in f64 under that pattern out. */

import type { Dim, TableInfo } from '../compiler/plan.ts'
import type { RowsSpec } from '../dsl/index.ts'
import { roundBfloat } from './bfloat.ts'
import { roundHalf } from './half.ts'
import { resolveLengths, type Length } from './lengths.ts'
import { HeddleError } from './messages.ts'
import { resolveParams, type ParamSpec, type ParamValues } from './params.ts'
import { resolveTables, tableAt, type TableData } from './tables.ts'
import {
  checkDtypes,
  readView,
  sizesOf,
  viewOf,
  type Layout,
  type StorageDtype,
  type Tensor,
} from './tensor.ts'

type ElementTable = Omit<TableInfo, 'name' | 'dims'> & { readonly dims: readonly (string | number)[] }

/** What the oracle reads of what pattern() returns. */
export interface ReferencePattern {
  readonly consts: Readonly<Record<string, number>>
  readonly params: Readonly<Record<string, ParamSpec>>
  readonly tables: Readonly<Record<string, ElementTable | RowsSpec>>
  readonly mask: (ix: never) => boolean
  readonly score: ((s: number, ix: never) => number) | null
  readonly sinkLogit: ((ix: never) => number) | null
}

export interface ReferenceCall {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly params?: ParamValues
  readonly tables?: Readonly<Record<string, TableData>>
  readonly scale?: number
  readonly lengths?: readonly Length[]
  /** Of tensors that name none; results are always contiguous [batch, heads, len, dim]. */
  readonly layout?: Layout
}

export interface ReferenceResult {
  /** [batch, heads, qLen, valueDim]. */
  readonly out: Float64Array
  /** [batch, heads, qLen]; -Infinity where a row attends nothing and the pattern has no sink logit. */
  readonly lse: Float64Array
  /** Number of (batch, head, query, key) that the mask keeps. */
  readonly kept: number
  /** The largest magnitude of a kept logit, before or after the score function: what rounding errors grow with. */
  readonly logitMax: number
  /** The largest magnitude of a value that some query attends. */
  readonly valueMax: number
  /** Whether a query row attends a key row (rows of the tensors, not positions). */
  keeps(batch: number, head: number, row: number, kvRow: number): boolean
}

/** Attention as the definition says it, in f64: what every kernel is compared with. */
export function reference(pattern: ReferencePattern, call: ReferenceCall): ReferenceResult {
  return attend(pattern, call, (x) => x, false)
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
  const result = attend(pattern, call, (x) => x, true)
  return { ...result, out: result.out.map(store) }
}

/**
 * As plain32, but what softmax weighs values with is rounded to the tensors' type before it meets them, as matrix units
 * take it: the yardstick for kernels that run on those.
 */
export function plain16(pattern: ReferencePattern, call: ReferenceCall): ReferenceResult {
  const store = ROUND[viewOf('q', call.q, call.layout).dtype]
  const result = attend(pattern, call, store, true)
  return { ...result, out: result.out.map(store) }
}

interface Named {
  [name: string]: number | { at(...indices: number[]): number }
}

/**
 * @param weigh rounds what values are weighed with
 * @param single rounds everything to f32
 */
function attend(
  pattern: ReferencePattern,
  call: ReferenceCall,
  weigh: (x: number) => number,
  single: boolean,
): ReferenceResult {
  const round = (x: number): number => (single ? Math.fround(x) : x)
  const [q, k, v] = [
    viewOf('q', call.q, call.layout),
    viewOf('k', call.k, call.layout),
    viewOf('v', call.v, call.layout),
  ]
  checkDtypes(q, [k, v])
  const sizes = sizesOf(q.shape, k.shape, v.shape)
  const { batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim } = sizes
  const lengths = resolveLengths(call.lengths, sizes)
  const params = resolveParams(
    Object.entries(pattern.params).map(([name, spec]) => named(name, spec)),
    call.params,
    qHeads,
  )
  const tables = resolveTables(tableInfos(pattern), call.tables, sizes)
  const scale: unknown = call.scale ?? headDim ** -0.5
  if (typeof scale !== 'number' || !Number.isFinite(scale)) throw new HeddleError('scale', { got: scale })
  const factor = round(scale)

  // One record for all pairs: a pattern reads its fields and keeps nothing.
  const ix: Named = { ...pattern.consts, qHeads, kvHeads, headDim }
  for (const table of tables) ix[table.info.name] = { at: (...indices) => tableAt(table, indices) }
  const group = qHeads / kvHeads
  const enter = (b: number, head: number): void => {
    Object.assign(ix, {
      batch: b,
      head,
      kvHead: Math.floor(head / group),
      qLen: lengths[b]!.qLen,
      kvLen: lengths[b]!.kvLen,
    })
    for (const [name, values] of params) ix[name] = values[head] ?? values[0]!
  }
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
  return { out, lse, kept, logitMax, valueMax, keeps }
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

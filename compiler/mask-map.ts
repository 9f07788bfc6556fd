/** A lowered pattern at given lengths, params and tables in; the class of every tile out, by looking at every pair. */

import { evaluate, nodesOf, type Environment, type Expr, type VarName } from './ir.ts'
import { OPS, type Value } from './ops.ts'
import type { Dim, KernelPlan, PatternIr } from './plan.ts'
import { tileClass, type TileClass } from './tiles.ts'

/** Where a symbolic pattern is looked at: one (batch, head), its lengths, and values for what stays symbolic. */
export interface Setting {
  readonly batch: number
  readonly batches: number
  readonly head: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
  /** A list has one value per query head. Params not named take their defaults. */
  readonly params: Readonly<Record<string, number | readonly number[]>>
  /** Flat, the last dimension the fastest. A table not named reads as 0. */
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
}

export interface MaskMap {
  readonly tile: { readonly q: number; readonly kv: number }
  readonly rows: number
  readonly columns: number
  /** Of tile (i, j) at i * columns + j: how many pairs are kept. */
  readonly kept: Int32Array
  readonly classOf: (row: number, column: number) => TileClass
  readonly counts: Readonly<Record<TileClass, number>>
  readonly keptPairs: number
  /** Some pair attends a key behind the query: density is then a share of all pairs, not of the causal ones. */
  readonly bidirectional: boolean
  readonly density: number
  readonly tileDensity: number
}

/** How many entries a table's dimension has. */
export function sizeOfDim(dim: Dim, at: Setting): number {
  if (typeof dim === 'number') return dim
  const sizes = {
    batch: at.batches,
    head: at.qHeads,
    kvHead: at.kvHeads,
    indexHead: 1,
    qLen: at.qLen,
    kvLen: at.kvLen,
    headDim: at.headDim,
  }
  return sizes[dim]
}

/** The values of every leaf at one setting; q, kv and the tile's bounds come from `positions`. */
export function environmentOf(
  p: PatternIr,
  at: Setting,
  positions: Partial<Record<VarName, number>> = {},
): Environment {
  const group = Math.max(1, Math.floor(at.qHeads / at.kvHeads))
  const fields: Record<string, number> = {
    batch: at.batch,
    head: at.head,
    kvHead: Math.floor(at.head / group),
    qLen: at.qLen,
    kvLen: at.kvLen,
    qHeads: at.qHeads,
    kvHeads: at.kvHeads,
    headDim: at.headDim,
  }
  const tables = new Map(
    p.tables.map((t) => [t.name, { dims: t.dims.map((d) => sizeOfDim(d, at)), data: at.tables[t.name] }]),
  )
  const derived = new Map<string, number>()
  const env: Environment = {
    var: (name) => positions[name] ?? fields[name] ?? fail(`no value for ${name}`),
    param: (name) => {
      const info = p.params.find((i) => i.name === name) ?? fail(`no param ${name}`)
      const given = at.params[name] ?? info.default
      const value =
        typeof given === 'number'
          ? given
          : (given[at.head] ?? fail(`no value of ${name} for head ${at.head}`))
      return info.type === 'f32' ? Math.fround(value) : value
    },
    derived: (name) => {
      const known = derived.get(name)
      if (known !== undefined) return known
      const info = p.derived.find((i) => i.name === name) ?? fail(`no derived uniform ${name}`)
      const value = Number(evaluate(info.value, env))
      const stored = info.type === 'f32' ? Math.fround(value) : value
      derived.set(name, stored)
      return stored
    },
    load: (name, indices) => {
      const table = tables.get(name) ?? fail(`no table ${name}`)
      let flat = 0
      for (const [i, size] of table.dims.entries()) {
        const index = indices[i] ?? -1
        if (index < 0 || index >= size) return 0
        flat = flat * size + index
      }
      return table.data?.[flat] ?? 0
    },
  }
  return env
}

const fail = (what: string): never => {
  throw new Error(what)
}

/** A node's values along one row of pairs: `step` 0 repeats the one value, 1 has one per key. */
interface Lane {
  readonly data: Float64Array
  readonly step: 0 | 1
}

/**
 * The mask of one query after another, as 0 and 1 per key. Same rows of the op table as `evaluate`, but a node that does
 * not read q is computed once, and one that does not read kv once a row; the buffer returned is used again.
 */
export function maskRows(p: PatternIr, at: Setting): (q: number) => Float64Array {
  let q = 0
  let kv = 0
  const base = environmentOf(p, at)
  const env: Environment = {
    ...base,
    var: (name) => (name === 'q' ? q : name === 'kv' ? kv : base.var(name)),
  }
  const lanes = new Map<Expr, Lane>()
  const perRow: Expr[] = []
  const readsQ = new Map<Expr, boolean>()

  const fill = (e: Expr, lane: Lane) => {
    const src = e.src.map((s) => lanes.get(s)!)
    const [a, b] = src
    const n = lane.step === 0 ? 1 : at.kvLen
    const out = lane.data
    if (
      e.op === 'var' ||
      e.op === 'param' ||
      e.op === 'derived' ||
      e.op === 'const' ||
      e.op === 'load' ||
      e.op === 'pick'
    ) {
      for (let i = 0; i < n; i++) {
        kv = i
        const indices = src.map((s) => s.data[i * s.step]!)
        if (e.op === 'load') out[i] = env.load(e.arg, indices)
        else if (e.op === 'pick') out[i] = e.arg[indices[0]!] ?? 0
        else out[i] = Number(evaluate(e, env))
      }
      return
    }
    const f = OPS[e.op].eval as unknown as (...args: number[]) => Value
    if (a && b && src.length === 2)
      for (let i = 0; i < n; i++) out[i] = Number(f(a.data[i * a.step]!, b.data[i * b.step]!))
    else for (let i = 0; i < n; i++) out[i] = Number(f(...src.map((s) => s.data[i * s.step]!)))
  }

  for (const e of nodesOf(p.mask)) {
    const usesQ = (e.op === 'var' && e.arg === 'q') || e.src.some((s) => readsQ.get(s))
    const usesKv = (e.op === 'var' && e.arg === 'kv') || e.src.some((s) => lanes.get(s)!.step === 1)
    readsQ.set(e, usesQ)
    const lane: Lane = { data: new Float64Array(usesKv ? at.kvLen : 1), step: usesKv ? 1 : 0 }
    lanes.set(e, lane)
    if (usesQ) perRow.push(e)
    else fill(e, lane)
  }
  const mask = lanes.get(p.mask)!
  const row = new Float64Array(at.kvLen)
  return (position) => {
    q = position
    for (const e of perRow) fill(e, lanes.get(e)!)
    return mask.step === 1 ? mask.data : row.fill(mask.data[0]!)
  }
}

/** The first query's position: with fewer queries than keys they stand at the end. */
export const firstPosition = (at: Setting): number => at.kvLen - at.qLen

/** Tiles by brute force. A tile cut by the end of the keys is full if all its real pairs are kept. */
export function mapMask(
  p: PatternIr,
  at: Setting,
  tile: { readonly q: number; readonly kv: number },
): MaskMap {
  const rows = Math.ceil(at.qLen / tile.q)
  const columns = Math.ceil(at.kvLen / tile.kv)
  const kept = new Int32Array(rows * columns)
  const start = firstPosition(at)
  const rowOf = maskRows(p, at)
  let bidirectional = false
  let causalPairs = 0
  for (let r = 0; r < at.qLen; r++) {
    const position = start + r
    const row = rowOf(position)
    const first = Math.floor(r / tile.q) * columns
    causalPairs += Math.max(0, Math.min(position + 1, at.kvLen))
    for (let kv = 0; kv < at.kvLen; kv++) {
      if (row[kv] === 0) continue
      const cell = first + Math.floor(kv / tile.kv)
      kept[cell] = kept[cell]! + 1
      if (kv > position) bidirectional = true
    }
  }
  const pairsOf = (i: number, j: number) =>
    Math.min(tile.q, at.qLen - i * tile.q) * Math.min(tile.kv, at.kvLen - j * tile.kv)
  const classOf = (i: number, j: number): TileClass => {
    const count = kept[i * columns + j] ?? 0
    return count === 0 ? 'empty' : count === pairsOf(i, j) ? 'full' : 'partial'
  }
  const keptPairs = kept.reduce((a, b) => a + b, 0)
  const counts = countClasses(rows, columns, classOf)
  const pairs = bidirectional ? at.qLen * at.kvLen : causalPairs
  return {
    tile,
    rows,
    columns,
    kept,
    classOf,
    counts,
    keptPairs,
    bidirectional,
    density: pairs === 0 ? 0 : keptPairs / pairs,
    tileDensity: rows * columns === 0 ? 0 : (counts.partial + counts.full) / (rows * columns),
  }
}

function countClasses(
  rows: number,
  columns: number,
  classOf: (i: number, j: number) => TileClass,
): Record<TileClass, number> {
  const counts = { empty: 0, partial: 0, full: 0 }
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) counts[classOf(i, j)]++
  return counts
}

export interface PlanMap {
  readonly classOf: (row: number, column: number) => TileClass
  readonly counts: Readonly<Record<TileClass, number>>
}

/** Tiles as the plan finds them, without looking at pairs: what a kernel visits, and where it leaves out the mask. */
export function mapPlan(
  plan: KernelPlan,
  at: Setting,
  tile: { readonly q: number; readonly kv: number },
): PlanMap {
  const rows = Math.ceil(at.qLen / tile.q)
  const columns = Math.ceil(at.kvLen / tile.kv)
  const start = firstPosition(at)
  const classes: TileClass[] = []
  const env = environmentOf(plan, at)
  const varsOf = (name: VarName, ends: Partial<Record<VarName, number>>) => ends[name] ?? env.var(name)
  for (let i = 0; i < rows; i++) {
    const qLo = start + i * tile.q
    const qHi = start + Math.min(at.qLen, (i + 1) * tile.q) - 1
    for (let j = 0; j < columns; j++) {
      const kvLo = j * tile.kv
      const kvHi = Math.min(at.kvLen, kvLo + tile.kv) - 1
      const found = tileClass(plan.tiles, { ...env, var: (name) => varsOf(name, { qLo, qHi, kvLo, kvHi }) })
      // Keys beyond the end need the mask, whatever the terms say.
      classes.push(found === 'full' && kvLo + tile.kv > at.kvLen ? 'partial' : found)
    }
  }
  const classOf = (i: number, j: number) => classes[i * columns + j] ?? 'empty'
  return { classOf, counts: countClasses(rows, columns, classOf) }
}

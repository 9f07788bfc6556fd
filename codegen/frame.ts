/** Frame: what the entry points of one module share: uniforms, buffers, tables, the mask and score as functions. */

import { nodesOf, type Expr, type VarName } from '../compiler/ir.ts'
import type { KernelPlan } from '../compiler/plan.ts'
import { META_PER_BATCH, UNIFORM_FIELDS, type Binding, type Dtype } from './artifact.ts'
import type { Block } from './block.ts'
import { patternFunction, Values, write, type Leaves, type PatternFunction, type Rate } from './expr.ts'
import {
  add,
  at,
  i32,
  le,
  max,
  min,
  mul,
  op,
  quotient,
  remainder,
  sub,
  toU32,
  u32,
  type Buffer,
  type Code,
  type Type,
} from './kernel.ts'
import { Module } from './module.ts'
import { cutOf, plainTiling, unitTiling, type Cut, type Parts, type TileRows } from './rows.ts'
import type { Schedule } from './schedule.ts'

export interface Problem {
  readonly plan: KernelPlan
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: Dtype
  readonly schedule: Schedule
  /** Null: every pair that the plan keeps is attended. */
  readonly parts: Parts | null
  /** Keys and values that are stored rows of f32, and how many there are; null: the call's own, one a token. */
  readonly rows: { readonly count: Expr } | null
  /** True, over tileMax and rowMax, of tiles that need not be added up; a tile is `tile.q` by `tile.kv`. */
  readonly skip: Expr | null
  /** Whether the kernel goes on with a state, and whether it leaves one or the output. */
  readonly state: { readonly before: boolean; readonly makes: 'output' | 'state' }
}

/** Vector loads need rows of whole vectors. */
export const alignOf = ({ headDim, valueDim }: Problem): 1 | 4 =>
  headDim % 4 === 0 && valueDim % 4 === 0 ? 4 : 1

export interface Tile {
  readonly q: number
  readonly kv: number
}
export const tileOf = ({ threads, rows }: Schedule): Tile => ({ q: threads.q * rows, kv: threads.kv * 4 })

/** True if an entry point of its own looks for the tiles of the plan's ranges. */
export const walksList = ({ plan, parts }: Problem): boolean =>
  plan.tiles.how === 'list' && (parts === null || parts.ranges)

/** Every expression of a plan. */
export function expressionsOf({ mask, score, sinkLogit, tiles }: KernelPlan): Expr[] {
  const terms = [...tiles.kept, ...tiles.dropped]
  return [
    mask,
    ...[score, sinkLogit].filter((e) => e !== null),
    ...terms.flatMap((t) => [t.when, t.lo, t.hi, t.test, t.pieces.q, t.pieces.kv].filter((e) => e !== null)),
  ]
}

export class Frame extends Module<Binding['role']> {
  readonly problem: Problem
  readonly tile: Tile
  /** What reads no variable of a workgroup: the uniform block, tables, constant arrays. */
  readonly leaves: Leaves
  /** Null if every pair is kept. */
  readonly mask: PatternFunction | null
  readonly score: PatternFunction | null
  /** The mask of pairs that lists hold. */
  readonly listed: PatternFunction | null
  /** Which tiles a row does without. */
  readonly skips: PatternFunction | null
  /** How query rows become tiles where lists ask for it; null: one after another. */
  readonly cut: Cut | null
  readonly #used: ReadonlySet<Expr>

  constructor(problem: Problem, reserved: ReadonlySet<string>) {
    const { plan, parts, headDim } = problem
    super({ fixed: UNIFORM_FIELDS, params: plan.params, tables: plan.tables, headDim, reserved })
    this.problem = problem
    this.tile = tileOf(problem.schedule)
    // Tiles that are part of the meaning are cut from position 0.
    const whole = problem.skip ? { unit: this.tile.q, packed: false } : null
    this.cut = parts ? cutOf(parts, plan, this.tile) : whole
    const expressions = [plan, ...(parts ? [parts.listed] : [])].flatMap(expressionsOf)
    this.#used = new Set(nodesOf(...expressions, ...(problem.skip ? [problem.skip] : [])))
    this.add('meta', 'metaData', 'read', 'i32')
    const element = this.#element()
    const scalarHalves = problem.dtype === 'f16' && element === 'u32'
    this.add('q', 'qData', 'read', element)
    const stored = problem.rows ? (alignOf(problem) === 4 ? 'f32x4' : 'f32') : element
    this.add('k', 'kData', 'read', stored)
    this.add('v', 'vData', 'read', stored)
    if (problem.state.makes === 'state') this.add('state', 'stateData', 'read_write', 'f32x4')
    else {
      // Two rows may share a word, so each half is written by an atomic pair of its own.
      this.add('out', 'outData', 'read_write', element, {}, scalarHalves)
      this.add('lse', 'lseData', 'read_write', 'u32')
    }
    if (problem.state.before) this.add('before', 'beforeData', 'read', 'f32x4')
    if (walksList(problem)) this.add('list', 'tileList', 'read_write', 'u32')
    parts?.lists.forEach((_, n) => this.add('part', `list${n}`, 'read', 'i32', { part: n }))
    if (parts?.kvOrder) this.add('kvOrder', 'keyOrder', 'read', 'i32')
    this.leaves = {
      var: (v) => this.#globalVar(v),
      param: (p) => this.uniform(p, true),
      derived: (d) => {
        throw new Error(`derived uniform ${d} is read outside a workgroup`)
      },
      load: (table, indices) => this.load(table, indices),
      pick: (values, type, index) => this.pick(values, type, index),
    }
    const maskOf = (wish: string, { mask }: KernelPlan) => {
      const open = mask.op === 'const' && mask.arg === true
      return open ? null : this.function(wish, mask, ['workgroup', 'row', 'column'])
    }
    this.mask = maskOf('keeps', plan)
    this.listed = !parts || parts.listed === plan ? this.mask : maskOf('keepsListed', parts.listed)
    this.skips = problem.skip && this.function('skips', problem.skip, [])
    this.score = plan.score && this.function('score', plan.score, ['workgroup', 'row', 'column'])
  }

  #element(): Type {
    const vectors = alignOf(this.problem) === 4
    if (this.problem.dtype === 'f32') return vectors ? 'f32x4' : 'f32'
    if (this.problem.schedule.nativeHalf) return vectors ? 'f16x4' : 'f16'
    return vectors ? 'u32x2' : 'u32'
  }

  /** The buffer of a list. */
  part(n: number): Buffer {
    return this.buffers.find((b) => b.part === n)!.buffer
  }

  #globalVar(v: VarName): Code {
    if (v === 'headDim') return i32(this.problem.headDim)
    return this.uniform(v)
  }

  readonly #isGlobal = (e: Expr): boolean =>
    (e.op === 'var' && ['headDim', 'qHeads', 'kvHeads'].includes(e.arg)) ||
    (e.op === 'param' && !this.problem.plan.params.find((p) => p.name === e.arg)!.perHead)

  function(wish: string, root: Expr, hoist: readonly Rate[]): PatternFunction {
    const made = patternFunction(wish, root, {
      names: this.names,
      leaves: this.leaves,
      global: this.#isGlobal,
      hoist: new Set(hoist),
    })
    this.functions.push(made.decl)
    return made
  }

  /** Which (batch, head, q tile) a workgroup has, and the numbers that hang on it; a surplus workgroup leaves. */
  enter(block: Block): Place {
    const { plan, rows } = this.problem
    const un = (field: string) => this.uniform(field)
    const tile = block.let('index', add(op('u32', 'groupX'), mul(op('u32', 'groupY'), un('gridX'))))
    block.if(le(un('tileCount'), tile), (b) => b.return())
    const tiling = this.cut ? unitTiling(this, block, this.cut) : plainTiling(this, block)
    const { count: qTiles, packs } = tiling
    const pair = block.let('slot', quotient(tile, qTiles))
    // The last query tiles have the most keys in causal patterns, so they start first.
    const qTile = block.let(
      'qTile',
      op('u32', 'sub', op('u32', 'sub', qTiles, u32(1)), op('u32', 'remainder', tile, qTiles)),
    )
    const heads = quotient(toU32(un('heads')), packs)
    const ownBatch = block.let('ownBatch', quotient(pair, heads))
    const ownHead = block.let('ownHead', mul(remainder(pair, heads), packs))
    const batch = block.let('batch', add(un('batchBase'), op('i32', 'fromU32', ownBatch)))
    const head = block.let('head', add(un('headBase'), op('i32', 'fromU32', ownHead)))
    const group = block.let('headsPerKv', quotient(un('qHeads'), un('kvHeads')))
    const kvHead = block.let('kvHead', quotient(head, group))
    const ownKvHead = block.let('ownKvHead', toU32(op('i32', 'sub', kvHead, quotient(un('headBase'), group))))
    const meta = this.buffer('meta')
    const word = (i: Code) => at(meta, i)
    const lengths = block.let('lengths', mul(batch, i32(META_PER_BATCH)))
    const [qRow, qStart, qLen, kvStart, kvLen] = ['qRow', 'qStart', 'qLen', 'kvStart', 'kvLen'].map((n, i) =>
      block.let(n, word(add(lengths, i32(i)))),
    ) as [Code, Code, Code, Code, Code]
    const { firstRow, endRow, unitStart, rows: tileRows } = tiling.tile(block, qTile, { qRow, qStart })
    const realLo = block.let('realLo', max(firstRow, qRow))
    const realHi = block.let('realHi', sub(min(endRow, add(qRow, qLen)), i32(1)))
    const qShift = block.let('qShift', op('i32', 'sub', qStart, qRow))
    const qLo = block.let('qLo', add(realLo, qShift))
    const qHi = block.let('qHi', add(realHi, qShift))

    const vars: Partial<Record<VarName, Code>> = { batch, head, kvHead, qLen, kvLen, qLo, qHi }
    const params = new Map<string, Code>()
    const derived = new Map<string, Code>()
    const perHead = plan.params.filter((p) => p.perHead)
    const used = (kind: 'param' | 'derived', n: string) =>
      [...this.#used].some((e) => e.op === kind && e.arg === n)
    const typed = (type: 'i32' | 'f32', e: Code): Code => (type === 'f32' ? op('f32', 'bitsFloat', e) : e)
    const past = mul(un('batches'), i32(META_PER_BATCH))
    perHead.forEach((p, i) => {
      if (!used('param', p.name)) return
      params.set(
        p.name,
        block.let(p.name, typed(p.type, word(add(add(past, mul(i32(i), un('qHeads'))), head)))),
      )
    })
    plan.derived.forEach((d, i) => {
      if (!used('derived', d.name)) return
      const start = add(past, mul(i32(perHead.length), un('qHeads')))
      const mine = add(mul(add(mul(i32(i), un('batches')), batch), un('qHeads')), head)
      derived.set(d.name, block.let(d.name, typed(d.type, word(add(start, mine)))))
    })
    const leaves: Leaves = {
      ...this.leaves,
      var: (v) => vars[v] ?? this.leaves.var(v),
      param: (p) => params.get(p) ?? this.leaves.param(p),
      derived: (d) => derived.get(d)!,
    }
    return {
      slot: pair,
      qTiles,
      qTile,
      ownBatch,
      ownHead,
      ownKvHead,
      batch,
      head,
      kvHead,
      qRow,
      qStart,
      qShift,
      kvStart,
      // Stored rows are as many as their units, whatever the mask knows of tokens.
      kvLen: rows ? block.let('keys', write(block, leaves, new Values(), rows.count)) : kvLen,
      firstRow,
      unitStart,
      rows: tileRows,
      realLo,
      realHi,
      qLo,
      qHi,
      leaves,
      values: new Values(),
    }
  }
}

/** A workgroup's place in the call. `own` indices count from the slice that is bound. */
export interface Place {
  readonly slot: Code
  readonly qTiles: Code
  readonly qTile: Code
  readonly ownBatch: Code
  readonly ownHead: Code
  readonly ownKvHead: Code
  readonly batch: Code
  /** The query head; the first of them if several share the tile. */
  readonly head: Code
  readonly kvHead: Code
  readonly qRow: Code
  readonly qStart: Code
  readonly qShift: Code
  readonly kvStart: Code
  readonly kvLen: Code
  readonly firstRow: Code
  /** The position at which the tile's unit begins, if tiles follow units. */
  readonly unitStart: Code | null
  readonly rows: TileRows
  /** First and last row of the tile that are real; the first is beyond the last if none is. */
  readonly realLo: Code
  readonly realHi: Code
  readonly qLo: Code
  readonly qHi: Code
  readonly leaves: Leaves
  readonly values: Values
}

/** KernelPlan: what a target needs to know of a pattern, and nothing of how the author wrote it. */

import type { Session } from './diagnostics.ts'
import { nodesOf, type Expr, type Ir } from './ir.ts'
import { findResidues } from './residues.ts'
import { findTiles } from './tiles.ts'

export interface ParamInfo {
  readonly name: string
  readonly type: 'i32' | 'f32'
  readonly default: number
  readonly min: number
  readonly max: number
  /** One value per query head; a scalar given at the call broadcasts. */
  readonly perHead: boolean
}

/** The axes that a table's dimension may be called by; a number is a fixed size (a const's, folded). */
export type AxisName = 'batch' | 'head' | 'kvHead' | 'indexHead' | 'qLen' | 'kvLen' | 'headDim'
export type Dim = AxisName | number

export interface TableInfo {
  readonly name: string
  readonly type: 'i32' | 'f32'
  readonly dims: readonly Dim[]
  /** Bounds of its values; +-2^30 for an i32 table, infinite for f32, unless declared. */
  readonly min: number
  readonly max: number
  /** Promised by the author: values never decrease along the last dimension. */
  readonly monotone: boolean
}

/**
 * A uniform that the runtime computes in f64 from params and lengths: `%name`. It may read perHead params, head, kvHead,
 * batch and lengths, so it has one value per (batch, head).
 */
export interface DerivedInfo {
  readonly name: string
  readonly type: 'i32' | 'f32'
  readonly value: Expr
}

/**
 * One conjunction of the mask (or of its negation) over a query tile [qLo, qHi]. A kv tile [kvLo, kvHi] may hold a pair
 * of it only if `when`, lo <= kvHi, kvLo <= hi and (test === null or test). lo and hi are inside; lo > hi is empty.
 * `when`, `lo`, `hi` read qLo and qHi; `test` reads kvLo and kvHi too. They hold only where qLo <= qHi and 0 <= kvLo <=
 * kvHi < kvLen, so a kernel clamps the last tile: kvHi = min(kvLo + tile.kv, kvLen) - 1.
 *
 * `pieces`: the test is sharper when it is asked for each piece of the tile and the answers are or-ed: the first piece of
 * the q side ends before `pieces.q` (an expression in qLo), the rest is the second piece; likewise kv in kvLo.
 */
export interface TileTerm {
  readonly when: Expr
  readonly lo: Expr
  readonly hi: Expr
  readonly test: Expr | null
  readonly pieces: { readonly q: Expr | null; readonly kv: Expr | null }
}

/**
 * How the kernel finds kv tiles. `kept`: terms of the mask; a tile that none of them reaches is empty.
 * `dropped`: terms of the negated mask; a tile that none of them reaches, and that lies wholly inside kvLen, is full.
 * ranges: the kept terms alone give exactly the tiles to visit; test: some term has a test; list: the terms only bound
 * the candidates, and a kernel looks at every pair of a candidate and lists the tiles that keep one.
 */
export interface KvTiles {
  readonly how: 'ranges' | 'test' | 'list'
  readonly kept: readonly TileTerm[]
  readonly dropped: readonly TileTerm[]
}

/** Pairs of a mask, and where a kernel looks for them. */
export interface ResiduePart {
  readonly mask: Expr
  readonly tiles: KvTiles
}

/**
 * A mask in two disjoint parts. Of `inside`, query and key have the same remainder by `step` (a const, or a param that is one
 * number for all heads), which its mask no longer says: it and its tiles are asked of such pairs alone, and a tile is given by
 * the first and last position of its rows and of its keys, whatever lies between. `rest` has the other pairs, in natural order.
 */
export interface ResidueOrder {
  readonly step: Expr
  readonly inside: ResiduePart
  readonly rest: ResiduePart | null
}

/** A pattern as expressions: what `lower` makes and `simplify` keeps. */
export interface PatternIr {
  readonly name: string
  readonly cite: string
  readonly consts: Readonly<Record<string, number>>
  readonly params: readonly ParamInfo[]
  readonly tables: readonly TableInfo[]
  readonly derived: readonly DerivedInfo[]
  /** Boolean over q, kv and the rest of the index record; true = may attend. */
  readonly mask: Expr
  /** f32 over `logit` and the index record, in natural-log units, before the mask. */
  readonly score: Expr | null
  /** f32 over head, kvHead, batch, params and tables: a logit that only the denominator sees. */
  readonly sinkLogit: Expr | null
}

export interface KernelPlan extends PatternIr {
  readonly tiles: KvTiles
  /** Another way to the same pairs, for targets that can take rows by remainder; null where it gains nothing. */
  readonly residues: ResidueOrder | null
}

/** True if the mask may differ between heads; if not, its tiles are the same for all of them. */
export function readsHead(p: PatternIr): boolean {
  const perHead = new Set(p.params.filter((i) => i.perHead).map((i) => i.name))
  const derived = new Map(p.derived.map((d) => [d.name, d.value]))
  return nodesOf(p.mask).some((n): boolean => {
    if (n.op === 'var') return n.arg === 'head' || n.arg === 'kvHead'
    if (n.op === 'param') return perHead.has(n.arg)
    const value = n.op === 'derived' ? derived.get(n.arg) : undefined
    return value !== undefined && readsHead({ ...p, mask: value, derived: [] })
  })
}

/** The plan of a checked and simplified pattern; a note where tiles are not found by ranges alone. */
export function planKernel(ir: Ir, pattern: PatternIr, session: Session): KernelPlan {
  const { tiles, obstacle } = findTiles(ir, pattern)
  if (obstacle?.table) session.report('tiles-by-list', obstacle.condition.span, { table: obstacle.table })
  else if (obstacle) session.report('tiles-by-test', obstacle.condition.span, {})
  // Ranges in natural order are as good as any.
  return { ...pattern, tiles, residues: tiles.how === 'test' ? findResidues(ir, pattern) : null }
}

/** Drawn distances: a set of spans, which distances draw for blocks of queries, in; how much room its lists of spans take out. */

import type { Expr } from '../ir.ts'
import type { SetType } from './graph.ts'
import type { Sizes } from './sizes.ts'

export interface DrawnRoom {
  /** Spans of a whole block of queries at most. */
  readonly each: Expr
  /** Whole blocks in whose room the first and the last block's spans fit, which may be parts of one. */
  readonly parts: Expr
}

/**
 * A distance gives a block of B queries a run of B keys, and runs that meet are one span: between the first and the last, a span
 * and the gap behind it are more than B keys. So a whole block has fewer spans than the row has distances. A part of a block
 * has no such bound. Null where the queries are in no blocks.
 */
export function drawnRoom(sizes: Sizes, { q, most }: SetType): DrawnRoom | null {
  if (q.units.kind !== 'block') return null
  const gaps = sizes.floorDiv(sizes.tokens('kv'), q.units.size + 1)
  const each = sizes.min(most, sizes.sum(gaps, sizes.num(2)))
  const two = sizes.sum(sizes.product(sizes.num(2), most), each, sizes.num(-1))
  return { each, parts: sizes.ir.make('floorDiv', [two, sizes.max(sizes.num(1), each)]) }
}

/** The pattern at a thread's pairs: scores changed by `score`, and masked where `keeps` is false. */

import type { Expr } from '../compiler/ir.ts'
import { Block } from './block.ts'
import { callOf, rateOf, Values, write, writeNamed, type PatternFunction } from './expr.ts'
import { add, and, bool, f32, i32, mul, op, select, type Code } from './kernel.ts'
import type { Keys } from './keys.ts'
import { hasKey } from './merge.ts'
import { range, rowOf, type Attend } from './shapes.ts'
import { positionOf } from './stage.ts'

export const LOG2E = 1.4426950408889634
/** What a masked score is set to; any score below HIDDEN counts as masked. */
const MASKED = -3.0e38
export const HIDDEN = -2.9e38

/** Positions and what depends on one of them alone, per row and per column of this thread. */
function pairs(
  a: Attend,
  block: Block,
  keys: Keys,
  clamp: boolean,
  functions: readonly { readonly inputs: readonly Expr[] }[],
) {
  const { place } = a
  const inputs = functions.flatMap((f) => f.inputs)
  const reads = (v: 'q' | 'kv', rate: 'row' | 'column') =>
    inputs.some((e) => (e.op === 'var' && e.arg === v) || (e.src.length > 0 && rateOf(e) === rate))
  const axis = (v: 'q' | 'kv', rate: 'row' | 'column', n: number, position: (x: number) => Code) =>
    range(n).map((x) => {
      const values = new Values(place.values)
      if (!reads(v, rate)) return values
      const own = block.let(`${v}${x}`, position(x))
      const leaves = {
        ...place.leaves,
        var: (w: Parameters<typeof place.leaves.var>[0]) => (w === v ? own : place.leaves.var(w)),
      }
      for (const e of inputs) {
        if (e.op === 'var' && e.arg === v) values.set(e, own)
        else if (e.src.length > 0 && rateOf(e) === rate)
          writeNamed(block, leaves, values, e, rate === 'row' ? 'ofRow' : 'ofColumn')
      }
      return values
    })
  const q = (r: number) => positionOf(place, place.rows.row(rowOf(a, r)))
  const kv = (c: number) => keys.position(keyOf(a, c), clamp)
  return {
    rows: axis('q', 'row', a.frame.problem.schedule.rows, q),
    columns: axis('kv', 'column', 4, kv),
  }
}

/** Key `c` of a thread's four, within the tile. */
const keyOf = (a: Attend, c: number): Code => add(mul(op('i32', 'fromU32', a.j), i32(4)), i32(c))

const inputOf =
  (a: Attend, row: Values, column: Values, logit: Code | null) =>
  (e: Expr): Code => {
    if (e.op === 'var' && e.arg === 'logit') return logit!
    return (
      row.get(e) ??
      column.get(e) ??
      write(new Block(a.frame.names.child()), a.place.leaves, a.place.values, e)
    )
  }

export function scoreChange(
  a: Attend,
  block: Block,
  keys: Keys,
  scores: readonly (readonly Code[])[],
  full: boolean,
): void {
  const score = a.frame.score!
  const { rows, columns } = pairs(a, block, keys, !full, [score])
  scores.forEach((line, r) =>
    line.forEach((s, c) =>
      block.set(s, mul(callOf(score, inputOf(a, rows[r]!, columns[c]!, s)), f32(LOG2E))),
    ),
  )
}

/** @param mask null where every pair of the keys is kept */
export function maskScores(
  a: Attend,
  block: Block,
  keys: Keys,
  scores: readonly (readonly Code[])[],
  mask: PatternFunction | null,
): void {
  block.comment('mask')
  const { rows, columns } = pairs(a, block, keys, true, mask ? [mask] : [])
  const inside = range(4).map((c) => block.let(`inside${c}`, keys.inside(keyOf(a, c))))
  scores.forEach((line, r) =>
    line.forEach((s, c) => {
      const kept = mask === null ? bool(true) : callOf(mask, inputOf(a, rows[r]!, columns[c]!, null))
      const own = keys.rowKeys ? hasKey(keys.rowKeys, rowOf(a, r), keyOf(a, c)) : bool(true)
      block.set(s, select(and(inside[c]!, own, kept), s, f32(MASKED)))
    }),
  )
}

/** Skipping: the scores of a tile in; whether any of its rows wants it, which all threads agree on, out. */

import { oneReads } from './agree.ts'
import { callOf, write } from './expr.ts'
import { Block } from './block.ts'
import { and, at, eq, f32, le, lt, mul, not, op, or, u32, type Code, type Memory } from './kernel.ts'
import { HIDDEN } from './pairs.ts'
import { range, rowOf, type Attend } from './shapes.ts'
import { positionOf, rowIsReal } from './stage.ts'

const LN2 = Math.LN2
/** The running maximum of a row that has met nothing is no greater. */
const NOTHING = -1.0e30

export interface Votes {
  readonly votes: Memory
  readonly word: Memory
}

/**
 * A row that has a key in the tile wants the tile unless the pattern's `skip` is true of it; one that has met nothing so far
 * always does.
 *
 * @param best each row's greatest score in the tile, in base 2
 */
export function isWanted(
  a: Attend,
  block: Block,
  { votes, word }: Votes,
  best: readonly Code[],
  kv: Code,
): Code {
  const { frame, place, state } = a
  const skips = frame.skips!
  block.comment('is the tile wanted')
  block.if(eq(a.thread, u32(0)), (b) => b.atomic('store', at(votes), u32(0)))
  block.barrier()
  block.if(eq(a.j, u32(0)), (b) => {
    const wishes = range(frame.problem.schedule.rows).map((r) => {
      const row = b.let(`row${r}`, place.rows.row(rowOf(a, r)))
      const vars: Partial<Record<string, Code>> = {
        tileMax: mul(best[r]!, f32(LN2)),
        rowMax: mul(state.rowMax[r]!, f32(LN2)),
        q: positionOf(place, row),
        kv,
      }
      const skip = callOf(skips, (e) => {
        const own = e.op === 'var' ? vars[e.arg] : undefined
        return own ?? write(new Block(frame.names.child()), place.leaves, place.values, e)
      })
      const met = and(rowIsReal(place, row), le(f32(HIDDEN), best[r]!))
      return and(met, or(le(state.rowMax[r]!, f32(NOTHING)), not(skip)))
    })
    b.if(or(...wishes), (c) => c.atomic('or', at(votes), u32(1)))
  })
  block.barrier()
  return lt(u32(0), oneReads(block, word, op('u32', 'atomicLoad', at(votes)), 'wanted'))
}

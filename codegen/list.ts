/** The `list` kernel: every pair of a candidate tile is looked at, and the tiles that keep one are listed in order. */

import { Block } from './block.ts'
import { callOf, rateOf, Values, write, writeNamed } from './expr.ts'
import type { Frame } from './frame.ts'
import {
  add,
  and,
  at,
  eq,
  i32,
  le,
  lt,
  not,
  op,
  quotient,
  remainder,
  select,
  toU32,
  u32,
  type Entry,
  type Memory,
} from './kernel.ts'
import { positionOf, rowIsReal } from './stage.ts'
import { readsHead } from '../compiler/plan.ts'
import { recordOf, walkTiles, type TileTests } from './tiles.ts'
import { LIST_FULL } from './artifact.ts'

const KEPT = 1
const DROPPED = 2

export function listTiles(frame: Frame, tests: TileTests): { entry: Entry; memory: readonly Memory[] } {
  const { threads } = frame.problem.schedule
  const count = threads.q * threads.kv
  const found = frame.workgroup('found', 'u32', [], true)
  const block = new Block(frame.names.child())
  const place = frame.enter(block)
  const thread = op('u32', 'thread')
  const list = frame.buffer('list')
  const record = block.let('record', recordOf(frame, place))
  const listed = block.var('listed', u32(0))
  const { mask } = frame
  if (!mask) throw new Error('a list of tiles of a mask that keeps every pair')
  for (const e of mask.inputs) {
    if (rateOf(e) === 'workgroup' && e.src.length > 0)
      writeNamed(block, place.leaves, place.values, e, 'fixed')
  }
  const first = (b: Block, then: (c: Block) => void) => b.if(eq(thread, u32(0)), then)
  // Heads that share a list leave its making to the first of the dispatch.
  if (!readsHead(frame.problem.plan)) block.if(not(eq(place.ownHead, u32(0))), (b) => b.return())
  block.if(le(place.realLo, place.realHi), (b) =>
    walkTiles(frame, b, place, tests, (c, { tile, kvLo }) => {
      first(c, (d) => d.atomic('store', at(found), u32(0)))
      c.barrier()
      const seen = c.var('seen', u32(0))
      c.for('pair', thread, u32(frame.tile.q * frame.tile.kv), count, (d, pair) => {
        const row = d.let('row', place.rows.row(quotient(pair, u32(frame.tile.kv))))
        const kv = d.let('kv', add(kvLo, op('i32', 'fromU32', remainder(pair, u32(frame.tile.kv)))))
        d.if(and(rowIsReal(place, row), lt(kv, place.kvLen)), (e) => {
          const values = new Values(place.values)
          const q = e.let('q', positionOf(place, row))
          const leaves = {
            ...place.leaves,
            var: (v: Parameters<typeof place.leaves.var>[0]) =>
              v === 'q' ? q : v === 'kv' ? kv : place.leaves.var(v),
          }
          const kept = callOf(mask, (x) => write(e, leaves, values, x))
          e.set(seen, op('u32', 'bitOr', seen, select(kept, u32(KEPT), u32(DROPPED))))
        })
      })
      c.atomic('or', at(found), seen)
      c.barrier()
      first(c, (d) => {
        const all = d.let('all', op('u32', 'atomicLoad', at(found)))
        const kept = op('bool', 'not', eq(op('u32', 'bitAnd', all, u32(KEPT)), u32(0)))
        d.if(kept, (e) => {
          const whole = and(not(eq(all, u32(KEPT | DROPPED))), le(add(kvLo, i32(frame.tile.kv)), place.kvLen))
          e.set(listed, add(listed, u32(1)))
          e.set(
            at(list, add(record, listed)),
            op('u32', 'bitOr', toU32(tile), select(whole, u32(LIST_FULL), u32(0))),
          )
        })
      })
      // The next tile's reset must not overtake this read.
      c.barrier()
    }),
  )
  first(block, (b) => b.set(at(list, record), listed))
  return { entry: { name: 'list', threads: count, body: block.stmts }, memory: [found] }
}

/** State: the online softmax of a tile's rows from memory into registers, and back, as artifact.ts lays it out. */

import { stateVectors } from './artifact.ts'
import type { Block } from './block.ts'
import { add, at, eq, f32, lane, lt, mul, op, select, toU32, u32, ZERO4, type Code } from './kernel.ts'
import { range, rowOf, type Attend } from './shapes.ts'
import { rowIsReal } from './stage.ts'

/** The vector of a state's buffer at which a row of the tile begins. */
function rowStart({ frame, place, shapes }: Attend, block: Block, row: Code, head: Code): Code {
  const heads = add(mul(toU32(place.batch), toU32(frame.uniform('qHeads'))), add(toU32(place.head), head))
  const rows = add(mul(heads, toU32(frame.uniform('qRows'))), toU32(row))
  return block.let('stateRow', mul(rows, u32(stateVectors(4 * shapes.value.vectors))))
}

/** What an earlier kernel left of the rows. */
export function loadState(a: Attend, block: Block): void {
  const { frame, place, shapes, state } = a
  const before = frame.buffer('before')
  block.comment('the state so far')
  for (const r of range(frame.problem.schedule.rows)) {
    const t = rowOf(a, r)
    const row = block.let(`row${r}`, place.rows.row(t))
    block.if(rowIsReal(place, row), (b) => {
      const start = rowStart(a, b, row, place.rows.head(t))
      const own = b.let('own', at(before, start))
      b.set(state.rowMax[r]!, lane(own, 0))
      // The threads of a row add up their sums at the end, so one of them has it.
      b.set(state.rowSum[r]!, select(eq(a.j, u32(0)), lane(own, 1), f32(0)))
      state.out[r]!.forEach((o, n) => {
        const vector = add(a.j, u32(n * frame.problem.schedule.threads.kv))
        const there = lt(vector, u32(shapes.value.vectors))
        const value = at(before, add(add(start, u32(1)), select(there, vector, u32(0))))
        b.set(o, select(there, value, ZERO4))
      })
    })
  }
}

/** The rows as they are; `sums` are whole. */
export function storeState(a: Attend, block: Block, sums: readonly Code[]): void {
  const { frame, place, shapes, state } = a
  const target = frame.buffer('state')
  for (const r of range(frame.problem.schedule.rows)) {
    const t = rowOf(a, r)
    const row = block.let(`row${r}`, place.rows.row(t))
    block.if(place.rows.owns(row), (b) => {
      const start = rowStart(a, b, row, place.rows.head(t))
      b.if(eq(a.j, u32(0)), (c) =>
        c.set(at(target, start), op('f32x4', 'vector4', state.rowMax[r]!, sums[r]!, f32(0), f32(0))),
      )
      state.out[r]!.forEach((o, n) => {
        const vector = add(a.j, u32(n * frame.problem.schedule.threads.kv))
        b.if(lt(vector, u32(shapes.value.vectors)), (c) =>
          c.set(at(target, add(add(start, u32(1)), vector)), o),
        )
      })
    })
  }
}

/** The choice kernel: a row of scores and an amount in; the list or the bits of what topK or topP takes out. */

import { isWord } from '../../compiler/stages/graph.ts'
import type { SelectKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import { i32 } from '../kernel.ts'
import { boundOf } from './bound.ts'
import { candidates } from './candidates.ts'
import { valueAt } from './cells.ts'
import type { Cells } from './place.ts'
import { take } from './take.ts'
import { together, type Made } from './team.ts'
import { rowScheduleOf, Unsupported } from './units.ts'

/**
 * topK and topP are one search. Cells stand by their value's bits in an order that unsigned numbers have too; the bound is found
 * from the highest bits down. Above it all are taken, at it the first of them that are still needed.
 */
export function selectEntry(c: Cells, { node, grid, scope }: SelectKernel): Made {
  if (!isWord(node, 'topK', 'topP') || scope !== 'row') throw new Unsupported(`${node.word} of each ${scope}`)
  if (isWord(node, 'topK') && node.arg.sorted === 'score') throw new Unsupported('a list in order of score')
  const { text: t } = c
  const schedule = rowScheduleOf(t, scoresOf(node.src[0]!).kv)
  const { threads, digit } = schedule
  return together(t, grid.share, threads, (b, unit, team) => {
    const row = candidates(c, node, unit, team, schedule)
    // First counters of digits, then flags of cells.
    const counters = team.room('counters', Math.max(2 ** digit, 2 * threads), true)
    const amount = b.let('amount', valueAt(c, node.src[1]!, { of: unit.of, q: unit.row, kv: i32(0) }))
    const bound = boundOf(b, node, row, team, amount, counters, digit)
    take(c, b, node, unit, team, row, bound, counters)
  })
}

/** The choice kernels: a row of scores and an amount in; the list or the bits of what topK or topP takes out. */

import { isWord } from '../../compiler/stages/graph.ts'
import type { SelectKernel } from '../../compiler/stages/plan.ts'
import { i32 } from '../kernel.ts'
import type { RowSchedule, ShortRows } from '../schedule.ts'
import type { Block } from '../block.ts'
import { boundOf, type Digits } from './bound.ts'
import { candidates, type Keeping } from './candidates.ts'
import { valueAt } from './cells.ts'
import type { GridUnit } from './grid.ts'
import type { Cells } from './place.ts'
import { take } from './take.ts'
import { besides, isShuffled, together, type Made, type Room, type Team } from './team.ts'
import { Unsupported } from './units.ts'

/**
 * topK and topP are one search. Cells stand by their value's bits in an order that unsigned numbers have too; the bound is found
 * from the highest bits down. Above it all are taken, at it the first of them that are still needed.
 * @param rows how a workgroup goes over one of any length, or over several short ones
 */
export function selectEntry(
  c: Cells,
  { node, grid, scope }: SelectKernel,
  rows: RowSchedule | ShortRows,
): Made {
  if (!isWord(node, 'topK', 'topP') || scope !== 'row') throw new Unsupported(`${node.word} of each ${scope}`)
  if (isWord(node, 'topK') && node.arg.sorted === 'score') throw new Unsupported('a list in order of score')
  const { text: t } = c
  const choose = (
    b: Block,
    unit: GridUnit,
    team: Team,
    keeping: Keeping,
    digits: Digits | null,
    flags: Room | null,
  ): void => {
    const row = candidates(c, node, unit, team, keeping)
    const amount = b.let('amount', valueAt(c, node.src[1]!, { of: unit.of, q: unit.row, kv: i32(0) }))
    take(c, b, node, unit, team, row, boundOf(b, node, row, team, amount, digits), flags)
  }
  if ('most' in rows) {
    const { most } = rows
    return besides(t, grid.share, rows, (b, unit, team) => {
      const flags = isShuffled(team) ? null : team.room('flags', 2 * rows.team, true)
      choose(b, unit, team, { ahead: 1, kept: most, most }, null, flags)
    })
  }
  const { threads, ahead, kept, digit } = rows
  return together(t, grid.share, threads, (b, unit, team) => {
    // First of digits, then flags of cells.
    const counters = team.room('counters', Math.max(2 ** digit, 2 * threads), true)
    choose(b, unit, team, { ahead, kept, most: null }, { counters, digit }, counters)
  })
}

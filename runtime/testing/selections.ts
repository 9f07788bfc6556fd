/** A step of the oracle and the units that a device chose in its place; the lines that differ, with their scores, out. */

import type { Step } from '../../dsl/index.ts'

export interface ScoredUnit {
  /** The unit's number: block 3, token 17. */
  readonly unit: number
  /** The oracle's score of it; -Infinity where the mask hides it, or where there is no such unit. */
  readonly score: number
}

/** What a sharer's query unit has in one list and not in the other. */
export interface Disagreement {
  readonly sharer: number
  /** Which query unit of the call, from 0. */
  readonly row: number
  /** Chosen by the oracle alone, by falling score. */
  readonly missing: readonly ScoredUnit[]
  /** Chosen by the device alone, by falling score. */
  readonly extra: readonly ScoredUnit[]
}

/** The units that a step chose for a sharer's query unit, by number. */
export function chosenBy({ set }: Step, sharer: number, row: number): number[] {
  if (set?.body.form !== 'cells') return []
  const has = set.body.has[sharer]![row]!
  return unitNumbers(set.kv.lists, sharer, row).filter((_, column) => has[column] === 1)
}

/**
 * Compares the lists that a device made with those of a step. Both sides round: a list is as good as the oracle's if
 * what it has in place of something scores as that does, up to rounding, which is the caller's to judge.
 *
 * @param chosen the units' numbers, in any order; a unit that is listed twice is a disagreement
 */
export function disagreements(
  step: Step,
  chosen: (sharer: number, row: number) => readonly number[],
): readonly Disagreement[] {
  const { set, scores } = step
  if (set?.body.form !== 'cells' || !scores) return []
  return set.body.has.flatMap((rows, sharer) =>
    rows.flatMap((_, row) => {
      const numbers = unitNumbers(set.kv.lists, sharer, row)
      const line = scores.values[sharer]![row]!
      const scored = (unit: number): ScoredUnit => ({ unit, score: line[numbers.indexOf(unit)] ?? -Infinity })
      const [due, got] = [chosenBy(step, sharer, row), chosen(sharer, row)]
      const alone = (list: readonly number[], other: readonly number[]): ScoredUnit[] =>
        list
          .filter((unit, i) => !other.includes(unit) || list.indexOf(unit) !== i)
          .map(scored)
          .toSorted((a, b) => Number(a.score < b.score) - Number(a.score > b.score))
      const [missing, extra] = [alone(due, got), alone(got, due)]
      return missing.length + extra.length > 0 ? [{ sharer, row, missing, extra }] : []
    }),
  )
}

type Lists = readonly (readonly (readonly { readonly index: number }[])[])[]

const unitNumbers = (lists: Lists, sharer: number, row: number): readonly number[] => {
  const rows = lists[lists.length === 1 ? 0 : sharer]!
  return rows[rows.length === 1 ? 0 : row]!.map(({ index }) => index)
}

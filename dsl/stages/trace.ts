/** The selections that a run of a forward program made, in the program's order. */

import type { Call } from './call.ts'
import type { Scores } from './scores.ts'
import type { AnySet } from './sets.ts'

/** One evaluation of a selecting word: what it chose from and what it chose. */
export interface Step {
  readonly word: 'topK' | 'topP' | 'where' | 'attend'
  /** How many steps of the same word came before it. */
  readonly nth: number
  /** What was chosen by, on the set's axes; of where(), its first operand. Null for attend(). */
  readonly scores: Scores | null
  /** What was chosen; of an attend() without a set, null: all that the mask keeps. */
  readonly set: AnySet | null
}

export function record(call: Call, step: Omit<Step, 'nth'>): void {
  const nth = call.trace?.filter(({ word }) => word === step.word).length ?? 0
  call.trace?.push({ ...step, nth })
}

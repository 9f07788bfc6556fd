/** How many units of a row a `force` can take: its condition in, a bound as an expression of params and lengths out. */

import type { Expr } from '../ir.ts'
import type { ScoresType } from './graph.ts'
import type { Typing } from './typing.ts'

/** Null where no bound is found. */
export function forcedMost(_t: Typing, _force: Expr, _scores: ScoresType): Expr | null {
  return null
}

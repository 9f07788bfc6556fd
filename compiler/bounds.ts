/** Proves that a pattern's integers agree with JavaScript's numbers: inside int32, no zero divisors, array reads inside. */

import type { Session } from './diagnostics.ts'
import { Bounds, isInt32 } from './interval.ts'
import { nodesOf, type Expr } from './ir.ts'
import type { Range } from './ops.ts'
import type { PatternIr } from './plan.ts'

const DIVIDES: readonly string[] = ['floorDiv', 'mod', 'rem', 'alignDown']

const show = ([lo, hi]: Range<number>): string => `${lo} .. ${hi}`
const sourceOf = (e: Expr): string => e.span.source.text.slice(e.span.start, e.span.end) || e.op

/** `functions`: those that the words of a `forward` are given. */
export function checkBounds(pattern: PatternIr, session: Session, functions: readonly Expr[] = []): void {
  const bounds = new Bounds(pattern)
  const roots = [pattern.mask, pattern.score, pattern.sinkLogit].filter((e) => e !== null)
  for (const e of nodesOf(...roots, ...functions)) {
    const divisor = DIVIDES.includes(e.op) ? e.src[1]! : null
    if (divisor && bounds.numeric(divisor)[0] < 1) {
      session.report('zero-divisor', e.span, {
        divisor: sourceOf(divisor),
        range: show(bounds.numeric(divisor)),
      })
      return
    }
    if (e.op === 'pick') {
      const [lo, hi] = bounds.numeric(e.src[0]!)
      if (lo < 0 || hi >= e.arg.length) {
        session.report('array-index', e.span, { range: show([lo, hi]), length: e.arg.length })
      }
    }
    // What a sum of overflowing terms says would only repeat them.
    const outside = e.type === 'i32' && !isInt32(bounds.numeric(e))
    if (outside && e.src.every((s) => s.type !== 'i32' || isInt32(bounds.numeric(s)))) {
      session.report('index-overflow', e.span, { term: sourceOf(e), range: show(bounds.numeric(e)) })
    }
  }
}

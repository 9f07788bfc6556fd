/** A call and what a kernel made of it in; how its error compares with plain attention's of the same precision out. */

import type { Pattern } from '../../dsl/index.ts'
import { plain32, reference, type ReferenceCall, type ReferenceResult } from '../reference.ts'
import { readView, viewOf, type Tensor } from '../tensor.ts'

export interface KernelResult {
  readonly out: Tensor
  readonly lse: { readonly data: Float32Array }
}

export interface Comparison {
  /** The greatest error as a part of the error allowed; above 1 is a difference. */
  readonly ratio: number
  /** Where the greatest one is, in words; null if the kernel is right. */
  readonly difference: string | null
}

const EPSILON = 2 ** -23
/** Roundings that a kernel may do beyond those of plain attention: the order of its sums, exp2 in place of exp. */
const ULPS = 4

/**
 * The rule: at most twice the error of plain attention in the same precision, plus a few units in the last place of the
 * largest logit. Empty rows are exact: output 0, LSE -Infinity.
 */
export function compareWithOracle(
  pattern: Pattern,
  call: ReferenceCall,
  got: KernelResult,
  oracle: ReferenceResult = reference(pattern, call),
  plain: ReferenceResult = plain32(pattern, call),
): Comparison {
  const out = readView(viewOf('out', got.out))
  const { lse } = got.lse.data.length === oracle.lse.length ? { lse: got.lse.data } : { lse: null }
  if (lse === null || out.length !== oracle.out.length) {
    return {
      ratio: Infinity,
      difference: `the result has ${out.length} and ${got.lse.data.length} values, not ${oracle.out.length} and ${oracle.lse.length}`,
    }
  }
  const slack = ULPS * EPSILON * (1 + oracle.logitMax)
  const shape = got.out.shape
  const parts = [
    compare('lse', lse, oracle, plain, slack, shape),
    compare('out', out, oracle, plain, slack * oracle.valueMax, shape),
  ]
  return parts.reduce((a, b) => (b.ratio > a.ratio ? b : a))
}

function compare(
  name: 'out' | 'lse',
  got: ArrayLike<number>,
  oracle: ReferenceResult,
  plain: ReferenceResult,
  slack: number,
  [, heads, rows, valueDim]: Tensor['shape'],
): Comparison {
  const [want, usual] = [oracle[name], plain[name]]
  const perRow = name === 'out' ? valueDim : 1
  let plainError = 0
  let worst = { at: -1, error: 0 }
  for (let at = 0; at < want.length; at++) {
    const rowLse = oracle.lse[Math.floor(at / perRow)]!
    // A row that attends a NaN or an infinity is outside what kernels promise.
    if (Number.isNaN(rowLse) || rowLse === Infinity || Number.isNaN(want[at]!)) continue
    if (want[at] === got[at]) continue
    const error = Math.abs(got[at]! - want[at]!)
    if (Number.isFinite(usual[at]! - want[at]!))
      plainError = Math.max(plainError, Math.abs(usual[at]! - want[at]!))
    const exact = rowLse === -Infinity || !Number.isFinite(error)
    if (exact || error > worst.error) worst = { at, error: exact ? Infinity : error }
    if (exact) break
  }
  const allowed = 2 * plainError + slack
  const ratio = worst.at < 0 ? 0 : worst.error / allowed
  if (ratio <= 1) return { ratio, difference: null }
  const row = Math.floor(worst.at / perRow)
  const place = [
    `batch ${Math.floor(row / (heads * rows))}`,
    `head ${Math.floor(row / rows) % heads}`,
    `row ${row % rows}`,
    ...(name === 'out' ? [`value ${worst.at % valueDim}`] : []),
  ]
  const difference =
    `${name} at ${place.join(', ')} is ${got[worst.at]}, the oracle gives ${want[worst.at]} ` +
    `(allowed error ${allowed.toExponential(2)})`
  return { ratio, difference }
}

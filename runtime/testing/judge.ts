/** A program, a call and what a kernel made of it in; how its error compares with what is allowed, once rows that a rounding decides are left out, out. */

import type { Pattern } from '../../dsl/index.ts'
import {
  plain32,
  reference,
  type ReferenceCall,
  type ReferencePattern,
  type ReferenceResult,
} from '../reference.ts'
import { readView, viewOf, type Tensor } from '../tensor.ts'
import { randomTensor } from './cases.ts'
import { compareWithOracle, type KernelResult } from './compare.ts'

export interface Judgement {
  /** The greatest error as a part of the error allowed, over the rows that are decided. */
  readonly ratio: number
  readonly difference: string | null
  /** Rows whose choice hangs on less than a rounding: other units would be as right. */
  readonly undecided: number
}

const elements = (t: Tensor, layout: ReferenceCall['layout']): Float32Array =>
  Float32Array.from(readView(viewOf('tensor', t, layout)))

/**
 * The rule of `compareWithOracle`, after rows that the oracle itself decides otherwise when its inputs move by less than a rounding.
 */
export function judge(
  pattern: Pattern & ReferencePattern,
  call: ReferenceCall,
  got: KernelResult,
  oracle: ReferenceResult = reference(pattern, call),
  plain: ReferenceResult = plain32(pattern, call),
): Judgement {
  const dim = got.out.shape[3]
  const out = elements(got.out, 'bhld')
  // A gated sum has no log-sum-exp, by which the comparison tells rows that kernels promise nothing of.
  const gated = oracle.lse.some(Number.isNaN)
  const numbered = (r: ReferenceResult) => (gated ? { ...r, lse: r.lse.map(() => 0) } : r)
  const [known, usual] = [numbered(oracle), numbered(plain)]
  if (gated && !got.lse.data.every(Number.isNaN))
    return { ratio: Infinity, difference: 'the log-sum-exp of a gated sum is a number', undecided: 0 }
  const lse = gated ? new Float32Array(got.lse.data.length) : Float32Array.from(got.lse.data)
  const result: KernelResult = { out: { data: out, shape: got.out.shape }, lse: { data: lse } }
  const compared = () => compareWithOracle(pattern, call, result, known, usual)
  const first = compared()
  if (first.difference === null) return { ...first, undecided: 0 }
  const loose = undecidedRows(pattern, call, oracle.out, dim)
  for (const row of loose) {
    for (let i = row * dim; i < (row + 1) * dim; i++) out[i] = oracle.out[i]!
    lse[row] = known.lse[row]!
  }
  return { ...compared(), undecided: loose.size }
}

/** Relative: more than what sums in f32 are wrong by, less than what two scores of random vectors differ by. */
const NUDGE = 2 ** -18
const NUDGES = 4
/** Of an output, beyond what nudged inputs change without another choice. */
const MOVED = 1e-3

/** Rows of the output, of all batch entries and heads, that inputs moved by less than a rounding change for good. */
export function undecidedRows(
  pattern: ReferencePattern,
  call: ReferenceCall,
  want: ArrayLike<number>,
  dim: number,
): Set<number> {
  const rows = new Set<number>()
  const plainly = (t: Tensor, data: Float32Array): Tensor => {
    const { shape } = viewOf('tensor', t, call.layout)
    return { data, shape, layout: 'bhld' }
  }
  for (let n = 1; n <= NUDGES; n++) {
    const nudged = (t: Tensor, of: number): Tensor => {
      const noise = randomTensor(viewOf('tensor', t, call.layout).shape, 'f32', 8 * n + of).data
      return plainly(
        t,
        elements(t, call.layout).map((x, i) => x * (1 + NUDGE * noise[i]!)),
      )
    }
    const given = Object.entries(call.rows ?? {}).map(([name, t], i) => [name, nudged(t, 3 + i)] as const)
    const moved = reference(pattern, {
      ...call,
      q: nudged(call.q, 1),
      k: nudged(call.k, 2),
      v: plainly(call.v, elements(call.v, call.layout)),
      rows: Object.fromEntries(given),
    }).out
    for (let i = 0; i < moved.length; i++)
      if (Math.abs(moved[i]! - want[i]!) > MOVED) rows.add(Math.floor(i / dim))
  }
  return rows
}

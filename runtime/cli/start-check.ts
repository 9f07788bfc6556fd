/** One call on random tensors in; how a kernel's error compares with that of plain attention, and the oracle's own answer, out. */

import type { Pattern } from '../../dsl/index.ts'
import type { ReferenceCall, ReferenceResult } from '../reference.ts'
import { seededRandom } from '../testing/draw.ts'
import type { Kernel } from '../index.ts'
import type { TimedCall } from './timer.ts'

export const HEAD_DIM = 64

export interface Outcome {
  /** The greatest error / that of plain attention in the same precision. */
  readonly errorRatio: number
  readonly passed: boolean
  readonly oracle: ReferenceResult
}

export function tensorsFor({
  qHeads,
  kvHeads,
  qLen,
  kvLen,
}: TimedCall): Pick<ReferenceCall, 'q' | 'k' | 'v'> {
  const random = seededRandom(7)
  const tensor = (heads: number, len: number) => ({
    data: Float32Array.from({ length: heads * len * HEAD_DIM }, () => random() * 2 - 1),
    shape: [1, heads, len, HEAD_DIM] as const,
  })
  return { q: tensor(qHeads, qLen), k: tensor(kvHeads, kvLen), v: tensor(kvHeads, kvLen) }
}

/** Against the pattern run as TypeScript. */
export async function outcomeOf(pattern: Pattern, kernel: Kernel, call: ReferenceCall): Promise<Outcome> {
  const { attention, plain32, reference } = await import('../index.ts')
  const { compareWithOracle, judge } = await import('../testing/index.ts')
  const result = await attention(kernel, call)
  const oracle = reference(pattern, call)
  const plain = plain32(pattern, call)
  const worst = (got: ArrayLike<number>) =>
    oracle.out.reduce((most, x, i) => Math.max(most, Math.abs(x - got[i]!)), 0)
  const [ours, theirs] = [worst(result.out.data as Float32Array), worst(plain.out)]
  const compare = pattern.forward ? judge : compareWithOracle
  const { difference } = compare(pattern, call, result, oracle, plain)
  return { errorRatio: ours === 0 ? 0 : ours / theirs, passed: difference === null, oracle }
}

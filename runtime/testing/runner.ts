/** Runner: where a check's kernels run. A compiled pattern and a choice of variant in, a kernel that answers calls out. */

import type { CompiledPattern } from '../../compiler/index.ts'
import type { ReferenceCall, ReferencePattern, ReferenceResult } from '../reference.ts'
import type { StorageDtype } from '../tensor.ts'
import type { CaseVariant } from './cases.ts'
import type { KernelResult } from './compare.ts'
import { seededRandom } from './draw.ts'

/** What a run needs of a kernel. */
export interface VariantChoice {
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: StorageDtype
  /** Of targets that have several: which kind of kernel. */
  readonly kind?: string
}

export interface Built {
  readonly variant: CaseVariant & { readonly id: string }
  /** Attention of the same precision as the kernel's, done plainly: its error is the yardstick. */
  readonly plain: (pattern: ReferencePattern, call: ReferenceCall) => ReferenceResult
  answer(call: ReferenceCall): Promise<KernelResult>
  release(): void
}

export interface Runner {
  readonly target: 'wgsl' | 'cuda'
  /** A run's variant, from its seed alone, so that one run can be repeated on its own. */
  choose(seed: number, dtype?: StorageDtype): VariantChoice
  build(pattern: CompiledPattern, choice: VariantChoice): Promise<Built>
}

/** Runs that share one kernel: building it costs as much as some twenty cases. */
export const RUNS_PER_VARIANT = 24

/** Picks from lists; the same for all runs that share a kernel. */
export function pickerOf(seed: number): { pick: <T>(list: readonly T[]) => T; chance: () => number } {
  const random = seededRandom(Math.floor(seed / RUNS_PER_VARIANT) + 0x5eed)
  random()
  return { chance: random, pick: (list) => list[Math.floor(random() * list.length)]! }
}

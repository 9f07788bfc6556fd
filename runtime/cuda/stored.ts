/** Stored values of a program on CUDA: its steps and a call's sizes in; where each value lies in the workspace, and how lists begin, out. */

import type { CudaStageKernel, CudaStageVariant } from '../../codegen/cuda/manifest.ts'
import type { JsonExpr } from '../../codegen/artifact.ts'
import { livesOf, pack } from '../lives.ts'
import { HeddleError } from '../messages.ts'

type StageStep = CudaStageVariant['steps'][number]

const GRANULE = 256
const HEADER_WORDS = 4
/** Indices are words of 32 bits. */
const MOST_WORDS = 2 ** 32 - 1

const kernelsIn = (step: StageStep): readonly CudaStageKernel[] =>
  step.kind === 'once' ? [step.kernel] : step.kernels

export const kernelsOf = ({ steps }: CudaStageVariant): CudaStageKernel[] => steps.flatMap(kernelsIn)

/** The stored values that a kernel reads or writes. */
export const storedOf = ({ buffers }: CudaStageKernel): string[] =>
  buffers.flatMap(({ role, name }) => (role === 'stored' ? [name!] : []))

export interface Stored {
  readonly stored: ReadonlyMap<string, { readonly offset: number; readonly words: number }>
  /** Words that lists begin with. */
  readonly headers: ReadonlyMap<string, Int32Array<ArrayBuffer>>
  readonly bytes: number
}

/** Values that are never there at the same step may lie in one place. */
export function placeStored({ steps, stored }: CudaStageVariant, size: (e: JsonExpr) => number): Stored {
  const lives = livesOf(steps.map((step) => kernelsIn(step).flatMap(storedOf)))
  const words = stored.map(({ name, words: wanted }) => {
    const count = Math.max(HEADER_WORDS, size(wanted))
    if (count <= MOST_WORDS) return count
    const [needed, limit] = [4 * count, 4 * MOST_WORDS]
    throw new HeddleError('binding-limit', { tensor: name, what: 'a stored value', needed, limit })
  })
  const never = { first: 0, last: 0 }
  const { offsets, bytes } = pack(
    stored.map(({ name }, i) => ({ bytes: 4 * words[i]!, ...(lives.get(name) ?? never) })),
    GRANULE,
  )
  return {
    stored: new Map(stored.map(({ name }, i) => [name, { offset: offsets[i]!, words: words[i]! }])),
    headers: new Map(
      stored.flatMap(({ name, units }) =>
        units === null ? [] : [[name, Int32Array.of(size(units), 0, 0, 0)] as const],
      ),
    ),
    bytes,
  }
}

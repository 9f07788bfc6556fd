/** The library in; what check-cuda runs as plain JSON out: for each pattern and skeleton some texts, one artefact each. */

import { fileURLToPath } from 'node:url'
import { emitCuda, SKELETONS } from '../codegen/cuda/emit.ts'
import type { CudaArtifact, CudaDtype, Skeleton } from '../codegen/cuda/manifest.ts'
import { createCompiler } from '../compiler/index.ts'
import { PATTERNS } from '../patterns/index.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** One text, the same in all that is asked of it. */
export interface Unit {
  readonly pattern: string
  readonly skeleton: Skeleton
  /** With one variant. */
  readonly artifact: CudaArtifact
  /** Calls beyond the random ones: of more than 65,535 rows, of batch entries 2^31 elements apart. */
  readonly extra: readonly ('long' | 'far')[]
}

/** Dims of a text, greatest headDim and valueDim; of each pattern all of `ALWAYS`, and two of the others in turn. */
const ALWAYS = [
  [64, 64, 'bf16'],
  [128, 128, 'f16'],
  [128, 128, 'bf16'],
] as const
const IN_TURN = [
  [96, 96, 'bf16'],
  [256, 256, 'f16'],
  [192, 128, 'bf16'],
  [64, 64, 'f16'],
  [192, 192, 'f16'],
  [256, 256, 'bf16'],
  [64, 128, 'bf16'],
  [96, 96, 'f16'],
  [192, 192, 'bf16'],
  [128, 64, 'f16'],
] as const satisfies readonly (readonly [headDim: number, valueDim: number, dtype: CudaDtype])[]

/** Patterns that read neither qLen nor a table over query rows: some of a long call's rows can be asked for alone. */
const LONG: readonly string[] = ['causal', 'a-shape', 'sliding-window', 'strided', 'document']

export function checkUnits(names: readonly string[] = PATTERNS.map((p) => p.pattern.name)): Unit[] {
  const entries = PATTERNS.filter(({ pattern }) => names.includes(pattern.name))
  const compiled = createCompiler().compileAll(entries.map(({ file }) => ROOT + file))
  const units: Unit[] = []
  for (const [i, { pattern, file }] of entries.entries()) {
    const found = compiled[i]!.patterns.find((p) => p.name === pattern.name)
    if (!found) throw new Error(`${file}: ${compiled[i]!.diagnostics[0]?.text ?? 'the pattern is missing'}`)
    const turn = [2 * i, 2 * i + 1].map((n) => IN_TURN[n % IN_TURN.length]!)
    for (const { name: skeleton } of SKELETONS) {
      for (const [n, [headDim, valueDim, dtype]] of [...ALWAYS, ...turn].entries()) {
        const options = { headDims: [headDim], valueDims: [valueDim], dtypes: [dtype], skeletons: [skeleton] }
        const artifact = emitCuda(found, options)
        // Not every pattern has an order by residue.
        if (artifact.variants.length === 0) continue
        const long = n === 0 && LONG.includes(pattern.name)
        const far = n === 2 && pattern.name === 'causal'
        units.push({
          pattern: pattern.name,
          skeleton,
          artifact,
          extra: [...(long ? (['long'] as const) : []), ...(far ? (['far'] as const) : [])],
        })
      }
    }
  }
  return units
}

/** The library in; its subjects at some lengths for a model of the needle model's shape as plain JSON, each artefact once, out. */

import { createCompiler } from '../compiler/index.ts'
import { Builder, LIBRARY, libraryCandidate } from './eval/prepare.ts'
import { isRefusal, type Builds, type Refusal, type Subject } from './eval/subject.ts'

/** What the kernels are built for; a model of another shape is refused. */
export const EVAL_SHAPE = { qHeads: 4, kvHeads: 2, headDim: 64, dtype: 'f16' } as const
/** In the order in which they are worked through: first what the method's promises are about. */
export const EVAL_LENGTHS: readonly number[] = [8192, 1024, 4096, 16_384, 32_768]

export interface PreparedEval {
  readonly shape: typeof EVAL_SHAPE
  readonly builds: readonly Builds[]
  readonly lengths: readonly {
    readonly length: number
    readonly subjects: readonly (Omit<Subject, 'builds'> & { readonly builds: number })[]
    readonly refused: readonly Refusal[]
  }[]
}

export function prepareEval(
  names: readonly string[] = LIBRARY,
  lengths: readonly number[] = EVAL_LENGTHS,
): PreparedEval {
  const compiler = createCompiler()
  const builder = new Builder()
  const builds: Builds[] = []
  const candidates = [...new Set(['causal', ...names])].map((name) => libraryCandidate(name, compiler))
  return {
    shape: EVAL_SHAPE,
    builds,
    lengths: lengths.map((length) => {
      const found = candidates.map((c) => builder.subject(c, { ...EVAL_SHAPE, length }))
      return {
        length,
        refused: found.filter(isRefusal),
        subjects: found.flatMap((subject) => {
          if (isRefusal(subject)) return []
          if (!builds.includes(subject.builds)) builds.push(subject.builds)
          return [{ ...subject, builds: builds.indexOf(subject.builds) }]
        }),
      }
    }),
  }
}

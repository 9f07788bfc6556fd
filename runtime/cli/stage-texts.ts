/** What generation makes of a `forward`: its kernels' texts, or an error that says what no kernel computes. */

import type { StageVariant } from '../../codegen/artifact.ts'
import { Unsupported } from '../../codegen/index.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { CliError } from './messages.ts'

/** What a target makes of a pattern. */
export function generated<T>(pattern: CompiledPattern, target: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw refusalOf(pattern, target, error)
  }
}

/** A stage that a target has no kernel for is the pattern's, not a bug. */
export const refusalOf = ({ name }: CompiledPattern, target: string, error: unknown): unknown =>
  error instanceof Unsupported
    ? new CliError('no-kernel', { pattern: name, target, what: error.what })
    : error

/** The texts of a program's kernels, in the order of launch. */
export const textsOf = ({
  steps,
}: StageVariant): readonly { readonly name: string; readonly code: string }[] =>
  steps
    .flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
    .flatMap((k) => {
      const formOf = (id: string, code: string) => ({ name: `${k.name}.${id}`, code })
      if (k.kind === 'stage')
        return [{ name: k.name, code: k.code }, ...(k.forms ?? []).map(({ id, code }) => formOf(id, code))]
      return [
        { name: k.name, code: k.variant.code },
        ...(k.forms ?? []).map(({ id, variant }) => formOf(id, variant.code)),
      ]
    })

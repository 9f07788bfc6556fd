/** Which targets can generate the kernels of a `forward`: a compiled pattern in; nothing, or an error that says so, out. */

import type { CompiledPattern } from '../../compiler/index.ts'
import { CliError } from './messages.ts'

/** A target stands here when its code generation takes a stage plan. */
const STAGED: readonly string[] = ['wgsl']

/** Before anything of a target is made of a pattern. */
export function checkGenerated({ name, stages }: CompiledPattern, target: string): void {
  if (stages && !STAGED.includes(target)) throw new CliError('no-forward', { pattern: name, target })
}

/** compile(): pattern source in, every stage by name out. Nothing of the author's code is executed. */

import type { Diagnostic } from './diagnostics.ts'
import type { Ir } from './ir.ts'
import type { PatternAst } from './parse.ts'
import type { KernelPlan, PatternIr } from './plan.ts'

export interface CompiledPattern {
  readonly name: string
  readonly exportName: string
  readonly ir: Ir
  /** The pattern's syntax: where its fields stand in the file. */
  readonly ast: PatternAst
  /** As written. */
  readonly lowered: PatternIr
  /** After the rewrite rules. */
  readonly simplified: PatternIr
  readonly plan: KernelPlan
}

export interface Compilation {
  readonly file: string
  /** Errors and notes, in order of position. */
  readonly diagnostics: readonly Diagnostic[]
  /** Empty if there is an error. */
  readonly patterns: readonly CompiledPattern[]
}

export interface CompileOptions {
  /** Override consts by name. */
  readonly consts?: Readonly<Record<string, number>>
  /** Source text instead of the file's: an editor's buffer, a test's program. */
  readonly text?: string
}

/** The text of a generated pattern file in, the pattern that it exports, run as JavaScript, out. */

import { transformSync } from 'esbuild'
import * as dsl from '../dsl/index.ts'
import type { Pattern } from '../dsl/index.ts'
import { PROGRAM_NAME } from './programs.ts'

/** The file's only import is the DSL, so that it can be run where it never was written to disk. */
export function runProgram(text: string): Pattern {
  const { code } = transformSync(text, { loader: 'ts', format: 'cjs' })
  const module: { exports: Record<string, unknown> } = { exports: {} }
  const run = new Function('module', 'exports', 'require', code) as (...args: unknown[]) => void
  run(module, module.exports, () => dsl)
  const made = module.exports[PROGRAM_NAME]
  if (!dsl.isPattern(made)) throw new Error(`the program exports no pattern \`${PROGRAM_NAME}\`:\n${text}`)
  return made
}

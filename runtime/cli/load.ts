/** Pattern files in; compiled patterns out, or their diagnostics on stderr and the end of the command. */

import type { CompiledPattern, Compilation, CompileOptions } from '../../compiler/index.ts'
import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import { nearestOf } from './args.ts'
import { Reported } from './errors.ts'
import { readableFile, shown } from './files.ts'
import type { Io } from './io.ts'
import { CliError, EXIT, type Exit } from './messages.ts'

/** TypeScript takes a third of a second to load: only commands that compile wait for it. */
export const loadCompiler = async () => (await import('../../compiler/index.ts')).createCompiler()

/** Every diagnostic of the severities named, with its frame, a blank line between two. */
export function report(io: Io, compilation: Compilation, notes: boolean): void {
  const found = compilation.diagnostics.filter((d) => notes || d.severity !== 'note')
  for (const d of found) io.err(`${formatDiagnostic(d, (file) => shown(io, file))}\n\n`)
}

/** The exit code of a compilation: our bug weighs more than the author's error. */
export function exitOf(compilation: Compilation): Exit {
  const has = (severity: string) => compilation.diagnostics.some((d) => d.severity === severity)
  return has('internal') ? EXIT.bug : has('error') ? EXIT.failed : EXIT.fine
}

export interface Loaded {
  readonly file: string
  readonly compilation: Compilation
  readonly patterns: readonly CompiledPattern[]
}

/** The file's patterns, or the one named; anything that keeps them from being compiled ends the command. */
export async function loadPatterns(
  io: Io,
  given: string,
  options: { readonly pattern?: string | undefined; readonly consts?: CompileOptions['consts'] },
): Promise<Loaded> {
  const file = readableFile(io, given)
  const compiler = await loadCompiler()
  const compilation = compiler.compile(file, options.consts ? { consts: options.consts } : {})
  const exit = exitOf(compilation)
  if (exit !== EXIT.fine) {
    report(io, compilation, false)
    throw new Reported(exit)
  }
  return { file, compilation, patterns: chosen(compilation.patterns, options.pattern, shown(io, file)) }
}

/** By the pattern's name or by the name it is exported under. */
function chosen(
  patterns: readonly CompiledPattern[],
  name: string | undefined,
  file: string,
): readonly CompiledPattern[] {
  if (name === undefined) return patterns
  const found = patterns.filter((p) => p.name === name || p.exportName === name)
  if (found.length > 0) return found
  const present = patterns.map((p) => p.name)
  const near = nearestOf(name, present)
  throw new CliError('unknown-pattern', {
    got: name,
    file,
    present: near ? [near, ...present.filter((p) => p !== near)] : present,
  })
}

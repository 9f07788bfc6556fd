/** A pattern, its file and a runner in; its kernels, each built when a case first needs it, out. */

import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import { createCompiler, type CompiledPattern, type Compiler } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { Pattern } from '../../dsl/index.ts'
import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import { CheckError } from './messages.ts'
import type { Built, Runner, VariantChoice } from './runner.ts'

export interface Source {
  /** The file that exports the pattern; not needed for patterns of the library. */
  readonly file?: string | URL | undefined
  /** Source text instead of the file's. */
  readonly text?: string | undefined
  /** Overrides of the pattern's consts, by name. */
  readonly consts?: Readonly<Record<string, number>> | undefined
  /** A warm compiler; by default one that all checks of a process share. */
  readonly compiler?: Compiler | undefined
}

let shared: Compiler | null = null

/** The compiled form of a pattern that was imported: found by its name in its file. */
export function compilePattern(
  pattern: Pattern,
  { file, text, consts, compiler }: Source = {},
): CompiledPattern {
  const path = file === undefined ? libraryFile(pattern) : pathOf(file)
  const warm = compiler ?? (shared ??= createCompiler())
  const { diagnostics, patterns } = warm.compile(path, {
    ...(text === undefined ? {} : { text }),
    ...(consts === undefined ? {} : { consts }),
  })
  const errors = diagnostics.filter((d) => d.severity !== 'note')
  if (errors.length > 0) {
    const texts = errors.map((d) => formatDiagnostic(d)).join('\n\n')
    throw new CheckError('not-compiled', { pattern: pattern.name, diagnostics: texts })
  }
  const found = patterns.find((p) => p.name === pattern.name)
  if (found) return found
  throw new CheckError('not-in-file', {
    pattern: pattern.name,
    file: path,
    present: patterns.map((p) => p.name),
  })
}

const pathOf = (file: string | URL): string => {
  const text = String(file)
  return text.startsWith('file:') ? fileURLToPath(text) : text
}

function libraryFile(pattern: Pattern): string {
  const entry = [...PATTERNS, ...SELECTIONS].find((p) => p.pattern === pattern)
  if (!entry) throw new CheckError('no-source', { pattern: pattern.name })
  return join(PACKAGE_ROOT, entry.file)
}

/** Holds one kernel at a time: neighbouring runs share it. */
export class Subject {
  readonly compiled: CompiledPattern
  readonly #runner: Runner
  #built: { readonly key: string; readonly built: Built } | null = null

  constructor(compiled: CompiledPattern, runner: Runner) {
    this.compiled = compiled
    this.#runner = runner
  }

  async build(choice: VariantChoice): Promise<Built> {
    const key = JSON.stringify(choice)
    if (this.#built?.key === key) return this.#built.built
    this.release()
    const built = await this.#runner.build(this.compiled, choice)
    this.#built = { key, built }
    return built
  }

  release(): void {
    this.#built?.built.release()
    this.#built = null
  }
}

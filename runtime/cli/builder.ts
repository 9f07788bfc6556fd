/** Pattern files and a target in; artefacts in a folder and rows about them out. Files that have not changed are left alone. */

import * as path from 'node:path'
import type { Diagnostic } from '../../compiler/diagnostics.ts'
import type { CompiledPattern, Compiler } from '../../compiler/index.ts'
import {
  CACHE_FILE,
  cacheText,
  hashesOf,
  isFresh,
  keyOf,
  leftOver,
  readCache,
  relativeTo,
  type BuildEntry,
  type BuildRow,
} from './cache.ts'
import { shown, writeFiles, type FileToWrite, type GivenFile } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { exitOf, loadCompiler, report } from './load.ts'
import { CliError, EXIT, type Exit } from './messages.ts'
import { heddleVersion, hashFile, sha256 } from './version.ts'

/** What is written for a pattern, in this order; the rows' files are absolute paths. */
export interface Made {
  readonly files: readonly FileToWrite[]
  readonly rows: readonly BuildRow[]
}

/** One target with its options: what `heddle build` makes of each pattern. */
export interface BuildTarget {
  readonly name: string
  /** Whatever changes what is made: options, versions of tools. */
  readonly key: object
  /** Said once on stderr, whatever is built. */
  readonly notes: readonly string[]
  /** The name of the file that a runtime loads. */
  readonly artefactOf: (pattern: string) => string
  /** @param compiled milliseconds that the compiler took for the pattern */
  readonly make: (pattern: CompiledPattern, folder: string, compiled: number) => Promise<Made>
  /** Gives back what it holds. */
  readonly close?: () => void
}

export interface Wish {
  readonly folder: string
  readonly consts: Readonly<Record<string, number>>
  /** Only this pattern. */
  readonly pattern: string | undefined
}

/** A file that is being built, or that need not be. */
interface Step {
  readonly file: string
  readonly name: string
  readonly outdated: BuildEntry | undefined
  readonly fresh: BuildEntry | null
  readonly sources: readonly string[]
  readonly made: Promise<Made>
}

const NOTHING: Made = { files: [], rows: [] }

/**
 * A glob also matches files that patterns import, and scripts that use them, which the types that patterns see are too few for.
 */
async function isBeside(file: string, errors: readonly Diagnostic[]): Promise<boolean> {
  const all = (code: Diagnostic['code']) => errors.every((d) => d.code === code)
  if (all('no-pattern')) return true
  const { speaksOfPatterns } = await import('./sources.ts')
  return all('types') && !speaksOfPatterns(file)
}

/** The names of kernels; of a program's, how many each variant has. */
function variantsOf(texts: readonly BuildRow[]): string {
  const counts = new Map<string, number>()
  for (const { variant } of texts) {
    const name = variant.split('.')[0]!
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return [...counts].map(([name, n]) => (n === 1 ? name : `${name} (${n} kernels)`)).join(', ')
}

/** One build after another with one warm compiler. */
export class Builder {
  /** The sources of everything that was asked for, built or not. */
  watched: readonly string[] = []
  #compiler: Compiler | null = null
  /** Sources that would not compile, by content: a watch says so once. */
  #failed = new Map<string, string>()
  /** Names of all patterns seen, built or not. */
  readonly #present = new Set<string>()
  readonly #io: Io
  readonly #target: BuildTarget
  readonly #wish: Wish
  readonly #json: boolean

  constructor(io: Io, target: BuildTarget, wish: Wish, json: boolean) {
    this.#io = io
    this.#target = target
    this.#wish = wish
    this.#json = json
  }

  async run(files: readonly GivenFile[], again: boolean): Promise<Exit> {
    const io = this.#io
    const { folder, consts, pattern } = this.#wish
    const { name: target, key: options } = this.#target
    const key = keyOf({ target, options, consts, pattern, heddle: heddleVersion() })
    const entries: Record<string, BuildEntry> = { ...readCache(folder) }
    const before = cacheText(entries)
    const progress = progressOn(io)
    const rows: BuildRow[] = []
    const watched = new Set<string>()
    const owners = new Map<string, string>()
    const steps: Step[] = []
    const errors: unknown[] = []
    let exit: Exit = EXIT.fine

    // Everything is begun before anything is finished: what other programs compile, they compile side by side.
    for (const [i, given] of files.entries()) {
      progress.show(`building ${i + 1} of ${files.length}: ${shown(io, given.file)}`)
      try {
        const begun = await this.#begin(given, entries, key, again, watched, progress.clear)
        if (typeof begun === 'number') exit = Math.max(exit, begun) as Exit
        else if (begun !== null) steps.push(begun)
      } catch (error) {
        errors.push(error)
        break
      }
    }
    for (const [i, step] of steps.entries()) {
      progress.show(`building ${i + 1} of ${steps.length}: ${shown(io, step.file)}`)
      try {
        const entry = step.fresh ?? (await this.#finish(step, entries, owners, key))
        for (const { pattern } of entry.rows) this.#claim(owners, pattern, step.file)
        progress.clear()
        const at = (r: BuildRow) => ({ ...r, file: shown(io, path.resolve(folder, r.file)) })
        const made = step.fresh ? entry.rows : (await step.made).rows
        rows.push(...made.map(at))
        this.#say(step, made, again)
      } catch (error) {
        errors.push(error)
      }
    }
    progress.clear()
    this.watched = [...watched]
    const after = cacheText(entries)
    if (after !== before) writeFiles(io, [{ path: path.join(folder, CACHE_FILE), bytes: after }])
    if (errors.length > 0) throw errors[0]
    if (rows.length === 0 && exit === EXIT.fine && pattern !== undefined) {
      throw new CliError('unknown-pattern', {
        got: pattern,
        file: 'what was given',
        present: [...this.#present],
      })
    }
    for (const line of rows.length > 0 ? this.#target.notes : []) io.err(`${line}\n`)
    if (this.#json) io.out(`${JSON.stringify(rows, null, again ? undefined : 2)}\n`)
    return exit
  }

  /** Null: there is nothing to say of the file; an exit code: its errors have been told. */
  async #begin(
    { file, named }: GivenFile,
    entries: Readonly<Record<string, BuildEntry>>,
    key: string,
    again: boolean,
    watched: Set<string>,
    clear: () => void,
  ): Promise<Step | Exit | null> {
    const { folder } = this.#wish
    const name = `${this.#target.name}:${relativeTo(folder, file)}`
    const entry = entries[name]
    const step = { file, name, outdated: entry }
    // What a glob passed over has no rows; whoever names it is told why.
    if (isFresh(entry, key, folder) && (entry.rows.length > 0 || !named)) {
      for (const source of Object.keys(entry.sources)) watched.add(path.resolve(folder, source))
      return { ...step, fresh: entry, sources: [], made: Promise.resolve(NOTHING) }
    }
    // TypeScript, which this and the compiler need, takes long to load: a build with nothing to do leaves it alone.
    const { sourcesOf } = await import('./sources.ts')
    const sources = sourcesOf(file)
    for (const source of sources) watched.add(source)
    const state = sources.map((s) => hashFile(s)).join()
    if (again && this.#failed.get(file) === state) return null
    const patterns = await this.#compile(file, named, clear)
    if (typeof patterns === 'number') {
      this.#failed.set(file, state)
      return patterns
    }
    this.#failed.delete(file)
    const parts = patterns.map(({ pattern, ms }) => this.#target.make(pattern, folder, ms))
    const made = Promise.all(parts).then((all) => ({
      files: all.flatMap((m) => m.files),
      rows: all.flatMap((m) => m.rows),
    }))
    // Whoever finishes the step hears of its failure; until then it is no unhandled one.
    made.catch(() => {})
    // What ran elsewhere meanwhile gets its turn.
    await new Promise(setImmediate)
    return { ...step, fresh: null, sources, made }
  }

  async #finish(
    { file, name, outdated, sources, made: pending }: Step,
    entries: Record<string, BuildEntry>,
    owners: Map<string, string>,
    key: string,
  ): Promise<BuildEntry> {
    const io = this.#io
    const { folder } = this.#wish
    const made = await pending
    for (const { pattern } of made.rows) this.#claim(owners, pattern, file)
    writeFiles(
      io,
      made.files.filter((f) => hashFile(f.path) !== sha256(f.bytes)),
    )
    const entry: BuildEntry = {
      key,
      sources: hashesOf(folder, sources),
      outputs: hashesOf(
        folder,
        made.files.map((f) => f.path),
      ),
      rows: made.rows.map((r) => ({ ...r, file: relativeTo(folder, r.file), compileMs: 0 })),
    }
    entries[name] = entry
    // With --pattern the file's other patterns were not asked for, which does not mean that they are unwanted.
    if (this.#wish.pattern === undefined)
      for (const old of leftOver(outdated, entries, folder)) io.disk.remove(old)
    return entry
  }

  /** A line a pattern on stdout; what a reader should know of its kernels on stderr, also when nothing has changed. */
  #say({ file, fresh }: Step, rows: readonly BuildRow[], again: boolean): void {
    const io = this.#io
    if (!this.#json && fresh && !again && rows.length > 0) io.out(`${shown(io, file)}: nothing has changed\n`)
    if (!this.#json && !fresh)
      for (const pattern of new Set(rows.map((r) => r.pattern)))
        io.out(this.#summary(rows.filter((r) => r.pattern === pattern)))
    if (!fresh || !again) for (const line of rows.flatMap((r) => r.remarks ?? [])) io.err(`${line}\n`)
  }

  /** Of the rows of one pattern: a kernel's text each, and its cubins. */
  #summary(rows: readonly BuildRow[]): string {
    const texts = rows.filter((r) => r.arch === undefined)
    const cubins = rows.filter((r) => r.arch !== undefined)
    const { pattern, target, compileMs, tiles } = texts[0]!
    const bytes = texts.reduce((sum, r) => sum + r.bytes, 0)
    const nvccMs = cubins.reduce((sum, r) => sum + r.compileMs, 0)
    const archs = new Set(cubins.map((r) => r.arch))
    const parts = [
      path.join(shown(this.#io, this.#wish.folder), this.#target.artefactOf(pattern)),
      variantsOf(texts),
      `${(bytes / 1024).toFixed(1)} KiB of ${target}`,
      `${compileMs} ms`,
      ...(cubins.length > 0
        ? [`${cubins.length} cubins for ${[...archs].join(', ')} in ${(nvccMs / 1000).toFixed(1)} s`]
        : []),
      `tiles by ${tiles}`,
    ]
    return `${parts.join('  ')}\n`
  }

  /** Two files must not write the same artefact. */
  #claim(owners: Map<string, string>, pattern: string, file: string): void {
    const owner = owners.get(pattern) ?? file
    if (owner !== file)
      throw new CliError('same-output', {
        pattern,
        first: shown(this.#io, owner),
        second: shown(this.#io, file),
      })
    owners.set(pattern, file)
  }

  /** The file's patterns that are wanted and the time of each; or the exit code of errors that have been told. */
  async #compile(
    file: string,
    named: boolean,
    clear: () => void,
  ): Promise<readonly { readonly pattern: CompiledPattern; readonly ms: number }[] | Exit> {
    const io = this.#io
    this.#compiler ??= await loadCompiler()
    const started = performance.now()
    const compilation = this.#compiler.compile(file, { consts: this.#wish.consts })
    const ms = performance.now() - started
    clear()
    const errors = compilation.diagnostics.filter((d) => d.severity !== 'note')
    if (!named && errors.length > 0 && (await isBeside(file, errors))) return []
    report(io, compilation, true)
    const exit = exitOf(compilation)
    if (exit !== EXIT.fine) return exit
    for (const p of compilation.patterns) this.#present.add(p.name)
    const only = this.#wish.pattern
    const patterns = compilation.patterns.filter(
      (p) => only === undefined || [p.name, p.exportName].includes(only),
    )
    if (patterns.length === 0 && named) {
      throw new CliError('unknown-pattern', {
        got: only ?? '',
        file: shown(io, file),
        present: compilation.patterns.map((p) => p.name),
      })
    }
    return patterns.map((pattern) => ({ pattern, ms: ms / patterns.length }))
  }
}

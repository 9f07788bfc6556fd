/** `heddle build`: pattern files in; artefacts, kernels and typed wrappers in a folder out. None of their code runs. */

import * as path from 'node:path'
import type { Artifact } from '../../codegen/artifact.ts'
import {
  CAPABILITY_NAMES,
  DEFAULT_CAPABILITIES,
  emit,
  HEAD_DIMS,
  TARGETS,
  type CapabilityName,
  type TargetName,
} from '../../codegen/index.ts'
import type { CompiledPattern, Compiler } from '../../compiler/index.ts'
import { namedWholes, wholeList, wordList, type Options } from './args.ts'
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
import { command } from './command.ts'
import { explainError } from './errors.ts'
import { expandFiles, shown, writeFiles, type FileToWrite, type GivenFile } from './files.ts'
import { progressOn, type Io } from './io.ts'
import { exitOf, loadCompiler, report } from './load.ts'
import { CliError, EXIT, type Exit } from './messages.ts'
import { PATTERN_FLAGS } from './setting.ts'
import { heddleVersion, hashFile, sha256 } from './version.ts'
import { watchFiles } from './watch.ts'

const FLAGS = {
  target: { type: 'string', default: 'wgsl', description: 'What to build for: wgsl', valueHint: 'target' },
  out: { type: 'string', description: 'The folder to write to (needed)', valueHint: 'dir' },
  'head-dim': {
    type: 'string',
    description: 'Query lengths to build for, 64,128 (default 64)',
    valueHint: 'list',
  },
  'value-dim': {
    type: 'string',
    description: 'Value lengths, one for each of --head-dim (default: the same)',
    valueHint: 'list',
  },
  dtype: { type: 'string', description: 'Storage: f32, f16 or both (default f32)', valueHint: 'list' },
  capability: {
    type: 'string',
    description: `Variants by what an adapter can do: ${CAPABILITY_NAMES.join(', ')} (default ${DEFAULT_CAPABILITIES.join(',')})`,
    valueHint: 'list',
  },
  ...PATTERN_FLAGS,
  watch: { type: 'boolean', description: 'Stay, and build again what changes, until Ctrl-C' },
  json: { type: 'boolean', description: 'What was built, as JSON' },
} as const

export const build = command({
  name: 'build',
  description: 'Compile pattern files to artefacts',
  args: FLAGS,
  many: ['const'],
  rest: true,
  about: `heddle build <files or globs> --out <dir> writes for each pattern
  <pattern>.json             the artefact: what a runtime loads
  <pattern>.<variant>.wgsl   the kernel as text, to read
  <pattern>.ts, .d.ts        a typed function that calls it
The same sources, options and version of Heddle give the same bytes. What has not changed is not built again: content
hashes are kept in <dir>/${CACHE_FILE}. Files are written whole or not at all. Files that a glob
matches and that declare no pattern are passed over. The patterns' code is read, never run.

--json prints [{ pattern, target, variant, file, bytes, compileMs, tiles: "ranges" | "test" | "list" }], one a variant;
compileMs is the time of this run, so 0 for what had not changed. With --watch, one array a line after each build.`,
  examples: [
    'heddle build patterns/a-shape.ts --out kernels',
    'heddle build "patterns/*.ts" --target wgsl --out kernels --head-dim 64,128 --dtype f32,f16',
    'heddle build mine.ts --out kernels --const block=64 --watch',
  ],
  run: runBuild,
})

interface Plan {
  readonly folder: string
  readonly target: TargetName
  readonly headDims: readonly number[]
  readonly valueDims: readonly number[]
  readonly dtypes: readonly ('f32' | 'f16')[]
  readonly capabilities: readonly CapabilityName[] | undefined
  readonly consts: Readonly<Record<string, number>>
  readonly pattern: string | undefined
}

async function runBuild(options: Options<typeof FLAGS>, io: Io): Promise<Exit> {
  if (options._.length === 0)
    throw new CliError('missing-argument', { command: 'build', what: '<files or globs>' })
  if (options.out === undefined)
    throw new CliError('missing-argument', { command: 'build', what: '--out <dir>' })
  const { min, max } = HEAD_DIMS
  const headDims = wholeList('head-dim', options['head-dim'], [64], min, max)
  const valueDims = wholeList('value-dim', options['value-dim'], headDims, min, max)
  if (valueDims.length !== headDims.length)
    throw new CliError('value-dims', { expected: headDims.length, got: valueDims.length })
  const plan: Plan = {
    folder: path.resolve(io.cwd, options.out),
    target: wordList('target', options.target, ['wgsl'], Object.keys(TARGETS) as TargetName[])[0]!,
    headDims,
    valueDims,
    dtypes: wordList('dtype', options.dtype, ['f32'], ['f32', 'f16']),
    capabilities:
      options.capability === undefined
        ? undefined
        : wordList('capability', options.capability, [], CAPABILITY_NAMES),
    consts: namedWholes('const', options.const),
    pattern: options.pattern,
  }
  const builder = new Builder(io, plan, options.json)
  const first = await builder.run(expandFiles(io, options._), options.watch)
  if (!options.watch) return first
  await watchFiles(
    io,
    () => builder.watched,
    async () => {
      try {
        await builder.run(expandFiles(io, options._), true)
      } catch (error) {
        explainError(error, io)
      }
    },
  )
  return EXIT.fine
}

/** One build after another with one warm compiler. */
class Builder {
  /** The sources of everything that was asked for, built or not. */
  watched: readonly string[] = []
  #compiler: Compiler | null = null
  /** Sources that would not compile, by content: a watch says so once. */
  #failed = new Map<string, string>()
  /** Names of all patterns seen, built or not. */
  readonly #present = new Set<string>()
  readonly #io: Io
  readonly #plan: Plan
  readonly #json: boolean

  constructor(io: Io, plan: Plan, json: boolean) {
    this.#io = io
    this.#plan = plan
    this.#json = json
  }

  async run(files: readonly GivenFile[], again: boolean): Promise<Exit> {
    const io = this.#io
    const { folder, ...rest } = this.#plan
    const key = keyOf({ ...rest, heddle: heddleVersion() })
    const entries: Record<string, BuildEntry> = { ...readCache(folder) }
    const before = cacheText(entries)
    const progress = progressOn(io)
    const rows: BuildRow[] = []
    const watched = new Set<string>()
    const owners = new Map<string, string>()
    let exit: Exit = EXIT.fine

    for (const [i, { file, named }] of files.entries()) {
      const name = relativeTo(folder, file)
      let entry: BuildEntry | undefined = entries[name]
      if (isFresh(entry, key, folder)) {
        for (const source of Object.keys(entry.sources)) watched.add(path.resolve(folder, source))
        rows.push(...entry.rows.map((r) => ({ ...r, file: shown(io, path.resolve(folder, r.file)) })))
        if (!this.#json && !again && entry.rows.length > 0)
          io.out(`${shown(io, file)}: nothing has changed\n`)
      } else {
        progress.show(`building ${i + 1} of ${files.length}: ${shown(io, file)}`)
        // TypeScript, which this and the compiler need, takes long to load: a build with nothing to do leaves it alone.
        const { sourcesOf } = await import('./sources.ts')
        const sources = sourcesOf(file)
        for (const source of sources) watched.add(source)
        const state = sources.map((s) => hashFile(s)).join()
        if (again && this.#failed.get(file) === state) continue
        const made = await this.#build(file, named, progress.clear)
        if (typeof made === 'number') {
          this.#failed.set(file, state)
          exit = Math.max(exit, made) as Exit
          continue
        }
        this.#failed.delete(file)
        for (const { pattern } of made.rows) this.#claim(owners, pattern, file)
        writeFiles(
          io,
          made.files.filter((f) => hashFile(f.path) !== sha256(f.bytes)),
        )
        const outdated = entry
        entry = {
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
        if (this.#plan.pattern === undefined)
          for (const old of leftOver(outdated, entries, folder)) io.disk.remove(old)
        rows.push(...made.rows.map((r) => ({ ...r, file: shown(io, r.file) })))
        progress.clear()
        if (!this.#json) for (const line of summaryOf(made, shown(io, folder))) io.out(line)
      }
      for (const { pattern } of entry.rows) this.#claim(owners, pattern, file)
    }
    progress.clear()
    this.watched = [...watched]
    if (rows.length === 0 && exit === EXIT.fine && rest.pattern !== undefined) {
      throw new CliError('unknown-pattern', {
        got: rest.pattern,
        file: 'what was given',
        present: [...this.#present],
      })
    }
    const after = cacheText(entries)
    if (after !== before) writeFiles(io, [{ path: path.join(folder, CACHE_FILE), bytes: after }])
    if (this.#json) io.out(`${JSON.stringify(rows, null, again ? undefined : 2)}\n`)
    return exit
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

  async #build(file: string, named: boolean, clear: () => void): Promise<Made | Exit> {
    const io = this.#io
    this.#compiler ??= await loadCompiler()
    const started = performance.now()
    const compilation = this.#compiler.compile(file, { consts: this.#plan.consts })
    const ms = performance.now() - started
    clear()
    const errors = compilation.diagnostics.filter((d) => d.severity !== 'note')
    // A glob also matches files that patterns import.
    if (!named && errors.length > 0 && errors.every((d) => d.code === 'no-pattern')) return NOTHING
    report(io, compilation, true)
    const exit = exitOf(compilation)
    if (exit !== EXIT.fine) return exit
    for (const p of compilation.patterns) this.#present.add(p.name)
    const only = this.#plan.pattern
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
    const made = await Promise.all(patterns.map((p) => artefactsOf(p, this.#plan, ms / patterns.length)))
    return { files: made.flatMap((m) => m.files), rows: made.flatMap((m) => m.rows) }
  }
}

interface Made {
  readonly files: readonly FileToWrite[]
  readonly rows: readonly BuildRow[]
}

const NOTHING: Made = { files: [], rows: [] }

async function artefactsOf(pattern: CompiledPattern, plan: Plan, compiled: number): Promise<Made> {
  const { wrapperOf } = await import('../../codegen/wrapper.ts')
  const started = performance.now()
  const artifact: Artifact = emit(pattern, {
    target: plan.target,
    headDims: plan.headDims,
    valueDims: plan.valueDims,
    dtypes: plan.dtypes,
    ...(plan.capabilities ? { capabilities: plan.capabilities } : {}),
  })
  const compileMs = Math.round((compiled + performance.now() - started) * 10) / 10
  const at = (end: string) => path.join(plan.folder, `${pattern.name}.${end}`)
  const wrapper = wrapperOf(artifact)
  const kernels = artifact.variants.map((v) => ({
    path: at(`${v.id}.${plan.target}`),
    bytes: v.code,
    variant: v.id,
  }))
  // The artefact last: it holds the kernels' text itself, so it is whole whatever happens to the files beside it.
  const files = [
    ...kernels,
    { path: at('d.ts'), bytes: wrapper.dts },
    { path: at('ts'), bytes: wrapper.ts },
    { path: at('json'), bytes: `${JSON.stringify(artifact, null, 1)}\n` },
  ]
  const rows = kernels.map((k) => ({
    pattern: pattern.name,
    target: plan.target,
    variant: k.variant,
    file: k.path,
    bytes: Buffer.byteLength(k.bytes),
    compileMs,
    tiles: artifact.tiles,
  }))
  return { files, rows }
}

function* summaryOf(made: Made, folder: string): Generator<string> {
  const names = [...new Set(made.rows.map((r) => r.pattern))]
  for (const name of names) {
    const rows = made.rows.filter((r) => r.pattern === name)
    const bytes = rows.reduce((sum, r) => sum + r.bytes, 0)
    const variants = rows.map((r) => r.variant).join(', ')
    yield `${path.join(folder, `${name}.json`)}  ${variants}  ${(bytes / 1024).toFixed(1)} KiB of ${rows[0]!.target}  ${rows[0]!.compileMs} ms  tiles by ${rows[0]!.tiles}\n`
  }
}

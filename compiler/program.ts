/** The warm TypeScript program: files on disk or in a buffer in, syntax trees with types and their diagnostics out. */

import { readFileSync, statSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import ts from 'typescript'
import { heddleRoot, PACKAGE_ROOT } from './package-root.ts'
import type { SourceText, Span } from './source.ts'

export interface Input {
  readonly file: string
  /** Source text instead of the file's. */
  readonly text?: string
}

/** A TypeScript program over the inputs of one call. */
export interface Program {
  readonly checker: ts.TypeChecker
  /** The syntax tree of an input, or why it cannot be read. */
  readonly open: (file: string) => ts.SourceFile | { readonly why: string }
  readonly spanOf: (node: ts.Node) => Span
  readonly syntaxErrors: (file: ts.SourceFile) => readonly Complaint[]
  readonly typeErrors: (file: ts.SourceFile) => readonly Complaint[]
  /** A declaration file of the language itself, where `Math` and `Infinity` are declared. */
  readonly isLibrary: (file: ts.SourceFile) => boolean
}

/** What TypeScript says of a file. */
export interface Complaint {
  readonly span: Span
  readonly text: string
}

/** Fixed: a pattern means the same whatever tsconfig stands beside it. */
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts'],
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  customConditions: ['heddle-source'],
  allowImportingTsExtensions: true,
  allowJs: true,
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  types: [],
}

const EXTENSIONS = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs']

/** `heddle` and what may be imported from it, for files with no such package in reach: this package. */
const OWN_MODULES: Readonly<Record<string, string>> = {
  heddle: 'dsl/index.ts',
  'heddle/patterns': 'patterns/index.ts',
}

/**
 * TypeScript's words for a name or module that only the machine's typings declare (console, process, node:fs). A pattern
 * cannot use them, and the rest of its file may.
 */
const MACHINE_NAMES = new Set([2304, 2503, 2580, 2584, 2591])
const MACHINE_GLOBALS =
  /^(console|process|Buffer|require|module|global|setTimeout|setInterval|performance|URL|fetch|document|window)$/
const MODULE_NOT_FOUND = 2307

/**
 * Keeps parsed files between calls; a call makes a program of its own inputs only. TypeScript's binder recurses, so a file
 * that nests too deeply makes the call throw a RangeError.
 */
export function createProgramCache(): (inputs: readonly Input[]) => Program {
  const parsed = new Map<string, { readonly file: ts.SourceFile; readonly text: string }>()
  const texts = new WeakMap<ts.SourceFile, SourceText>()
  const host = ts.createCompilerHost(OPTIONS, true)
  const libraries = `${dirname(host.getDefaultLibFileName(OPTIONS))}/`
  let buffers: ReadonlyMap<string, string> = new Map()
  let last: ts.Program | undefined

  const onDisk = { readFile: host.readFile.bind(host), fileExists: host.fileExists.bind(host) }
  host.fileExists = (name) => buffers.has(resolve(name)) || onDisk.fileExists(name)
  host.readFile = (name) => buffers.get(resolve(name)) ?? onDisk.readFile(name)
  host.getSourceFile = (name, language) => {
    const known = parsed.get(name)
    // The language's own declarations do not change while we run; every other file may.
    if (known && name.startsWith(libraries)) return known.file
    const text = host.readFile(name)
    if (text === undefined) return undefined
    if (known?.text === text) return known.file
    const file = ts.createSourceFile(name, text, language, true)
    parsed.set(name, { file, text })
    return file
  }
  host.resolveModuleNameLiterals = (literals, from, redirect, options) => {
    const cache = ts.createModuleResolutionCache(host.getCurrentDirectory(), (f) => f, options)
    return literals.map(({ text }) => {
      const found = ts.resolveModuleName(text, from, options, host, cache, redirect)
      const own = OWN_MODULES[text]
      if (found.resolvedModule || own === undefined) return found
      const resolvedFileName = join(PACKAGE_ROOT, own)
      return {
        resolvedModule: { resolvedFileName, extension: ts.Extension.Ts, isExternalLibraryImport: false },
      }
    })
  }

  const spanOf = (node: ts.Node): Span => {
    const file = node.getSourceFile()
    return { source: textOf(file), start: node.getStart(file), end: node.getEnd() }
  }
  const textOf = (file: ts.SourceFile): SourceText => {
    const known = texts.get(file) ?? { file: file.fileName, text: file.text }
    texts.set(file, known)
    return known
  }
  const complaint = (file: ts.SourceFile, d: ts.Diagnostic): Complaint => ({
    span: { source: textOf(file), start: d.start ?? 0, end: (d.start ?? 0) + (d.length ?? 0) },
    text: ts.flattenDiagnosticMessageText(d.messageText, '\n'),
  })

  return (inputs) => {
    buffers = new Map(inputs.flatMap(({ file, text }) => (text === undefined ? [] : [[resolve(file), text]])))
    const readable = inputs
      .map((i) => resolve(i.file))
      .filter((file) => whyUnreadable(file, buffers) === null)
    let program: ts.Program
    let checker: ts.TypeChecker
    try {
      program = ts.createProgram({
        rootNames: readable,
        options: OPTIONS,
        host,
        ...(last ? { oldProgram: last } : {}),
      })
      checker = program.getTypeChecker()
    } catch (e) {
      // Files may be left half bound, which a later program must not take over.
      parsed.clear()
      last = undefined
      throw e
    }
    last = program
    forget(parsed, program, libraries)
    return {
      checker,
      open: (name) => {
        const why = whyUnreadable(resolve(name), buffers)
        if (why !== null) return { why }
        return program.getSourceFile(resolve(name)) ?? { why: 'TypeScript does not open it' }
      },
      spanOf,
      syntaxErrors: (file) => program.getSyntacticDiagnostics(file).map((d) => complaint(file, d)),
      typeErrors: (file) =>
        program
          .getSemanticDiagnostics(file)
          .filter((d) => !isOfTheMachine(file, d))
          .map((d) => complaint(file, d)),
      isLibrary: (file) => program.isSourceFileDefaultLibrary(file),
    }
  }
}

/** A session that compiles thousands of files keeps those of its last call only. */
function forget(parsed: Map<string, unknown>, program: ts.Program, libraries: string): void {
  for (const name of parsed.keys()) {
    if (!name.startsWith(libraries) && !program.getSourceFile(name)) parsed.delete(name)
  }
}

function isOfTheMachine(file: ts.SourceFile, d: ts.Diagnostic): boolean {
  const word = file.text.slice(d.start ?? 0, (d.start ?? 0) + (d.length ?? 0))
  if (/^['"]/.test(word) && isBuiltin(word.slice(1, -1)))
    return d.code === MODULE_NOT_FOUND || MACHINE_NAMES.has(d.code)
  return MACHINE_NAMES.has(d.code) && MACHINE_GLOBALS.test(word)
}

function whyUnreadable(file: string, buffers: ReadonlyMap<string, string>): string | null {
  if (!EXTENSIONS.some((e) => file.endsWith(e)) || file.endsWith('.d.ts'))
    return `a pattern file ends in ${EXTENSIONS.join(', ')}`
  if (buffers.has(file)) return null
  try {
    if (!statSync(file).isFile()) return 'it is not a file'
    readFileSync(file)
    return null
  } catch (e) {
    const code = e instanceof Error && 'code' in e ? e.code : undefined
    if (code === 'ENOENT') return 'there is no such file'
    if (code === 'EACCES' || code === 'EPERM') return 'reading it is not permitted'
    return String(code ?? e)
  }
}

/** The files whose code a pattern may be made of: the file, and what it imports, without declarations and without Heddle. */
export function ownFiles(program: Program, file: ts.SourceFile): readonly ts.SourceFile[] {
  const seen = new Set<ts.SourceFile>([file])
  for (const from of seen) {
    for (const statement of from.statements) {
      const isEdge = ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement)
      if (!isEdge || !statement.moduleSpecifier) continue
      const target = program.checker.getSymbolAtLocation(statement.moduleSpecifier)?.valueDeclaration
      if (!target || !ts.isSourceFile(target) || target.isDeclarationFile) continue
      const installed = target.fileName.includes('/node_modules/')
      if (!installed && !isHeddleSource(target.fileName)) seen.add(target)
    }
  }
  return [...seen]
}

/** A file of Heddle's own library: checked when it was built. */
const isHeddleSource = (file: string): boolean => {
  const root = heddleRoot(dirname(file))
  if (root === null) return false
  const inside = file.slice(root.length + 1)
  return /^(dist\/)?(dsl|patterns)\//.test(inside)
}

/** True of the files that declare the words of the DSL. */
export const isDslFile = (file: string): boolean => {
  const root = heddleRoot(dirname(file))
  return root !== null && /^(dist\/)?dsl\//.test(file.slice(root.length + 1))
}

/** compile(): pattern source in, every stage by name out. Nothing of the author's code is executed. */

import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type ts from 'typescript'
import { checkBounds } from './bounds.ts'
import { DEEPEST, LOOP_STEPS, TERMS, type Context } from './context.ts'
import { Session, type Diagnostic } from './diagnostics.ts'
import { Ir } from './ir.ts'
import { evaluate } from './lower.ts'
import { parse, type PatternAst } from './parse.ts'
import { lowerPattern } from './pattern-ir.ts'
import { planKernel, type KernelPlan, type PatternIr } from './plan.ts'
import { createProgramCache, ownFiles, type Input, type Program } from './program.ts'
import { simplifyPattern } from './simplify.ts'
import { NO_SPAN, type Span } from './source.ts'
import { functionsIn } from './stages/graph.ts'
import type { StagePlan } from './stages/plan.ts'
import { planProgram } from './stages/schedule.ts'

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
  /** The kernels of its `forward`; null: attention over all that the mask keeps. */
  readonly stages: StagePlan | null
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

/** Compiles files, keeping the TypeScript program warm in between: the first call costs most. */
export interface Compiler {
  readonly compile: (file: string, options?: CompileOptions) => Compilation
  readonly compileAll: (
    files: readonly (string | Input)[],
    options?: Omit<CompileOptions, 'text'>,
  ) => Compilation[]
}

/** The stages of a compilation, in order; a test may put its own in their place. */
export interface Stages {
  readonly parse: (cx: Context, file: ts.SourceFile) => PatternAst[]
  readonly lower: typeof lowerPattern
  readonly simplify: (ir: Ir, pattern: PatternIr) => PatternIr
  readonly bounds: typeof checkBounds
  readonly plan: typeof planKernel
}

const STAGES: Stages = {
  parse,
  lower: lowerPattern,
  simplify: simplifyPattern,
  bounds: checkBounds,
  plan: planKernel,
}

export function createCompiler(stages: Partial<Stages> = {}): Compiler {
  const load = createProgramCache()
  const run = { ...STAGES, ...stages }
  const compileAll: Compiler['compileAll'] = (files, options = {}) => {
    const inputs = files.map((f) => (typeof f === 'string' ? { file: f } : f))
    const consts = options.consts ?? {}
    const program = attempt(() => load(inputs))
    if ('failure' in program) {
      return inputs.length > 1
        ? inputs.flatMap((input) => compileAll([input], options))
        : inputs.map((input) => unloaded(input, program.failure))
    }
    const read = inputs.map(({ file }) => open(program, file, run))
    const known = new Set(read.flatMap((r) => r.parsed.flatMap(constsOf)))
    return read.map((r) => {
      for (const name of Object.keys(consts)) {
        const at = r.parsed[0]?.span
        if (!known.has(name) && at) r.session.report('unknown-const', at, { name, known: [...known] })
      }
      return finish(program, r, run, consts)
    })
  }
  return {
    compileAll,
    compile: (file, { text, ...options } = {}) =>
      compileAll([text === undefined ? file : { file, text }], options)[0]!,
  }
}

let shared: Compiler | undefined

/** One file, with a compiler that all calls share. */
export function compile(file: string, options: CompileOptions = {}): Compilation {
  shared ??= createCompiler()
  return shared.compile(file, options)
}

interface Read {
  readonly file: string
  readonly session: Session
  readonly parsed: readonly PatternAst[]
}

const constsOf = ({ root }: PatternAst): string[] => {
  const within = (part: PatternAst['root']): string[] => {
    switch (part.kind) {
      case 'pattern':
        return part.declarations.consts.map((c) => c.name)
      case 'not':
        return within(part.part)
      case 'rename':
        return within(part.part).map((name) => part.names.get(name) ?? name)
      default:
        return part.parts.flatMap(within)
    }
  }
  return within(root)
}

const contextFor = (program: Program, session: Session, ir: Ir): Context => ({
  program,
  session,
  ir,
  part: 'fields',
  evaluate,
  calls: [],
  constants: new Map(),
  origins: new Map(),
  depths: new Map(),
  budget: { loopSteps: LOOP_STEPS, terms: TERMS },
  stages: null,
})

function attempt<T extends object>(work: () => T): T | { readonly failure: unknown } {
  try {
    return work()
  } catch (failure) {
    return { failure }
  }
}

/** Runs a stage; what it throws is a bug of ours, and names the stage. */
function guarded<T extends object>(session: Session, stage: string, at: Span, work: () => T): T | null {
  const result = attempt(work)
  if (!('failure' in result)) return result
  broke(session, stage, at, result.failure)
  return null
}

function broke(session: Session, stage: string, at: Span, e: unknown): void {
  // Stages recurse over syntax and expressions: only the author's nesting can exhaust the stack.
  if (e instanceof RangeError && e.message.includes('call stack'))
    session.report('too-deep', at, { limit: DEEPEST })
  else session.report('internal', at, { stage, detail: e instanceof Error ? e.message : String(e) })
}

/** A file that TypeScript itself could not take in. */
function unloaded({ file, text }: Input, failure: unknown): Compilation {
  const session = new Session()
  const source = { file: resolve(file), text: text ?? readFileSync(file, 'utf8') }
  broke(session, 'parse', { source, start: 0, end: source.text.split('\n')[0]!.length }, failure)
  return { file: source.file, diagnostics: session.diagnostics, patterns: [] }
}

function open(program: Program, name: string, stages: Stages): Read {
  const file = resolve(name)
  const session = new Session()
  const failed: Read = { file, session, parsed: [] }
  return (
    guarded(session, 'parse', NO_SPAN, () => {
      const source = program.open(file)
      if ('why' in source) {
        session.report('unreadable-file', NO_SPAN, { file: name, why: source.why })
        return failed
      }
      const files = ownFiles(program, source)
      for (const f of files)
        for (const { span, text } of program.syntaxErrors(f)) session.report('syntax', span, { text })
      if (session.failed) return failed
      for (const f of files)
        for (const { span, text } of program.typeErrors(f)) session.report('types', span, { text })
      if (session.failed) return failed
      return { file, session, parsed: stages.parse(contextFor(program, session, new Ir()), source) }
    }) ?? failed
  )
}

function finish(
  program: Program,
  { file, session, parsed }: Read,
  stages: Stages,
  consts: Readonly<Record<string, number>>,
): Compilation {
  const end = (patterns: readonly CompiledPattern[]): Compilation => ({
    file,
    patterns: session.failed ? [] : patterns,
    diagnostics: inOrder(file, session.diagnostics),
  })
  if (session.failed) return end([])
  const lowered = parsed.flatMap((ast) => {
    const ir = new Ir()
    const made = guarded(session, 'lower', ast.span, () => ({
      lowered: stages.lower(contextFor(program, session, ir), ast, consts),
    }))
    return made?.lowered ? [{ ast, ir, lowered: made.lowered.pattern, forward: made.lowered.forward }] : []
  })
  for (const [
    i,
    {
      lowered: { name },
      ast,
    },
  ] of lowered.entries()) {
    const first = lowered.findIndex((l) => l.lowered.name === name)
    if (first < i)
      session.report('duplicate-pattern', ast.span, {
        name,
        first: lowered[first]!.ast.exportName,
        second: ast.exportName,
      })
  }
  if (session.failed) return end([])
  for (const { ast, lowered: made, forward } of lowered) {
    guarded(session, 'bounds', ast.span, () => {
      stages.bounds(made, session, forward ? functionsIn(forward.graph) : [])
      return made
    })
  }
  if (session.failed) return end([])
  return end(
    lowered.flatMap(({ ast, ir, lowered: made, forward }): CompiledPattern[] => {
      const simplified = guarded(session, 'simplify', ast.span, () => stages.simplify(ir, made))
      const plan =
        simplified && guarded(session, 'plan', ast.span, () => stages.plan(ir, simplified, session))
      if (!plan) return []
      const kernels =
        forward &&
        guarded(session, 'plan', ast.span, () =>
          planProgram(forward.typing, forward.graph, simplified, session),
        )
      const { name } = made
      return [{ name, exportName: ast.exportName, ir, ast, lowered: made, simplified, plan, stages: kernels }]
    }),
  )
}

/** The file itself first, then what it imports, each from top to bottom. */
function inOrder(file: string, diagnostics: readonly Diagnostic[]): Diagnostic[] {
  const rank = (d: Diagnostic) => (d.span.source.file === file ? 0 : 1)
  return diagnostics.toSorted(
    (a, b) =>
      rank(a) - rank(b) ||
      compareText(a.span.source.file, b.span.source.file) ||
      a.span.start - b.span.start ||
      a.span.end - b.span.end,
  )
}

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

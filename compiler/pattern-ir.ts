/** A parsed pattern in, its expressions out: consts folded, dims resolved, mask, score and sinkLogit lowered. */

import ts from 'typescript'
import { combine, maskOf, type Combined, type Part } from './combine.ts'
import { conditionOf, float, LOOP_STEPS, report, ROUNDS, TERMS, textOf, type Context } from './context.ts'
import { isDeclaredInt, WIDEST_INT } from './declare.ts'
import { Derivation } from './derive.ts'
import type { Declarations, Named } from './fields.ts'
import { callFunction } from './inline.ts'
import { INDEX_VARS, type Expr } from './ir.ts'
import { evaluate } from './lower.ts'
import type { PatternAst } from './parse.ts'
import type { AxisName, Dim, PatternIr, TableInfo } from './plan.ts'
import type { Span } from './source.ts'
import { forwardRecord, graphOf, inputRows, typingOf } from './stages/forward.ts'
import type { StageGraph } from './stages/graph.ts'
import type { Typing } from './stages/typing.ts'
import { bareOf } from './syntax.ts'
import { BAD, describeValue, exprValue, number, type TableSpec, type Value } from './value.ts'

const AXES: readonly AxisName[] = ['batch', 'head', 'kvHead', 'indexHead', 'qLen', 'kvLen', 'headDim']

/** What a lowered pattern declares, before its functions are read. */
interface Names extends Pick<PatternIr, 'consts' | 'params' | 'tables'> {
  readonly pattern: Combined
}

type FunctionValue = Value & { kind: 'function' }

export interface Lowered {
  readonly pattern: PatternIr
  /** What `forward` computes; null: attention over all that the mask keeps. */
  readonly forward: LoweredForward | null
}

export interface LoweredForward {
  readonly graph: StageGraph
  /** What its nodes were typed with. */
  readonly typing: Typing
}

/** Null if something was reported. `base.part` is set for each function in turn. */
export function lowerPattern(
  base: Context,
  ast: PatternAst,
  overrides: Readonly<Record<string, number>>,
): Lowered | null {
  const before = base.session.errors
  const pattern = combine(base, ast.root)
  const names = resolveNames(base, pattern, overrides)
  if (base.session.errors > before) return null

  const within = (part: Context['part']): Context => ({
    ...base,
    part,
    budget: { loopSteps: part === 'forward' ? ROUNDS : LOOP_STEPS, terms: TERMS },
  })
  const cx = within('mask')
  const mask = maskOf(cx, pattern.mask, (part) => {
    const f = functionOf(cx, part)
    return f && conditionOf(cx, applyPart(cx, f, [indexRecord(cx, part, names)]), resultOf(f))
  })
  const numberFrom = (name: 'score' | 'sinkLogit', part: Part | null): Expr | null => {
    const inner = within(name)
    const f = part && functionOf(inner, part)
    if (!part || !f) return null
    const first = name === 'score' ? [exprValue(inner.ir.var('logit', inner.program.spanOf(f.node)))] : []
    return float(inner, applyPart(inner, f, [...first, indexRecord(inner, part, names)]), resultOf(f))
  }
  const [score, sinkLogit] = [numberFrom('score', pattern.score), numberFrom('sinkLogit', pattern.sinkLogit)]
  if (mask === null || base.session.errors > before) return null

  const derivation = new Derivation(cx, names.params, names.tables, Object.keys(names.consts))
  const lowered: PatternIr = {
    name: pattern.name,
    cite: pattern.cite,
    consts: names.consts,
    params: names.params,
    tables: names.tables,
    mask: derivation.condition(typeof mask === 'boolean' ? base.ir.bool(mask, pattern.span) : mask),
    score: score && derivation.number(score),
    sinkLogit: sinkLogit && derivation.number(sinkLogit),
    derived: derivation.list,
  }
  const forward =
    pattern.forward && lowerForward(within('forward'), pattern.forward, names, lowered, derivation)
  return base.session.errors > before ? null : { pattern: lowered, forward }
}

function lowerForward(
  base: Context,
  part: Part,
  names: Names,
  lowered: PatternIr,
  derivation: Derivation,
): LoweredForward | null {
  const inputs = names.pattern.rows.map(({ name, value }) => ({ name, ...value }))
  const typing = typingOf(base.ir, lowered, inputs, (keep) => derivation.condition(keep))
  const cx: Context = { ...base, stages: typing }
  const f = functionOf(cx, part)
  if (!f) return null
  const own = (name: string, span: Span) => ownName(cx, part, names, name, span)
  const record = forwardRecord(cx, typing, namesOf(part.declarations), own)
  const value = applyPart(cx, f, [record])
  const graph = graphOf(cx, value, inputs, resultOf(f))
  return graph && { graph, typing }
}

function resolveNames(cx: Context, pattern: Combined, overrides: Readonly<Record<string, number>>): Names {
  const consts: Record<string, number> = {}
  for (const { name, value, span } of pattern.consts) {
    const given = Object.hasOwn(overrides, name) ? overrides[name]! : value
    if (!isDeclaredInt(given)) report(cx, 'const-value', span, { name, got: String(given) })
    consts[name] = given
  }
  const params = pattern.params.map(({ name, value }) => ({ name, ...value }))
  const tables = pattern.tables.map((t): TableInfo => ({
    ...t.value,
    name: t.name,
    dims: dimsOf(cx, t, consts),
  }))
  return { pattern, consts, params, tables }
}

function dimsOf(
  cx: Context,
  { name, value, span }: Named<TableSpec>,
  consts: Readonly<Record<string, number>>,
): Dim[] {
  return value.dims.flatMap((dim): Dim[] => {
    const axis = AXES.find((a) => a === dim)
    if (axis) return [axis]
    const size = typeof dim === 'number' ? dim : Object.hasOwn(consts, dim) ? consts[dim] : undefined
    if (size !== undefined && size >= 1 && size <= WIDEST_INT) return [size]
    if (size === undefined)
      report(cx, 'unknown-dim', span, {
        table: name,
        dim: String(dim),
        known: [...AXES, ...Object.keys(consts)],
      })
    else report(cx, 'dim-size', span, { table: name, dim: String(dim), size })
    return []
  })
}

function functionOf(cx: Context, { node }: Part): FunctionValue | null {
  if (ts.isMethodDeclaration(node)) return { kind: 'function', node, frame: null }
  const value = evaluate(cx, node, null)
  if (value.kind === 'function') return value
  if (value.kind !== 'bad')
    report(cx, 'declaration', node, { wanted: 'a function', got: describeValue(value), text: textOf(node) })
  return null
}

function applyPart(cx: Context, f: FunctionValue, args: readonly Value[]): Value {
  // What a kernel calls gives every argument, so a default would never be used there.
  const defaults = f.node.parameters.flatMap((p) => {
    const fields = ts.isObjectBindingPattern(p.name) ? p.name.elements.filter((e) => e.initializer) : []
    return p.initializer ? [p, ...fields] : fields
  })
  for (const d of defaults) report(cx, 'default-value', d, { text: textOf(d.name) })
  if (defaults.length > 0) return BAD
  return callFunction(cx, f, args, cx.program.spanOf(f.node))
}

/** The expression that a function gives, where it has only one: what an error about its result points at. */
const resultOf = ({ node }: FunctionValue): ts.Node =>
  node.body && !ts.isBlock(node.body) ? bareOf(node.body) : (node.name ?? node)

/** The record that a mask or score gets: the index fields, and the part's own names for what the pattern declares. */
function indexRecord(cx: Context, part: Part, names: Names): Value {
  const own = part.declarations
  const read = (name: string, span: Span): Value | undefined => {
    const field = INDEX_VARS.find((v) => v === name)
    if (field) {
      if (cx.part === 'sinkLogit' && (field === 'q' || field === 'kv'))
        return report(cx, 'sink-logit-positions', span, { name })
      return exprValue(cx.ir.var(field, span))
    }
    return ownName(cx, part, names, name, span)
  }
  return { kind: 'object', names: [...INDEX_VARS, ...namesOf(own)], read }
}

const namesOf = ({ consts, params, tables, rows }: Declarations): string[] =>
  [...consts, ...params, ...tables, ...rows].map((n) => n.name)

/** What a part's own name stands for in the pattern that is compiled. */
function ownName(
  cx: Context,
  { declarations: own, outer: outerOf }: Part,
  { consts, tables }: Names,
  name: string,
  span: Span,
): Value | undefined {
  const outer = outerOf(name)
  if (own.consts.some((c) => c.name === name)) return number(consts[outer]!)
  const param = own.params.find((p) => p.name === name)
  if (param) return exprValue(cx.ir.param(outer, param.value.type, span))
  const table = own.tables.some((t) => t.name === name) ? tables.find((t) => t.name === outer) : undefined
  if (table) return { kind: 'table', table }
  return own.rows.some((r) => r.name === name) ? inputRows(cx, outer, span) : undefined
}

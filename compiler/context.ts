/** Context: what every step of lowering works with, and the few questions they all ask of it. */

import ts from 'typescript'
import type { Session } from './diagnostics.ts'
import { nodesOf, readsVar, type Expr, type Ir } from './ir.ts'
import { NOTES, type Code, type MessageArgs } from './messages.ts'
import type { Op } from './ops.ts'
import type { Program } from './program.ts'
import type { Span } from './source.ts'
import type { Typing } from './stages/typing.ts'
import { bareOf } from './syntax.ts'
import { BAD, describeValue, type Condition, type Frame, type FunctionNode, type Value } from './value.ts'

/**
 * Which function is being lowered, or `fields`: the declarations around it. It decides where floats may stand. `cell` is a
 * function that a word of `forward` is given.
 */
export type Part = 'fields' | 'mask' | 'score' | 'sinkLogit' | 'forward' | 'cell'

export interface Context {
  readonly program: Program
  readonly session: Session
  readonly ir: Ir
  readonly part: Part
  /** The value of an expression: lower.ts, which most steps need and which needs most of them. */
  readonly evaluate: (cx: Context, node: ts.Expression, frame: Frame | null) => Value
  /** Calls that are being inlined, outermost first. */
  readonly calls: { readonly node: FunctionNode; readonly at: Span }[]
  /** Values of module constants, by their symbol; `null` while one is being computed. */
  readonly constants: Map<ts.Symbol, Value | null>
  /** Where an expression made by an inlined helper was called from. */
  readonly origins: Map<Expr, readonly Span[]>
  /** How deep operations nest. */
  readonly depths: Map<Expr, number>
  readonly budget: { loopSteps: number; terms: number }
  /** What the words of `forward` are typed with; null where they have no place. */
  readonly stages: Typing | null
}

/** Loop steps that a pattern may unroll, and syntax nodes that it may visit, inlined calls and loops multiplied out. */
export const LOOP_STEPS = 4096
export const TERMS = 500_000
/** Rounds of the loops of a `forward`, each of which may be kernels. */
export const ROUNDS = 64

/** Depth of nested operations that later stages, which recurse, are safe with. */
export const DEEPEST = 1500

const LARGEST_F32 = 3.4028234663852886e38

export function report<C extends Code>(
  cx: Context,
  code: C,
  at: ts.Node | Span,
  args: MessageArgs<C>,
  label?: string,
): Value {
  const span = spanAt(cx, at)
  const notes = callSites(cx).map((site) => ({ span: site, text: NOTES.calledFrom }))
  cx.session.report(code, span, args, { notes, ...(label === undefined ? {} : { label }) })
  return BAD
}

/** A report where the answer is whether all is well. */
export function refuse<C extends Code>(
  cx: Context,
  code: C,
  at: ts.Node | Span,
  args: MessageArgs<C>,
): false {
  report(cx, code, at, args)
  return false
}

/** The calls around, innermost first, as a reader walks outwards; the mask or score itself is called by no author. */
const callSites = (cx: Context): Span[] =>
  cx.calls
    .slice(1)
    .map((c) => c.at)
    .toReversed()
    .slice(0, MOST_NOTES)
const MOST_NOTES = 3

const spanAt = (cx: Context, at: ts.Node | Span): Span => ('kind' in at ? cx.program.spanOf(at) : at)

export const textOf = (node: ts.Node): string => node.getText()

/** The text without brackets around it. */
export const bareText = (node: ts.Node): string => textOf(ts.isExpression(node) ? bareOf(node) : node)
const isWord = (node: ts.Node): boolean => ts.isExpression(node) && ts.isIdentifier(bareOf(node))

/** An operation, remembered with the calls that led to it. */
export function make(cx: Context, op: Op, src: readonly Expr[], at: ts.Node | Span): Expr {
  const made = cx.ir.make(op, src, spanAt(cx, at))
  if (cx.calls.length > 1 && !cx.origins.has(made)) cx.origins.set(made, callSites(cx))
  const known = cx.depths.get(made)
  if (known === undefined) {
    const depth = 1 + Math.max(0, ...src.map((s) => cx.depths.get(s) ?? 0))
    cx.depths.set(made, depth)
    if (depth === DEEPEST) report(cx, 'too-deep', at, { limit: DEEPEST })
  }
  return made
}

export const isInt32 = (n: number): boolean => Number.isInteger(n) && n >= -(2 ** 31) && n < 2 ** 31

/** A number as an expression: constants that fit are i32, others f32; null if something was reported. */
export function numeric(cx: Context, value: Value, at: ts.Node): Expr | null {
  switch (value.kind) {
    case 'number':
      return isInt32(value.value) ? cx.ir.int(value.value, cx.program.spanOf(at)) : float(cx, value, at)
    case 'expr':
      if (value.expr.type !== 'bool') return value.expr
      break
    case 'bad':
      return null
  }
  report(cx, 'not-a-number', at, { text: textOf(at), got: describeValue(value) })
  return null
}

/** A number as f32. */
export function float(cx: Context, value: Value, at: ts.Node): Expr | null {
  if (value.kind === 'number') {
    const infinite = cx.part === 'cell' && Math.abs(value.value) === Infinity
    if (infinite || Math.abs(value.value) <= LARGEST_F32)
      return cx.ir.float(value.value, cx.program.spanOf(at))
    report(cx, 'not-finite', at, { value: String(value.value) })
    return null
  }
  const e = numeric(cx, value, at)
  return e && asFloat(cx, e, at)
}

export function asFloat(cx: Context, e: Expr, at: ts.Node): Expr {
  if (e.type === 'f32') return e
  if (e.op === 'const') return cx.ir.float(e.arg as number, e.span)
  // Rounded down and meant as a float again: the conversion and its inverse cancel.
  return e.op === 'toI32' ? e.src[0]! : make(cx, 'toF32', [e], at)
}

/** A whole number as i32; null if it is a float, about which nothing was reported. */
export function wholeOf(cx: Context, value: Value, at: ts.Node): Expr | null {
  if (value.kind === 'number')
    return isInt32(value.value) ? cx.ir.int(value.value, cx.program.spanOf(at)) : null
  if (value.kind !== 'expr') return null
  return asInteger(cx, value.expr, at)
}

const OF_INTEGERS: ReadonlySet<Op> = new Set<Op>(['add', 'sub', 'mul', 'neg', 'abs', 'min', 'max', 'select'])

/**
 * A float that is surely a whole number, as i32: rounded once where the host can derive it, else by its integer parts.
 * Null for other floats.
 */
function asInteger(cx: Context, e: Expr, at: ts.Node): Expr | null {
  if (e.type === 'i32') return e
  if (e.op === 'toF32') return e.src[0]!
  if (e.op === 'const') return isInt32(e.arg as number) ? cx.ir.int(e.arg as number, e.span) : null
  if (isRounded(e) && (isHostValue(e) || !OF_INTEGERS.has(e.op))) return make(cx, 'toI32', [e], at)
  if (!OF_INTEGERS.has(e.op)) return null
  const src = e.src.map((s) => (s.type === 'bool' ? s : asInteger(cx, s, at)))
  return src.every((s) => s !== null) ? make(cx, e.op, src, e.span) : null
}

/** An f32 that is surely a whole number: what Math.floor, ceil, trunc and round gave, and sums and choices of such. */
export function isRounded(e: Expr): boolean {
  if (e.op === 'floor' || e.op === 'ceil' || e.op === 'toF32') return true
  if (e.op === 'const') return Number.isInteger(e.arg)
  return OF_INTEGERS.has(e.op) && e.src.every((s) => s.type === 'bool' || isRounded(s))
}

/** True if the value is one for each batch entry and head: free of the pair, the logit and tables. */
const isHostValue = (e: Expr): boolean =>
  !readsVar(e, 'q', 'kv', 'logit') && nodesOf(e).every((n) => n.op !== 'load')

/** Two numbers in one type: an i32 that meets an f32 becomes f32. */
export function unify(
  cx: Context,
  a: Value,
  b: Value,
  [atA, atB]: readonly [ts.Node, ts.Node],
): readonly [Expr, Expr] | null {
  const [x, y] = [numeric(cx, a, atA), numeric(cx, b, atB)]
  if (!x || !y) return null
  return x.type === y.type ? [x, y] : [asFloat(cx, x, atA), asFloat(cx, y, atB)]
}

/** A condition; null if something was reported. */
export function conditionOf(cx: Context, value: Value, at: ts.Node): Condition | null {
  if (value.kind === 'boolean') return value.value
  if (value.kind === 'expr' && value.expr.type === 'bool') return value.expr
  // Values of stages are not there yet when the program's kernels are laid out.
  if (value.kind === 'stage') report(cx, 'stage-branch', at, { text: bareText(at) })
  else if (value.kind !== 'bad')
    report(cx, 'not-boolean', at, { text: bareText(at), simple: isWord(at), got: describeValue(value) })
  return null
}

export const truth = (c: Condition): Value =>
  typeof c === 'boolean' ? { kind: 'boolean', value: c } : { kind: 'expr', expr: c }

export function not(cx: Context, c: Condition, at: ts.Node | Span): Condition {
  if (typeof c === 'boolean') return !c
  return c.op === 'not' ? c.src[0]! : make(cx, 'not', [c], at)
}

export function and(cx: Context, a: Condition, b: Condition, at: ts.Node | Span): Condition {
  if (typeof a === 'boolean') return a ? b : false
  if (typeof b === 'boolean') return b ? a : false
  return make(cx, 'and', [a, b], at)
}

export function or(cx: Context, a: Condition, b: Condition, at: ts.Node | Span): Condition {
  if (typeof a === 'boolean') return a ? true : b
  if (typeof b === 'boolean') return b ? true : a
  return make(cx, 'or', [a, b], at)
}

/** `c ? a : b`, also where a branch or a loop gave a variable two values. */
export function choose(
  cx: Context,
  c: Condition,
  a: Value,
  b: Value,
  at: ts.Node,
  arms: readonly [ts.Node, ts.Node] = [at, at],
): Value {
  if (typeof c === 'boolean') return c ? a : b
  if (a === b) return a
  if (a.kind === 'bad' || b.kind === 'bad') return BAD
  const [p, q] = [known(a), known(b)]
  if (p !== null && q !== null) return truth(or(cx, and(cx, c, p, at), and(cx, not(cx, c, at), q, at), at))
  if (a.kind === 'array' && b.kind === 'array' && a.items.length === b.items.length) {
    return { kind: 'array', items: a.items.map((item, i) => choose(cx, c, item, b.items[i]!, at)) }
  }
  const isNumber = (v: Value) => v.kind === 'number' || (v.kind === 'expr' && v.expr.type !== 'bool')
  if (!isNumber(a) || !isNumber(b)) {
    return report(cx, 'mixed-choice', at, { first: describeValue(a), second: describeValue(b) })
  }
  const both = unify(cx, a, b, arms)
  if (!both) return BAD
  return both[0] === both[1]
    ? { kind: 'expr', expr: both[0] }
    : { kind: 'expr', expr: make(cx, 'select', [c, ...both], at) }
}

/** The condition that a value is, without a report where it is none. */
function known(value: Value): Condition | null {
  if (value.kind === 'boolean') return value.value
  return value.kind === 'expr' && value.expr.type === 'bool' ? value.expr : null
}

/** Functions of the author: a function and its arguments' values in, the value of its body out, branches merged. */

import ts from 'typescript'
import { assign } from './assign.ts'
import { bindName, bindParameter } from './bind.ts'
import {
  and,
  choose,
  conditionOf,
  LOOP_STEPS,
  not,
  or,
  report,
  ROUNDS,
  textOf,
  type Context,
} from './context.ts'
import type { Span } from './source.ts'
import { functionName } from './syntax.ts'
import { BAD, copyFrame, newFrame, UNDEFINED, type Condition, type Frame, type Value } from './value.ts'

/** How statements end: `done` is the condition under which they have returned, `value` what they then gave. */
interface Flow {
  readonly done: Condition
  readonly value: Value
}

const FALLS_THROUGH: Flow = { done: false, value: UNDEFINED }
const FAILED: Flow = { done: true, value: BAD }

type FunctionValue = Value & { kind: 'function' }

/** `where` is the call, for the notes of what is reported inside. */
export function callFunction(cx: Context, f: FunctionValue, args: readonly Value[], where: Span): Value {
  const { node } = f
  if (cx.calls.some((c) => c.node === node))
    return report(cx, 'recursion', where, { name: functionName(node) })
  const modifiers = ts.getCombinedModifierFlags(node)
  if (modifiers & ts.ModifierFlags.Async || node.asteriskToken) {
    return report(cx, 'unsupported', node.name ?? node, {
      what: node.asteriskToken ? 'a generator function' : 'an async function',
    })
  }
  if (!node.body) return report(cx, 'unknown-call', where, { name: functionName(node), known: [] })
  const frame = newFrame(f.frame, cx.part === 'forward')
  cx.calls.push({ node, at: where })
  const bound = node.parameters.every((p, i) => bindParameter(cx, p, i, args, frame))
  const value = bound ? bodyValue(cx, node.body, node, frame) : BAD
  cx.calls.pop()
  return value
}

function bodyValue(cx: Context, body: ts.ConciseBody, node: FunctionValue['node'], frame: Frame): Value {
  if (!ts.isBlock(body)) return cx.evaluate(cx, body, frame)
  const { done, value } = statements(cx, body.statements, frame)
  if (done === true) return value
  return report(cx, 'missing-return', node.name ?? node, { name: functionName(node) })
}

function statements(cx: Context, list: readonly ts.Statement[], frame: Frame): Flow {
  for (const s of list) {
    // A function may be called above the line that declares it.
    if (ts.isFunctionDeclaration(s) && s.name)
      bindName(cx, s.name, { kind: 'function', node: s, frame }, frame)
  }
  let flow = FALLS_THROUGH
  let failed = false
  for (const s of list) {
    const next = statement(cx, s, frame)
    // The rest is still lowered, so that its errors are seen as well.
    failed ||= next === FAILED
    if (next === FAILED) continue
    flow = sequence(cx, flow, next, s)
    if (flow.done === true) break
  }
  return failed ? FAILED : flow
}

/** `first`, and where it has not returned, `then`. */
function sequence(cx: Context, first: Flow, then: Flow, at: ts.Node): Flow {
  if (first.done === false || then.value.kind === 'bad') return then
  if (then.done === false) return first
  return {
    done: or(cx, first.done, then.done, at),
    value: choose(cx, first.done, first.value, then.value, at),
  }
}

function statement(cx: Context, s: ts.Statement, frame: Frame): Flow {
  if (ts.isReturnStatement(s)) {
    return {
      done: true,
      value: s.expression
        ? cx.evaluate(cx, s.expression, frame)
        : report(cx, 'missing-return', s, { name: functionName(cx.calls.at(-1)!.node) }),
    }
  }
  if (ts.isBlock(s)) return statements(cx, s.statements, frame)
  if (ts.isVariableStatement(s)) return variables(cx, s.declarationList, frame)
  if (ts.isIfStatement(s)) return branch(cx, s, frame)
  if (ts.isForStatement(s)) return countedLoop(cx, s, frame)
  if (ts.isForOfStatement(s)) return loopOver(cx, s, frame)
  if (ts.isExpressionStatement(s)) return assign(cx, s.expression, frame) ? FALLS_THROUGH : FAILED
  const says =
    ts.isFunctionDeclaration(s) ||
    ts.isTypeAliasDeclaration(s) ||
    ts.isInterfaceDeclaration(s) ||
    s.kind === ts.SyntaxKind.EmptyStatement
  if (says) return FALLS_THROUGH
  report(cx, 'statement', s, STATEMENTS.get(s.kind) ?? { what: 'this statement', instead: null })
  return FAILED
}

const K = ts.SyntaxKind
const STATEMENTS: ReadonlyMap<ts.SyntaxKind, { what: string; instead: string | null }> = new Map([
  [K.WhileStatement, { what: '`while`', instead: 'a `for` with constant bounds' }],
  [K.DoStatement, { what: '`do`', instead: 'a `for` with constant bounds' }],
  [K.ForInStatement, { what: '`for .. in`', instead: '`for .. of` over a constant array' }],
  [K.SwitchStatement, { what: '`switch`', instead: '`if` with returns' }],
  [K.BreakStatement, { what: '`break`', instead: 'a helper function that returns from inside the loop' }],
  [K.ContinueStatement, { what: '`continue`', instead: 'an `if` around the rest of the loop' }],
  [K.ThrowStatement, { what: '`throw`', instead: null }],
  [K.TryStatement, { what: '`try`', instead: null }],
  [K.LabeledStatement, { what: 'a label', instead: null }],
  [K.ClassDeclaration, { what: 'a class', instead: 'functions' }],
])

function variables(cx: Context, list: ts.VariableDeclarationList, frame: Frame): Flow {
  let failed = false
  if ((list.flags & ts.NodeFlags.BlockScoped) === 0) {
    report(cx, 'statement', list, { what: '`var`', instead: '`const` or `let`' })
    failed = true
  }
  for (const d of list.declarations) {
    const value = d.initializer ? cx.evaluate(cx, d.initializer, frame) : UNDEFINED
    if (!bindName(cx, d.name, value, frame)) failed = true
  }
  return failed ? FAILED : FALLS_THROUGH
}

function branch(cx: Context, s: ts.IfStatement, frame: Frame): Flow {
  const c = conditionOf(cx, cx.evaluate(cx, s.expression, frame), s.expression)
  if (typeof c === 'boolean') {
    const taken = c ? s.thenStatement : s.elseStatement
    return taken ? statement(cx, taken, frame) : FALLS_THROUGH
  }
  if (cx.part === 'forward') {
    if (c !== null) report(cx, 'stage-branch', s.expression, { text: textOf(s.expression) })
    return FAILED
  }
  const [yes, no] = [copyFrame(frame), copyFrame(frame)]
  const a = statement(cx, s.thenStatement, yes)
  const b = s.elseStatement ? statement(cx, s.elseStatement, no) : FALLS_THROUGH
  if (c === null || a === FAILED || b === FAILED) return FAILED
  merge(cx, c, frame, a.done === true ? no : yes, b.done === true ? yes : no, s)
  const inA = and(cx, c, a.done, s)
  const inB = and(cx, not(cx, c, s), b.done, s)
  const done = a.done === b.done ? a.done : or(cx, inA, inB, s)
  // Where one side never returns its value is of no account.
  if (a.done === false) return { done, value: b.value }
  return { done, value: b.done === false ? a.value : choose(cx, c, a.value, b.value, s) }
}

/** What the variables hold after a branch. */
function merge(cx: Context, c: Condition, frame: Frame, yes: Frame, no: Frame, at: ts.Node): void {
  for (const [symbol, before] of frame.values) {
    const [a, b] = [yes.values.get(symbol) ?? before, no.values.get(symbol) ?? before]
    frame.values.set(symbol, a === b ? a : choose(cx, c, a, b, at))
  }
}

function countedLoop(cx: Context, s: ts.ForStatement, frame: Frame): Flow {
  const { initializer, condition, incrementor } = s
  if (!condition || !incrementor || !initializer || !ts.isVariableDeclarationList(initializer)) {
    report(cx, 'loop-bounds', s, { text: 'this loop' })
    return FAILED
  }
  if (variables(cx, initializer, frame).value.kind === 'bad') return FAILED
  let flow = FALLS_THROUGH
  for (;;) {
    const again = cx.evaluate(cx, condition, frame)
    if (again.kind !== 'boolean') {
      if (again.kind !== 'bad') report(cx, 'loop-bounds', condition, { text: `\`${textOf(condition)}\`` })
      return FAILED
    }
    if (!again.value) return flow
    flow = step(cx, flow, s, frame)
    if (flow.done === true) return flow
    if (!assign(cx, incrementor, frame)) return FAILED
  }
}

function loopOver(cx: Context, s: ts.ForOfStatement, frame: Frame): Flow {
  const list = cx.evaluate(cx, s.expression, frame)
  const name = ts.isVariableDeclarationList(s.initializer) ? s.initializer.declarations[0]?.name : undefined
  if (list.kind !== 'array' || !name) {
    if (list.kind !== 'bad') report(cx, 'loop-bounds', s.expression, { text: `\`${textOf(s.expression)}\`` })
    return FAILED
  }
  let flow = FALLS_THROUGH
  for (const item of list.items) {
    if (!bindName(cx, name, item, frame)) return FAILED
    flow = step(cx, flow, s, frame)
    if (flow.done === true) break
  }
  return flow
}

function step(cx: Context, flow: Flow, s: ts.ForStatement | ts.ForOfStatement, frame: Frame): Flow {
  if (--cx.budget.loopSteps < 0) {
    report(cx, 'loop-too-long', s, { limit: cx.part === 'forward' ? ROUNDS : LOOP_STEPS })
    return FAILED
  }
  return sequence(cx, flow, statement(cx, s.statement, frame), s)
}

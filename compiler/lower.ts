/** lower: an expression of the author's code in, its value out: a constant, a record, a function or an Expr. */

import ts from 'typescript'
import { element } from './array-read.ts'
import { ARRAY_METHODS, callWord } from './calls.ts'
import { choose, conditionOf, report, textOf, type Context } from './context.ts'
import { fieldNode } from './fields.ts'
import { nameValue, symbolOf, symbolValue } from './fold.ts'
import { callFunction } from './inline.ts'
import { chooseStage, stageMember } from './stages/words.ts'
import { binary, logical, prefix } from './operators.ts'
import { bareOf, isAssignment, propertyName } from './syntax.ts'
import { BAD, boolean, describeValue, number, objectOf, type Frame, type Value } from './value.ts'

const K = ts.SyntaxKind

export function evaluate(cx: Context, node: ts.Expression, frame: Frame | null): Value {
  if (--cx.budget.terms < 0) {
    // Said once: what follows would only repeat it.
    return cx.budget.terms === -1 ? report(cx, 'too-large', node, {}) : BAD
  }
  const bare = bareOf(node)
  if (bare !== node) return evaluate(cx, bare, frame)
  if (ts.isIdentifier(node)) return nameValue(cx, node, frame)
  if (ts.isNumericLiteral(node)) return number(Number(node.text))
  if (node.kind === K.TrueKeyword || node.kind === K.FalseKeyword) return boolean(node.kind === K.TrueKeyword)
  if (ts.isStringLiteralLike(node)) return { kind: 'string', value: node.text }
  if (ts.isBinaryExpression(node)) return binaryExpression(cx, node, frame)
  if (ts.isPrefixUnaryExpression(node)) {
    const { operator, operand } = node
    if (operator === K.PlusPlusToken || operator === K.MinusMinusToken) return assignmentInside(cx, node)
    return prefix(cx, operator, evaluate(cx, operand, frame), node, operand)
  }
  if (ts.isPostfixUnaryExpression(node)) return assignmentInside(cx, node)
  if (ts.isConditionalExpression(node)) return conditional(cx, node, frame)
  if (ts.isPropertyAccessExpression(node)) return property(cx, node, frame)
  if (ts.isElementAccessExpression(node)) return elementAccess(cx, node, frame)
  if (ts.isCallExpression(node)) return call(cx, node, frame)
  if (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) return { kind: 'function', node, frame }
  if (ts.isArrayLiteralExpression(node)) return arrayLiteral(cx, node, frame)
  if (ts.isObjectLiteralExpression(node)) return objectLiteral(cx, node, frame)
  return report(cx, 'unsupported', node, { what: SYNTAX.get(node.kind) ?? `\`${textOf(node)}\`` })
}

/** Syntax of TypeScript that a kernel has nothing for, in words. */
const SYNTAX: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [K.TemplateExpression, 'a text with values in it'],
  [K.TaggedTemplateExpression, 'a text with values in it'],
  [K.NewExpression, '`new`'],
  [K.ThisKeyword, '`this`'],
  [K.NullKeyword, '`null`'],
  [K.AwaitExpression, '`await`'],
  [K.YieldExpression, '`yield`'],
  [K.TypeOfExpression, '`typeof`'],
  [K.DeleteExpression, '`delete`'],
  [K.VoidExpression, '`void`'],
  [K.ClassExpression, 'a class'],
  [K.RegularExpressionLiteral, 'a regular expression'],
  [K.BigIntLiteral, 'a bigint'],
])

const assignmentInside = (cx: Context, node: ts.Expression): Value =>
  report(cx, 'assignment', node, { text: textOf(node), why: 'it stands inside an expression' })

function binaryExpression(cx: Context, node: ts.BinaryExpression, frame: Frame | null): Value {
  const operator = node.operatorToken.kind
  if (isAssignment(operator)) return assignmentInside(cx, node)
  if (operator === K.CommaToken)
    return report(cx, 'unsupported', node, { what: 'a list of expressions joined by commas' })
  const at = { node, left: node.left, right: node.right }
  const a = evaluate(cx, node.left, frame)
  if (operator !== K.AmpersandAmpersandToken && operator !== K.BarBarToken) {
    return binary(cx, operator, a, evaluate(cx, node.right, frame), at)
  }
  // A guard that is known while lowering keeps what it guards from being looked at: `i > 0 && LIST[i - 1] < q`.
  if (a.kind === 'boolean' && a.value === (operator === K.BarBarToken)) return a
  return logical(cx, operator, a, evaluate(cx, node.right, frame), at)
}

function conditional(cx: Context, node: ts.ConditionalExpression, frame: Frame | null): Value {
  const c = conditionOf(cx, evaluate(cx, node.condition, frame), node.condition)
  if (typeof c === 'boolean') return evaluate(cx, c ? node.whenTrue : node.whenFalse, frame)
  const [a, b] = [evaluate(cx, node.whenTrue, frame), evaluate(cx, node.whenFalse, frame)]
  if (c !== null && (a.kind === 'stage' || b.kind === 'stage')) return chooseStage(cx, c, a, b, node)
  return c === null ? BAD : choose(cx, c, a, b, node, [node.whenTrue, node.whenFalse])
}

const MATH_CONSTANTS = ['E', 'LN10', 'LN2', 'LOG10E', 'LOG2E', 'PI', 'SQRT1_2', 'SQRT2'] as const

function property(cx: Context, node: ts.PropertyAccessExpression, frame: Frame | null): Value {
  if (node.questionDotToken) return report(cx, 'unsupported', node, { what: '`?.`' })
  const named = cx.program.checker.getSymbolAtLocation(node.name)
  const declared = named && named.flags & ts.SymbolFlags.EnumMember ? named.valueDeclaration : undefined
  const constant =
    declared && ts.isEnumMember(declared) ? cx.program.checker.getConstantValue(declared) : undefined
  if (typeof constant === 'number') return number(constant)
  const name = node.name.text
  const module = ts.isIdentifier(node.expression) ? symbolOf(cx, node.expression) : undefined
  if (module && module.flags & ts.SymbolFlags.ValueModule) {
    const member = symbolOf(cx, node.name)
    return member
      ? symbolValue(cx, member, node)
      : report(cx, 'unknown-name', node, { name: textOf(node), why: 'it is not declared' })
  }
  return member(cx, evaluate(cx, node.expression, frame), name, node)
}

function member(
  cx: Context,
  self: Value,
  name: string,
  node: ts.PropertyAccessExpression | ts.ElementAccessExpression,
): Value {
  switch (self.kind) {
    case 'bad':
      return BAD
    case 'object': {
      const value = self.read(name, cx.program.spanOf(node))
      if (value) return value
      break
    }
    case 'math': {
      const constant = MATH_CONSTANTS.find((c) => c === name)
      return constant ? number(Math[constant]) : { kind: 'word', of: 'Math', name }
    }
    case 'stage': {
      const value = stageMember(cx, self.node, name, node)
      if (value) return value
      break
    }
    case 'table':
      if (name === 'at') return { kind: 'word', of: 'table', name, self }
      break
    case 'expr':
      // Types give only a perHead param of a forward the method.
      if (name === 'at' && self.expr.op === 'param') return { kind: 'word', of: 'param', name, self }
      break
    case 'array':
      if (name === 'length') return number(self.items.length)
      if (ARRAY_METHODS.includes(name)) return { kind: 'word', of: 'array', name, self }
      break
    case 'pattern': {
      const field = fieldNode(cx, self.call, name)
      if (field)
        return ts.isMethodDeclaration(field)
          ? { kind: 'function', node: field, frame: null }
          : evaluate(cx, field, null)
      break
    }
  }
  return report(cx, 'unknown-name', node, {
    name: textOf(node),
    why: `${describeValue(self)} has no \`${name}\` that the compiler knows`,
  })
}

function elementAccess(cx: Context, node: ts.ElementAccessExpression, frame: Frame | null): Value {
  if (node.questionDotToken) return report(cx, 'unsupported', node, { what: '`?.`' })
  const [self, index] = [evaluate(cx, node.expression, frame), evaluate(cx, node.argumentExpression, frame)]
  if (self.kind === 'bad' || index.kind === 'bad') return BAD
  if (self.kind === 'array' && index.kind !== 'string')
    return element(cx, self, index, node, node.argumentExpression)
  if (index.kind === 'string') return member(cx, self, index.value, node)
  return report(cx, 'unsupported', node, { what: `an element of ${describeValue(self)}` })
}

function call(cx: Context, node: ts.CallExpression, frame: Frame | null): Value {
  if (node.questionDotToken) return report(cx, 'unsupported', node, { what: '`?.`' })
  const callee = evaluate(cx, node.expression, frame)
  // A pattern's own functions stay unread until one of them is asked for.
  if (callee.kind === 'word' && callee.of === 'heddle' && callee.name === 'pattern')
    return callWord(cx, callee, { node, args: [], at: [], apply: () => BAD })
  const args: Value[] = []
  const at: ts.Node[] = []
  for (const argument of node.arguments) {
    const spread = ts.isSpreadElement(argument)
    const value = evaluate(cx, spread ? argument.expression : argument, frame)
    if (spread && value.kind !== 'array' && value.kind !== 'bad') {
      return report(cx, 'unsupported', argument, { what: `the spread of ${describeValue(value)}` })
    }
    for (const v of spread && value.kind === 'array' ? value.items : [value]) {
      args.push(v)
      at.push(argument)
    }
  }
  switch (callee.kind) {
    case 'bad':
      return BAD
    case 'function':
      return callFunction(cx, callee, args, cx.program.spanOf(node))
    case 'word':
      return callWord(cx, callee, {
        node,
        args,
        at,
        apply: (inner, f, values) => applyValue(inner, f, values, node),
      })
    default:
      return report(cx, 'unknown-call', node, { name: textOf(node.expression), known: [] })
  }
}

function applyValue(cx: Context, f: Value, args: readonly Value[], node: ts.CallExpression): Value {
  if (f.kind === 'function') return callFunction(cx, f, args, cx.program.spanOf(node))
  if (f.kind === 'word') {
    // A word as a function, such as `map(a, b, max)`, is given what it is called with, however few it reads.
    const at = args.map(() => node)
    return callWord(cx, f, {
      node,
      args,
      at,
      apply: (inner, g, values) => applyValue(inner, g, values, node),
    })
  }
  return f.kind === 'bad' ? BAD : report(cx, 'unknown-call', node, { name: textOf(node), known: [] })
}

function arrayLiteral(cx: Context, node: ts.ArrayLiteralExpression, frame: Frame | null): Value {
  const items: Value[] = []
  for (const e of node.elements) {
    const value = evaluate(cx, ts.isSpreadElement(e) ? e.expression : e, frame)
    if (value.kind === 'bad') return BAD
    if (!ts.isSpreadElement(e)) items.push(value)
    else if (value.kind === 'array') items.push(...value.items)
    else return report(cx, 'unsupported', e, { what: `the spread of ${describeValue(value)}` })
  }
  return { kind: 'array', items }
}

function objectLiteral(cx: Context, node: ts.ObjectLiteralExpression, frame: Frame | null): Value {
  let made = objectOf(new Map())
  for (const p of node.properties) {
    if (ts.isSpreadAssignment(p)) {
      const value = evaluate(cx, p.expression, frame)
      if (value.kind === 'bad') return BAD
      if (value.kind !== 'object')
        return report(cx, 'unsupported', p, { what: `the spread of ${describeValue(value)}` })
      made = overlay(made, value)
      continue
    }
    const name = propertyName(p.name)
    if (name === null) return report(cx, 'unsupported', p, { what: 'a field whose name is computed' })
    if (ts.isGetAccessor(p) || ts.isSetAccessor(p))
      return report(cx, 'unsupported', p, { what: 'a getter or setter' })
    const value: Value = ts.isMethodDeclaration(p)
      ? { kind: 'function', node: p, frame }
      : ts.isShorthandPropertyAssignment(p)
        ? nameValue(cx, p.name, frame)
        : evaluate(cx, p.initializer, frame)
    if (value.kind === 'bad') return BAD
    made = overlay(made, objectOf(new Map([[name, value]])))
  }
  return made
}

type ObjectValue = Value & { kind: 'object' }

function overlay(under: Value, over: Value): Value {
  const [a, b] = [under as ObjectValue, over as ObjectValue]
  const names = [...new Set([...a.names, ...b.names])]
  return { kind: 'object', names, read: (name, span) => (b.names.includes(name) ? b : a).read(name, span) }
}

/** Assignments: `x = ..`, `x += ..`, `x++` as statements in, the variable's new value in its frame out. */

import ts from 'typescript'
import { refuse, report, textOf, type Context } from './context.ts'
import { symbolOf } from './fold.ts'
import { binary, logical } from './operators.ts'
import { rootOf } from './syntax.ts'
import { number, type Frame, type Value } from './value.ts'

const K = ts.SyntaxKind

/** The operator inside a compound assignment. */
const COMPOUND: ReadonlyMap<ts.SyntaxKind, ts.SyntaxKind> = new Map([
  [K.PlusEqualsToken, K.PlusToken],
  [K.MinusEqualsToken, K.MinusToken],
  [K.AsteriskEqualsToken, K.AsteriskToken],
  [K.AsteriskAsteriskEqualsToken, K.AsteriskAsteriskToken],
  [K.SlashEqualsToken, K.SlashToken],
  [K.PercentEqualsToken, K.PercentToken],
  [K.AmpersandEqualsToken, K.AmpersandToken],
  [K.BarEqualsToken, K.BarToken],
  [K.CaretEqualsToken, K.CaretToken],
  [K.LessThanLessThanEqualsToken, K.LessThanLessThanToken],
  [K.GreaterThanGreaterThanEqualsToken, K.GreaterThanGreaterThanToken],
  [K.GreaterThanGreaterThanGreaterThanEqualsToken, K.GreaterThanGreaterThanGreaterThanToken],
  [K.AmpersandAmpersandEqualsToken, K.AmpersandAmpersandToken],
  [K.BarBarEqualsToken, K.BarBarToken],
])

/** False if something was reported that leaves the statement without meaning. */
export function assign(cx: Context, node: ts.Expression, frame: Frame): boolean {
  if (ts.isParenthesizedExpression(node)) return assign(cx, node.expression, frame)
  if (ts.isPostfixUnaryExpression(node) || ts.isPrefixUnaryExpression(node)) {
    const operator =
      node.operator === K.PlusPlusToken
        ? K.PlusToken
        : node.operator === K.MinusMinusToken
          ? K.MinusToken
          : null
    if (operator === null) return useless(cx, node)
    const target = variable(cx, node.operand, node, frame)
    if (!target) return false
    const value = binary(cx, operator, target.value, number(1), { node, left: node.operand, right: node })
    return store(target.symbol, value, frame)
  }
  if (!ts.isBinaryExpression(node)) return useless(cx, node)
  const kind = node.operatorToken.kind
  const compound = COMPOUND.get(kind)
  if (kind !== K.EqualsToken && compound === undefined) return useless(cx, node)
  const target = variable(cx, node.left, node, frame)
  const right = cx.evaluate(cx, node.right, frame)
  if (!target) return false
  if (right.kind === 'function')
    return refuse(cx, 'assignment', node, {
      text: textOf(node),
      why: 'a function stays what it was declared',
    })
  if (compound === undefined) return store(target.symbol, right, frame)
  const at = { node, left: node.left, right: node.right }
  const isLogical = compound === K.AmpersandAmpersandToken || compound === K.BarBarToken
  return store(target.symbol, (isLogical ? logical : binary)(cx, compound, target.value, right, at), frame)
}

const useless = (cx: Context, node: ts.Expression): boolean =>
  refuse(cx, 'statement', node, { what: 'an expression whose value is not used', instead: null })

function store(symbol: ts.Symbol, value: Value, frame: Frame): boolean {
  frame.values.set(symbol, value)
  return true
}

/** The variable that is assigned: a `let` of the function itself. */
function variable(
  cx: Context,
  target: ts.Expression,
  node: ts.Node,
  frame: Frame,
): { symbol: ts.Symbol; value: Value } | null {
  const symbol = ts.isIdentifier(target) ? symbolOf(cx, target) : undefined
  const value = symbol && frame.values.get(symbol)
  const declared = symbol?.valueDeclaration
  if (symbol && value && declared && !ts.isParameter(rootOf(declared))) return { symbol, value }
  const why = !ts.isIdentifier(target)
    ? 'it changes an element or a field'
    : declared && ts.isParameter(rootOf(declared))
      ? `\`${target.text}\` is a parameter`
      : `\`${target.text}\` is declared outside this function`
  report(cx, 'assignment', node, { text: textOf(node), why })
  return null
}

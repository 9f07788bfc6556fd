/** Operators: values in, the value of the operator out. Constants fold in doubles; the rest becomes expressions. */

import ts from 'typescript'
import {
  and,
  asFloat,
  bareText,
  choose,
  conditionOf,
  make,
  not,
  numeric,
  or,
  report,
  textOf,
  truth,
  unify,
  wholeOf,
  type Context,
} from './context.ts'
import type { Expr } from './ir.ts'
import { BAD, boolean, describeValue, exprValue, number, type Value } from './value.ts'

const K = ts.SyntaxKind

/** The sides of an operator as the author wrote them. */
export interface Sides {
  readonly node: ts.Node
  readonly left: ts.Node
  readonly right: ts.Node
}

const ARITHMETIC: ReadonlyMap<
  ts.SyntaxKind,
  readonly ['add' | 'sub' | 'mul', (a: number, b: number) => number]
> = new Map([
  [K.PlusToken, ['add', (a, b) => a + b]],
  [K.MinusToken, ['sub', (a, b) => a - b]],
  [K.AsteriskToken, ['mul', (a, b) => a * b]],
])

const BITS: ReadonlyMap<
  ts.SyntaxKind,
  readonly ['bitAnd' | 'bitOr' | 'bitXor', (a: number, b: number) => number]
> = new Map([
  [K.AmpersandToken, ['bitAnd', (a, b) => a & b]],
  [K.BarToken, ['bitOr', (a, b) => a | b]],
  [K.CaretToken, ['bitXor', (a, b) => a ^ b]],
])

const SHIFTS: ReadonlyMap<
  ts.SyntaxKind,
  readonly ['shl' | 'shr' | 'ushr', (a: number, b: number) => number]
> = new Map([
  [K.LessThanLessThanToken, ['shl', (a, b) => a << b]],
  [K.GreaterThanGreaterThanToken, ['shr', (a, b) => a >> b]],
  [K.GreaterThanGreaterThanGreaterThanToken, ['ushr', (a, b) => a >>> b]],
])

/** `a < b` as an op over (a, b) or (b, a). */
const ORDER: ReadonlyMap<
  ts.SyntaxKind,
  readonly ['lt' | 'le', swapped: boolean, (a: number, b: number) => boolean]
> = new Map([
  [K.LessThanToken, ['lt', false, (a, b) => a < b]],
  [K.LessThanEqualsToken, ['le', false, (a, b) => a <= b]],
  [K.GreaterThanToken, ['lt', true, (a, b) => a > b]],
  [K.GreaterThanEqualsToken, ['le', true, (a, b) => a >= b]],
])

export function binary(cx: Context, operator: ts.SyntaxKind, a: Value, b: Value, at: Sides): Value {
  if (operator === K.EqualsEqualsToken || operator === K.ExclamationEqualsToken) {
    const negated = operator === K.ExclamationEqualsToken
    return report(cx, 'loose-equality', at.node, { left: textOf(at.left), right: textOf(at.right), negated })
  }
  if (a.kind === 'bad' || b.kind === 'bad') return BAD
  const arithmetic = ARITHMETIC.get(operator)
  if (arithmetic) {
    if (operator === K.PlusToken && (a.kind === 'string' || b.kind === 'string'))
      return joinTexts(cx, a, b, at)
    return foldOr(a, b, arithmetic[1], () =>
      pair(cx, a, b, at, (x, y) => make(cx, arithmetic[0], [x, y], at.node)),
    )
  }
  const bits = BITS.get(operator)
  if (bits)
    return foldOr(a, b, bits[1], () =>
      integers(cx, a, b, at, true, (x, y) => make(cx, bits[0], [x, y], at.node)),
    )
  const shift = SHIFTS.get(operator)
  if (shift) return foldOr(a, b, shift[1], () => shifted(cx, shift[0], a, b, at))
  const order = ORDER.get(operator)
  if (order) {
    if (a.kind === 'number' && b.kind === 'number') return boolean(order[2](a.value, b.value))
    return pair(cx, a, b, at, (x, y) => make(cx, order[0], order[1] ? [y, x] : [x, y], at.node))
  }
  switch (operator) {
    case K.SlashToken:
      return foldOr(
        a,
        b,
        (x, y) => x / y,
        () => divided(cx, a, b, at),
      )
    case K.PercentToken:
      return foldOr(
        a,
        b,
        (x, y) => x % y,
        () => integers(cx, a, b, at, false, (x, y) => make(cx, 'rem', [x, y], at.node)),
      )
    case K.AsteriskAsteriskToken:
      return power(cx, a, b, at)
    case K.EqualsEqualsEqualsToken:
      return equal(cx, a, b, at)
    case K.ExclamationEqualsEqualsToken: {
      const same = conditionOf(cx, equal(cx, a, b, at), at.node)
      return same === null ? BAD : truth(not(cx, same, at.node))
    }
    default:
      return report(cx, 'unsupported', at.node, {
        what: `the operator \`${ts.tokenToString(operator) ?? 'here'}\``,
      })
  }
}

/** `&&` and `||`. */
export function logical(cx: Context, operator: ts.SyntaxKind, a: Value, b: Value, at: Sides): Value {
  const [x, y] = [conditionOf(cx, a, at.left), conditionOf(cx, b, at.right)]
  if (x === null || y === null) return BAD
  return truth(operator === K.AmpersandAmpersandToken ? and(cx, x, y, at.node) : or(cx, x, y, at.node))
}

export function prefix(
  cx: Context,
  operator: ts.PrefixUnaryOperator,
  a: Value,
  node: ts.Node,
  operand: ts.Node,
): Value {
  if (a.kind === 'bad') return BAD
  switch (operator) {
    case K.ExclamationToken: {
      const c = conditionOf(cx, a, operand)
      return c === null ? BAD : truth(not(cx, c, node))
    }
    case K.MinusToken: {
      if (a.kind === 'number') return number(-a.value)
      const e = numeric(cx, a, operand)
      return e ? exprValue(make(cx, 'neg', [e], node)) : BAD
    }
    case K.PlusToken:
      return numeric(cx, a, operand) ? a : BAD
    case K.TildeToken: {
      if (a.kind === 'number') return number(~a.value)
      const e = integer(cx, a, operand, '`~`', true)
      return e ? exprValue(make(cx, 'bitNot', [e], node)) : BAD
    }
    default:
      return report(cx, 'assignment', node, { text: textOf(node), why: 'it stands inside an expression' })
  }
}

const foldOr = (a: Value, b: Value, fold: (a: number, b: number) => number, otherwise: () => Value): Value =>
  a.kind === 'number' && b.kind === 'number' ? number(fold(a.value, b.value)) : otherwise()

function pair(cx: Context, a: Value, b: Value, at: Sides, build: (x: Expr, y: Expr) => Expr): Value {
  const both = unify(cx, a, b, [at.left, at.right])
  return both ? exprValue(build(...both)) : BAD
}

/** A whole number. For an operation on bits (`wraps`) a constant beyond int32 wraps, as in JavaScript. */
export function integer(cx: Context, value: Value, at: ts.Node, user: string, wraps = false): Expr | null {
  if (value.kind === 'bad') return null
  if (wraps && value.kind === 'number' && Number.isInteger(value.value)) {
    return cx.ir.int(value.value | 0, cx.program.spanOf(at))
  }
  const e = wholeOf(cx, value, at)
  // Bits of a score are those of its integer part, as in JavaScript.
  const float = !e && wraps && cx.part === 'cell' ? numeric(cx, value, at) : null
  if (float) return make(cx, 'toI32', [float], at)
  if (!e && numeric(cx, value, at)) report(cx, 'integers-only', at, { user, text: bareText(at) })
  return e
}

function integers(
  cx: Context,
  a: Value,
  b: Value,
  at: Sides,
  wraps: boolean,
  build: (x: Expr, y: Expr) => Expr,
): Value {
  const user = operatorText(at)
  const [x, y] = [integer(cx, a, at.left, user, wraps), integer(cx, b, at.right, user, wraps)]
  return x && y ? exprValue(build(x, y)) : BAD
}

const operatorText = ({ node }: Sides): string =>
  `\`${ts.isBinaryExpression(node) ? node.operatorToken.getText().replace(/=$/, '') : textOf(node)}\``

function shifted(cx: Context, op: 'shl' | 'shr' | 'ushr', a: Value, b: Value, at: Sides): Value {
  const e = integer(cx, a, at.left, operatorText(at), true)
  // `x >>> 0` is an unsigned number up to 2^32, which int32 cannot hold.
  const least = op === 'ushr' ? 1 : 0
  if (b.kind !== 'number' || !Number.isInteger(b.value) || b.value < least || b.value > 31) {
    return report(cx, 'shift-count', at.right, { operator: operatorText(at), count: textOf(at.right), least })
  }
  return e ? exprValue(make(cx, op, [e, cx.ir.int(b.value)], at.node)) : BAD
}

/** In a mask the quotient of two integers is refused; in a score it is the fraction that TypeScript gives. */
function divided(cx: Context, a: Value, b: Value, at: Sides): Value {
  const [x, y] = [numeric(cx, a, at.left), numeric(cx, b, at.right)]
  if (!x || !y) return BAD
  if (x.type === 'i32' && y.type === 'i32' && cx.part === 'mask') {
    return report(cx, 'index-division', at.node, { left: textOf(at.left), right: textOf(at.right) })
  }
  return exprValue(make(cx, 'div', [asFloat(cx, x, at.left), asFloat(cx, y, at.right)], at.node))
}

/** Powers with a small whole exponent are products: a GPU's pow knows no negative base. */
export function power(cx: Context, a: Value, b: Value, at: Sides): Value {
  if (a.kind === 'number' && b.kind === 'number') return number(a.value ** b.value)
  const [x, y] = [numeric(cx, a, at.left), numeric(cx, b, at.right)]
  if (!x || !y) return BAD
  if (x.type === 'i32' && y.type === 'i32' && cx.part === 'mask') {
    const [base, exponent] = [textOf(at.left), textOf(at.right)]
    return report(cx, 'index-power', at.node, { base, exponent, small: b.kind === 'number' && b.value === 2 })
  }
  if (b.kind === 'number' && Number.isInteger(b.value) && b.value >= 1 && b.value <= 4) {
    const e = asFloat(cx, x, at.left)
    return exprValue(
      Array.from({ length: b.value - 1 }).reduce<Expr>((p) => make(cx, 'mul', [p, e], at.node), e),
    )
  }
  if (a.kind === 'number' && a.value === 2)
    return exprValue(make(cx, 'exp2', [asFloat(cx, y, at.right)], at.node))
  return exprValue(make(cx, 'pow', [asFloat(cx, x, at.left), asFloat(cx, y, at.right)], at.node))
}

function equal(cx: Context, a: Value, b: Value, at: Sides): Value {
  const same = (a.kind === 'number' || a.kind === 'string' || a.kind === 'boolean') && a.kind === b.kind
  if (same && 'value' in a && 'value' in b) return boolean(a.value === b.value)
  const isTruth = (v: Value) => v.kind === 'boolean' || (v.kind === 'expr' && v.expr.type === 'bool')
  if (isTruth(a) && isTruth(b)) {
    // No op compares booleans, so that the analysis sees the conditions themselves.
    const c = conditionOf(cx, a, at.left)
    const other = conditionOf(cx, b, at.right)
    if (c === null || other === null) return BAD
    return choose(cx, c, truth(other), truth(not(cx, other, at.right)), at.node)
  }
  return pair(cx, a, b, at, (x, y) => make(cx, 'eq', [x, y], at.node))
}

/** Texts are for names and citations; a kernel has none. */
function joinTexts(cx: Context, a: Value, b: Value, at: Sides): Value {
  const isText = (v: Value) => v.kind === 'string' || v.kind === 'number'
  if (isText(a) && isText(b) && 'value' in a && 'value' in b) {
    return { kind: 'string', value: `${String(a.value)}${String(b.value)}` }
  }
  return report(cx, 'not-a-number', at.node, {
    text: textOf(at.node),
    got: describeValue(a.kind === 'string' ? a : b),
  })
}

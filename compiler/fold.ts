/** Names: an identifier in, the value of the variable, module constant, function or word that it stands for out. */

import ts from 'typescript'
import { bindName } from './bind.ts'
import { report, textOf, type Context } from './context.ts'
import { isDslFile } from './program.ts'
import { isAssignment, isConstVariable, rootOf } from './syntax.ts'
import { BAD, newFrame, number, UNDEFINED, type Frame, type FunctionNode, type Value } from './value.ts'

/** The symbol that an identifier stands for, through imports and re-exports. */
export function symbolOf(cx: Context, node: ts.Node): ts.Symbol | undefined {
  const { checker } = cx.program
  const found =
    ts.isShorthandPropertyAssignment(node.parent) && node.parent.name === node
      ? checker.getShorthandAssignmentValueSymbol(node.parent)
      : checker.getSymbolAtLocation(node)
  return found && found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found
}

export function nameValue(cx: Context, node: ts.Identifier, frame: Frame | null): Value {
  const symbol = symbolOf(cx, node)
  if (!symbol) return report(cx, 'unknown-name', node, { name: node.text, why: 'it is not declared' })
  for (let f = frame; f; f = f.parent) {
    const value = f.values.get(symbol)
    if (!value) continue
    // What a closure sees of a variable depends on when it is called; a kernel has no such time.
    if (f !== frame && !f.live && !isConstant(cx, symbol))
      return report(cx, 'mutable-closure', node, {
        name: node.text,
        why: 'is declared with `let` outside this function',
      })
    return value
  }
  return symbolValue(cx, symbol, node)
}

/** Parameters count: assigning to them is refused. */
function isConstant(cx: Context, symbol: ts.Symbol): boolean {
  const declared = symbol.valueDeclaration
  if (!declared) return false
  const root = rootOf(declared)
  return !ts.isVariableDeclaration(root) || isConstVariable(root) || isCounter(cx, root, symbol)
}

/** A loop's own variable is another one in each step; only its body could change it. */
function isCounter(cx: Context, root: ts.VariableDeclaration, symbol: ts.Symbol): boolean {
  const loop = root.parent.parent
  if (!ts.isForStatement(loop) && !ts.isForOfStatement(loop)) return false
  const changes = (n: ts.Node): boolean => {
    const target =
      ts.isBinaryExpression(n) && isAssignment(n.operatorToken.kind)
        ? n.left
        : ts.isPrefixUnaryExpression(n) || ts.isPostfixUnaryExpression(n)
          ? n.operand
          : null
    return (
      (target !== null && ts.isIdentifier(target) && symbolOf(cx, target) === symbol) ||
      (ts.forEachChild(n, changes) ?? false)
    )
  }
  return !changes(loop.statement)
}

/** What a symbol outside the function stands for; `node` is where it is used. */
export function symbolValue(cx: Context, symbol: ts.Symbol, node: ts.Node): Value {
  const known = cx.constants.get(symbol)
  if (known) return known
  if (known === null)
    return report(cx, 'unknown-name', node, { name: symbol.name, why: 'its value depends on itself' })
  cx.constants.set(symbol, null)
  const value = declaredValue(cx, symbol, node)
  // A failure is said once for each place that uses the name.
  if (value.kind === 'bad') cx.constants.delete(symbol)
  else cx.constants.set(symbol, value)
  return value
}

function declaredValue(cx: Context, symbol: ts.Symbol, node: ts.Node): Value {
  const unknown = (why: string) => report(cx, 'unknown-name', node, { name: textOf(node), why })
  const declarations = symbol.declarations ?? []
  const [declared] = declarations
  if (!declared) return symbol.name === 'undefined' ? UNDEFINED : unknown('it is not declared')
  const file = declared.getSourceFile()
  if (cx.program.isLibrary(file)) {
    if (symbol.name === 'Math') return { kind: 'math' }
    if (symbol.name === 'Infinity' || symbol.name === 'NaN') return number(Number(symbol.name))
    return unknown('a kernel has no such thing')
  }
  if (isDslFile(file.fileName)) return { kind: 'word', of: 'heddle', name: symbol.name }
  const body = declarations.find(
    (d): d is FunctionNode & ts.FunctionDeclaration => ts.isFunctionDeclaration(d) && d.body !== undefined,
  )
  if (body) return { kind: 'function', node: body, frame: null }
  const root = rootOf(declared)
  if (!ts.isVariableDeclaration(root)) {
    return unknown(
      ts.isFunctionDeclaration(root)
        ? 'only its type is known, not its code'
        : 'it is neither a constant nor a function',
    )
  }
  if (!isConstant(cx, symbol))
    return report(cx, 'mutable-closure', node, { name: textOf(node), why: 'is declared with `let` or `var`' })
  if (!root.initializer) return unknown('only its type is known, not its value')
  if (isChanged(cx, symbol, file))
    return report(cx, 'mutable-closure', node, { name: textOf(node), why: 'is changed after it is made' })
  const value = cx.evaluate(cx, root.initializer, null)
  if (value.kind === 'bad' || root === declared) return value
  const frame = newFrame(null)
  bindName(cx, root.name, value, frame)
  return frame.values.get(symbol) ?? BAD
}

const CHANGERS = new Set([
  'push',
  'pop',
  'shift',
  'unshift',
  'splice',
  'sort',
  'reverse',
  'fill',
  'copyWithin',
])

/** A constant's elements may be assigned where it is declared; then its text does not tell its value. */
function isChanged(cx: Context, symbol: ts.Symbol, file: ts.SourceFile): boolean {
  const isIt = (e: ts.Node): boolean => {
    const base = ts.isParenthesizedExpression(e) || ts.isNonNullExpression(e) ? e.expression : e
    if (ts.isPropertyAccessExpression(base) || ts.isElementAccessExpression(base))
      return isIt(base.expression)
    return ts.isIdentifier(base) && base.text === symbol.name && symbolOf(cx, base) === symbol
  }
  const isPart = (e: ts.Node): boolean =>
    (ts.isPropertyAccessExpression(e) || ts.isElementAccessExpression(e)) && isIt(e)
  const look = (n: ts.Node): boolean => {
    if (ts.isBinaryExpression(n) && isAssignment(n.operatorToken.kind) && isPart(n.left)) return true
    const isStep = ts.isPrefixUnaryExpression(n) || ts.isPostfixUnaryExpression(n)
    if (
      isStep &&
      (n.operator === ts.SyntaxKind.PlusPlusToken || n.operator === ts.SyntaxKind.MinusMinusToken) &&
      isPart(n.operand)
    )
      return true
    if (ts.isDeleteExpression(n) && isPart(n.expression)) return true
    if (ts.isCallExpression(n) && ts.isPropertyAccessExpression(n.expression)) {
      const { name, expression } = n.expression
      if (CHANGERS.has(name.text) && isIt(expression)) return true
      if (name.text === 'assign' && n.arguments[0] && isIt(n.arguments[0])) return true
    }
    return ts.forEachChild(n, look) ?? false
  }
  return look(file)
}

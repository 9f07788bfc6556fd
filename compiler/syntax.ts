/** Small questions about TypeScript syntax that several steps ask: the expression inside brackets and casts, and such. */

import ts from 'typescript'

/** The expression itself, without parentheses, casts, `satisfies` and `!`. */
export function bareOf(node: ts.Expression): ts.Expression {
  let bare = node
  while (
    ts.isParenthesizedExpression(bare) ||
    ts.isAsExpression(bare) ||
    ts.isSatisfiesExpression(bare) ||
    ts.isNonNullExpression(bare) ||
    ts.isTypeAssertionExpression(bare)
  ) {
    bare = bare.expression
  }
  return bare
}

/** The variable or parameter that a name belongs to, out of any pattern that takes it apart. */
export function rootOf(declared: ts.Declaration): ts.Declaration {
  let root: ts.Node = declared
  while (ts.isBindingElement(root)) root = root.parent.parent
  return root as ts.Declaration
}

export const isConstVariable = (declared: ts.VariableDeclaration): boolean =>
  (ts.getCombinedNodeFlags(declared) & ts.NodeFlags.Const) !== 0

/** The name of a field that is written out; null if it is computed. */
export const propertyName = (name: ts.PropertyName | undefined): string | null =>
  name && (ts.isIdentifier(name) || ts.isStringLiteral(name) || ts.isNumericLiteral(name)) ? name.text : null

/** What a function is called: by its own name, or that of the constant or field that holds it. */
export function functionName(node: ts.SignatureDeclaration): string {
  const named =
    node.name ??
    (ts.isVariableDeclaration(node.parent) || ts.isPropertyAssignment(node.parent) ? node.parent.name : null)
  return named?.getText() ?? 'the function'
}

export const isAssignment = (kind: ts.SyntaxKind): boolean =>
  kind >= ts.SyntaxKind.FirstAssignment && kind <= ts.SyntaxKind.LastAssignment

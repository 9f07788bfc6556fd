/** Names that take a value: a variable, a parameter, or a pattern of names in; the frame filled. */

import ts from 'typescript'
import { report, type Context } from './context.ts'
import { propertyName } from './syntax.ts'
import { BAD, describeValue, UNDEFINED, type Frame, type Value } from './value.ts'

export function bindParameter(
  cx: Context,
  p: ts.ParameterDeclaration,
  i: number,
  args: readonly Value[],
  frame: Frame,
): boolean {
  if (p.dotDotDotToken) return bindName(cx, p.name, { kind: 'array', items: args.slice(i) }, frame)
  const given = args[i] ?? UNDEFINED
  const value = given.kind === 'undefined' && p.initializer ? cx.evaluate(cx, p.initializer, frame) : given
  return bindName(cx, p.name, value, frame)
}

/** A variable, or the fields and elements that a pattern of names takes apart. */
export function bindName(cx: Context, name: ts.BindingName, value: Value, frame: Frame): boolean {
  if (ts.isIdentifier(name)) {
    const symbol = cx.program.checker.getSymbolAtLocation(name)
    if (symbol) frame.values.set(symbol, value)
    return symbol !== undefined
  }
  const parts = name.elements.map((e, i): boolean => {
    if (ts.isOmittedExpression(e)) return true
    const part = ts.isArrayBindingPattern(name) ? itemOf(cx, e, i, value) : fieldOf(cx, e, value)
    if (part.kind === 'undefined' && e.initializer)
      return bindName(cx, e.name, cx.evaluate(cx, e.initializer, frame), frame)
    // The names exist even where their values are refused, so that their uses say no more.
    return bindName(cx, e.name, part, frame) && part.kind !== 'bad'
  })
  return parts.every(Boolean)
}

function itemOf(cx: Context, e: ts.BindingElement, i: number, value: Value): Value {
  if (value.kind === 'bad') return BAD
  if (value.kind !== 'array')
    return report(cx, 'unsupported', e, { what: `taking apart ${describeValue(value)}` })
  if (e.dotDotDotToken) return { kind: 'array', items: value.items.slice(i) }
  const item = value.items[i] ?? (e.initializer ? UNDEFINED : undefined)
  return item ?? report(cx, 'array-index', e, { range: String(i), length: value.items.length })
}

function fieldOf(cx: Context, e: ts.BindingElement, value: Value): Value {
  if (value.kind === 'bad') return BAD
  const field = e.propertyName ? propertyName(e.propertyName) : ts.isIdentifier(e.name) ? e.name.text : null
  if (e.dotDotDotToken) return report(cx, 'unsupported', e, { what: 'the rest of a record' })
  if (field === null || value.kind !== 'object')
    return report(cx, 'unsupported', e, { what: `taking apart ${describeValue(value)}` })
  const read = value.read(field, cx.program.spanOf(e)) ?? (e.initializer ? UNDEFINED : undefined)
  return read ?? report(cx, 'unknown-name', e, { name: field, why: 'the record has no such field' })
}

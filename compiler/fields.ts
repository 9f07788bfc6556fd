/** The record given to pattern(..): its syntax in, the nodes of its fields and what its declarations say out. */

import ts from 'typescript'
import { PATTERN_FIELDS } from '../dsl/record.ts'
import { refuse, report, textOf, type Context } from './context.ts'
import { isDeclaredInt } from './declare.ts'
import { symbolOf } from './fold.ts'
import { INDEX_VARS } from './ir.ts'
import type { Span } from './source.ts'
import { bareOf, isConstVariable, propertyName } from './syntax.ts'
import { describeValue, type ParamSpec, type RowsSpec, type TableSpec, type Value } from './value.ts'

export type FieldNode = ts.Expression | ts.MethodDeclaration

export interface Named<V> {
  readonly name: string
  readonly value: V
  readonly span: Span
}

/** A pattern's declarations as written. */
export interface Declarations {
  readonly name: string
  readonly cite: string
  readonly consts: readonly Named<number>[]
  readonly params: readonly Named<ParamSpec>[]
  readonly tables: readonly Named<TableSpec>[]
  /** Inputs of vectors, declared among the tables. */
  readonly rows: readonly Named<RowsSpec>[]
}

/** The names of a record and the syntax of their values, through a constant that holds the record. */
function entries(cx: Context, node: ts.Expression, what: string): Map<string, FieldNode> | null {
  const literal = literalOf(cx, node)
  if (!literal) {
    report(cx, 'unreadable-record', node, { what, text: textOf(node) })
    return null
  }
  const found = new Map<string, FieldNode>()
  let readable = true
  for (const p of literal.properties) {
    if (ts.isSpreadAssignment(p)) {
      const inner = literalOf(cx, p.expression)
      const spread = inner ? entries(cx, inner, what) : null
      if (!inner) report(cx, 'unreadable-record', p, { what, text: textOf(p) })
      for (const [name, value] of spread ?? []) found.set(name, value)
      readable &&= spread !== null
      continue
    }
    const name = propertyName(p.name)
    if (name === null || ts.isGetAccessor(p) || ts.isSetAccessor(p)) {
      readable = refuse(cx, 'unreadable-record', p, { what, text: textOf(p) })
      continue
    }
    found.set(
      name,
      ts.isMethodDeclaration(p) ? p : ts.isShorthandPropertyAssignment(p) ? p.name : p.initializer,
    )
  }
  return readable ? found : null
}

/** The record that an expression is: written out, or the constant that holds it. */
function literalOf(
  cx: Context,
  node: ts.Expression,
  seen: readonly ts.Node[] = [],
): ts.ObjectLiteralExpression | null {
  const bare = bareOf(node)
  if (ts.isObjectLiteralExpression(bare)) return bare
  const declared =
    ts.isIdentifier(bare) || ts.isPropertyAccessExpression(bare)
      ? symbolOf(cx, ts.isIdentifier(bare) ? bare : bare.name)?.valueDeclaration
      : undefined
  if (!declared || seen.includes(declared) || !ts.isVariableDeclaration(declared) || !declared.initializer)
    return null
  return isConstVariable(declared) ? literalOf(cx, declared.initializer, [...seen, declared]) : null
}

/** One field's syntax; null if the pattern has none or it cannot be read. */
export const fieldNode = (cx: Context, call: ts.CallExpression, name: string): FieldNode | null =>
  (call.arguments[0] && entries(cx, call.arguments[0], 'pattern(..)')?.get(name)) ?? null

/** The fields of a pattern by name; null if something was reported. */
export function patternFields(cx: Context, call: ts.CallExpression): Map<string, FieldNode> | null {
  const [record] = call.arguments
  if (!record) {
    report(cx, 'unreadable-record', call, { what: 'pattern(..)', text: textOf(call) })
    return null
  }
  const found = entries(cx, record, 'pattern(..)')
  for (const [name, node] of found ?? []) {
    if (!PATTERN_FIELDS.some((f) => f === name))
      report(cx, 'unknown-field', node, { field: name, known: PATTERN_FIELDS })
  }
  return found
}

export const PATTERN_NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/

/** What the record of a `forward` has besides fields of the index record, whose names its pattern may not take. */
export const FORWARD_FIELDS = ['Q', 'K', 'V', 'scale'] as const

export function checkForwardNames(cx: Context, { consts, params, tables, rows }: Declarations): void {
  const sections = { consts, params, tables: [...tables, ...rows] }
  for (const [section, names] of Object.entries(sections))
    for (const { name, span } of names)
      if (FORWARD_FIELDS.some((f) => f === name)) report(cx, 'reserved-name', span, { name, section })
}

export function readDeclarations(
  cx: Context,
  call: ts.CallExpression,
  fields: ReadonlyMap<string, FieldNode>,
): Declarations {
  const text = (field: string): string | null => {
    const node = fields.get(field)
    if (!node) return null
    const value = valueOf(cx, node)
    if (value.kind === 'string') return value.value
    if (value.kind !== 'bad')
      report(cx, 'declaration', node, {
        wanted: 'a constant text',
        got: describeValue(value),
        text: textOf(node),
      })
    return null
  }
  const name = text('name')
  const nameNode = fields.get('name') ?? call
  if (name !== null && !PATTERN_NAME.test(name)) report(cx, 'pattern-name', nameNode, { name })
  const section = <V>(
    field: string,
    read: (value: Value, at: ts.Node, own: string) => V | null,
  ): Named<V>[] => {
    const node = fields.get(field)
    const found = node && !ts.isMethodDeclaration(node) ? entries(cx, node, field) : null
    return [...(found ?? [])].flatMap(([own, at]) => {
      checkName(cx, own, field, at)
      const value = read(valueOf(cx, at), at, own)
      return value === null ? [] : [{ name: own, value, span: cx.program.spanOf(at) }]
    })
  }
  const consts = section('consts', (v, at, own) => {
    if (v.kind === 'number' && isDeclaredInt(v.value)) return v.value
    if (v.kind !== 'bad') report(cx, 'const-value', at, { name: own, got: describeValue(v) })
    return null
  })
  const params = section('params', (v, at) => {
    if (v.kind === 'param-spec') return v.spec
    if (v.kind !== 'bad')
      report(cx, 'declaration', at, {
        wanted: 'i32(..), f32(..) or perHead(..)',
        got: describeValue(v),
        text: textOf(at),
      })
    return null
  })
  const declared = section('tables', (v, at) => {
    if (v.kind === 'table-spec' || v.kind === 'rows-spec') return v
    if (v.kind !== 'bad')
      report(cx, 'declaration', at, { wanted: 'table(..)', got: describeValue(v), text: textOf(at) })
    return null
  })
  const tables = declared.flatMap(({ value: v, ...n }) =>
    v.kind === 'table-spec' ? [{ ...n, value: v.spec }] : [],
  )
  const rows = declared.flatMap(({ value: v, ...n }) =>
    v.kind === 'rows-spec' ? [{ ...n, value: v.spec }] : [],
  )
  const seen = new Map<string, string>()
  for (const [kind, list] of Object.entries({ consts, params, tables: declared })) {
    for (const { name: own, span } of list) {
      const first = seen.get(own)
      if (first !== undefined) report(cx, 'duplicate-name', span, { name: own, first, second: kind })
      seen.set(own, kind)
    }
  }
  return { name: name ?? 'unnamed', cite: text('cite') ?? '', consts, params, tables, rows }
}

/** What targets can call a uniform or a buffer. */
const IDENTIFIER = /^[a-zA-Z][a-zA-Z0-9]*(_[a-zA-Z0-9]+)*$/

export function checkName(cx: Context, name: string, section: string, at: ts.Node | Span): void {
  if (!IDENTIFIER.test(name)) report(cx, 'identifier', at, { name, section })
  if (INDEX_VARS.some((v) => v === name)) report(cx, 'reserved-name', at, { name, section })
}

const valueOf = (cx: Context, node: FieldNode): Value =>
  ts.isMethodDeclaration(node) ? { kind: 'function', node, frame: null } : cx.evaluate(cx, node, null)

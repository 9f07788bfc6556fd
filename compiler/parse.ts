/** parse: a file's syntax tree in, the patterns that it exports out: where each stands and what it is made of. */

import ts from 'typescript'
import { report, textOf, type Context } from './context.ts'
import {
  checkForwardNames,
  PATTERN_NAME,
  patternFields,
  readDeclarations,
  type Declarations,
  type FieldNode,
} from './fields.ts'
import { symbolOf } from './fold.ts'
import { isDslFile } from './program.ts'
import type { Span } from './source.ts'
import { bareOf, propertyName } from './syntax.ts'

/** A pattern's syntax: where its parts stand. */
export type PartAst =
  | {
      readonly kind: 'pattern'
      readonly span: Span
      readonly declarations: Declarations
      readonly mask: FieldNode
      readonly score: FieldNode | null
      readonly sinkLogit: FieldNode | null
      readonly forward: FieldNode | null
    }
  | { readonly kind: 'and' | 'or'; readonly span: Span; readonly parts: readonly PartAst[] }
  | { readonly kind: 'not'; readonly span: Span; readonly part: PartAst }
  | {
      readonly kind: 'rename'
      readonly span: Span
      readonly part: PartAst
      /** Old name to new name. */
      readonly names: ReadonlyMap<string, string>
      readonly name: string | null
    }

export interface PatternAst {
  readonly exportName: string
  readonly span: Span
  readonly root: PartAst
}

/** Every exported pattern of the file, in the order of the text; what cannot be read is reported. */
export function parse(cx: Context, file: ts.SourceFile): PatternAst[] {
  const { checker } = cx.program
  const module = checker.getSymbolAtLocation(file)
  const found: PatternAst[] = []
  let unread = false
  let elsewhere = false
  for (const exported of module ? checker.getExportsOfModule(module) : []) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
    const declared = symbol.valueDeclaration ?? symbol.declarations?.[0]
    const value = declared && initializerOf(declared)
    if (!declared || !value) continue
    if (declared.getSourceFile() !== file) {
      elsewhere ||= isPatternType(cx, symbol, declared)
      continue
    }
    if (!isPatternCall(cx, value) && !isPatternType(cx, symbol, declared)) continue
    const root = readPart(cx, value, [])
    unread ||= root === null
    if (root) found.push({ exportName: exported.name, span: cx.program.spanOf(value), root })
  }
  if (found.length === 0 && !unread) {
    const start = { source: cx.program.spanOf(file).source, start: 0, end: file.text.split('\n')[0]!.length }
    report(cx, 'no-pattern', start, { elsewhere })
  }
  return found.toSorted((a, b) => a.span.start - b.span.start)
}

function initializerOf(declared: ts.Declaration): ts.Expression | null {
  if (ts.isVariableDeclaration(declared)) return declared.initializer ?? null
  return ts.isExportAssignment(declared) ? declared.expression : null
}

/** True if TypeScript says that the export is a pattern, however it was made. */
function isPatternType(cx: Context, symbol: ts.Symbol, at: ts.Node): boolean {
  const kind = cx.program.checker.getTypeOfSymbolAtLocation(symbol, at).getProperty('kind')
  const type = kind && cx.program.checker.getTypeOfSymbolAtLocation(kind, at)
  return type !== undefined && type.isStringLiteral() && type.value === 'heddle/pattern'
}

const MAKERS = ['pattern', 'and', 'or', 'not', 'rename'] as const
type Maker = (typeof MAKERS)[number]

/** The DSL's word that is called, by symbol: an alias of it counts, another function of its name does not. */
function makerOf(cx: Context, callee: ts.Expression): Maker | null {
  const bare = bareOf(callee)
  const name = ts.isPropertyAccessExpression(bare) ? bare.name : ts.isIdentifier(bare) ? bare : null
  const symbol = name && symbolOf(cx, name)
  const declared = symbol?.declarations?.[0]
  if (!symbol || !declared || !isDslFile(declared.getSourceFile().fileName)) return null
  return MAKERS.find((m) => m === symbol.name) ?? null
}

const isPatternCall = (cx: Context, node: ts.Expression): boolean => {
  const bare = bareOf(node)
  return ts.isCallExpression(bare) && makerOf(cx, bare.expression) !== null
}

/** A pattern where it is written, or through the constants that hold it. */
function readPart(cx: Context, node: ts.Expression, seen: readonly ts.Node[]): PartAst | null {
  const bare = bareOf(node)
  if (ts.isCallExpression(bare)) {
    const maker = makerOf(cx, bare.expression)
    if (maker !== null) return readCall(cx, maker, bare, seen)
  }
  if (ts.isIdentifier(bare) || ts.isPropertyAccessExpression(bare)) {
    const declared = symbolOf(cx, ts.isIdentifier(bare) ? bare : bare.name)?.valueDeclaration
    const value = declared && initializerOf(declared)
    if (value && !seen.includes(declared)) return readPart(cx, value, [...seen, declared])
  }
  report(cx, 'not-a-pattern', bare, { text: firstLine(textOf(bare)) })
  return null
}

const firstLine = (text: string): string =>
  text.includes('\n') ? `${text.slice(0, text.indexOf('\n'))} ..` : text

function readCall(
  cx: Context,
  maker: Maker,
  call: ts.CallExpression,
  seen: readonly ts.Node[],
): PartAst | null {
  const span = cx.program.spanOf(call)
  const [first] = call.arguments
  switch (maker) {
    case 'pattern':
      return readPattern(cx, call)
    case 'and':
    case 'or': {
      const parts = call.arguments.map((a) => readPart(cx, a, seen))
      if (parts.length < 2) {
        report(cx, 'argument-count', call, { name: maker, least: 2, most: Infinity, got: parts.length })
        return null
      }
      return parts.every((p) => p !== null) ? { kind: maker, span, parts } : null
    }
    case 'not': {
      const part = first ? readPart(cx, first, seen) : null
      return part && { kind: 'not', span, part }
    }
    case 'rename':
      return readRename(cx, call, seen)
  }
}

function readPattern(cx: Context, call: ts.CallExpression): PartAst | null {
  const fields = patternFields(cx, call)
  if (!fields) return null
  const declarations = readDeclarations(cx, call, fields)
  const mask = fields.get('mask')
  if (!mask) {
    report(cx, 'missing-mask', call, { name: declarations.name })
    return null
  }
  const [score, sinkLogit] = [fields.get('score') ?? null, fields.get('sinkLogit') ?? null]
  const forward = fields.get('forward') ?? null
  if (forward) checkForwardNames(cx, declarations)
  return { kind: 'pattern', span: cx.program.spanOf(call), declarations, mask, score, sinkLogit, forward }
}

function readRename(cx: Context, call: ts.CallExpression, seen: readonly ts.Node[]): PartAst | null {
  const [pattern, record, title] = call.arguments
  const part = pattern ? readPart(cx, pattern, seen) : null
  const names = new Map<string, string>()
  const literal = record && bareOf(record)
  const entries = literal && ts.isObjectLiteralExpression(literal) ? literal.properties : []
  for (const p of entries) {
    const old = propertyName(p.name)
    const fresh =
      ts.isPropertyAssignment(p) && ts.isStringLiteralLike(p.initializer) ? p.initializer.text : null
    if (old !== null && fresh !== null) names.set(old, fresh)
    else report(cx, 'unreadable-record', p, { what: 'rename(..)', text: textOf(p) })
  }
  if (!literal || !ts.isObjectLiteralExpression(literal)) {
    report(cx, 'unreadable-record', record ?? call, { what: 'rename(..)', text: textOf(record ?? call) })
    return null
  }
  if (title && !ts.isStringLiteralLike(title)) {
    report(cx, 'declaration', title, { wanted: 'a text', got: `\`${textOf(title)}\``, text: textOf(title) })
    return null
  }
  const name = title && ts.isStringLiteralLike(title) ? title.text : null
  if (title && name !== null && !PATTERN_NAME.test(name)) report(cx, 'pattern-name', title, { name })
  return part && names.size === entries.length
    ? { kind: 'rename', span: cx.program.spanOf(call), part, names, name }
    : null
}

/** Patterns out of patterns: the parts of an `and`, `or`, `not` or `rename` in, one pattern's names and functions out. */

import { and, not, or, report, type Context } from './context.ts'
import { checkName, type Declarations, type FieldNode, type Named } from './fields.ts'
import { NOTES } from './messages.ts'
import type { PartAst } from './parse.ts'
import type { Span } from './source.ts'
import type { Condition, ParamSpec, TableSpec } from './value.ts'

/** A pattern's own function, and the names that its declarations go by in the pattern that is compiled. */
export interface Part {
  readonly declarations: Declarations
  readonly node: FieldNode
  /** Own name to outer name. */
  readonly outer: (own: string) => string
}

/** A mask as a tree of the parts' masks. */
export type MaskTree =
  | { readonly kind: 'leaf'; readonly part: Part }
  | { readonly kind: 'and' | 'or'; readonly parts: readonly MaskTree[]; readonly span: Span }
  | { readonly kind: 'not'; readonly part: MaskTree; readonly span: Span }

/** One pattern after combination: its declarations under the outer names. */
export interface Combined extends Declarations {
  readonly span: Span
  readonly mask: MaskTree
  readonly score: Part | null
  readonly sinkLogit: Part | null
  readonly forward: Part | null
}

export function combine(cx: Context, ast: PartAst): Combined {
  switch (ast.kind) {
    case 'pattern': {
      const own = (node: FieldNode): Part => ({ declarations: ast.declarations, node, outer: (name) => name })
      return {
        ...ast.declarations,
        span: ast.span,
        mask: { kind: 'leaf', part: own(ast.mask) },
        score: ast.score && own(ast.score),
        sinkLogit: ast.sinkLogit && own(ast.sinkLogit),
        forward: ast.forward && own(ast.forward),
      }
    }
    case 'and':
    case 'or': {
      const parts = ast.parts.map((p) => combine(cx, p))
      return {
        span: ast.span,
        name: parts.map((p) => p.name).join(`-${ast.kind}-`),
        cite: [...new Set(parts.map((p) => p.cite))].filter((c) => c !== '').join('; '),
        ...unite(cx, parts, ast.span),
        mask: { kind: ast.kind, parts: parts.map((p) => p.mask), span: ast.span },
        score: only(cx, parts, 'score', ast.span),
        sinkLogit: only(cx, parts, 'sinkLogit', ast.span),
        forward: only(cx, parts, 'forward', ast.span),
      }
    }
    case 'not': {
      const part = combine(cx, ast.part)
      return {
        ...part,
        span: ast.span,
        name: `not-${part.name}`,
        mask: { kind: 'not', part: part.mask, span: ast.span },
      }
    }
    case 'rename':
      return renamed(cx, ast)
  }
}

/** The names of all parts; one that two parts have must be declared the same. */
function unite(
  cx: Context,
  parts: readonly Combined[],
  at: Span,
): Pick<Combined, 'consts' | 'params' | 'tables' | 'rows'> {
  const taken = new Map<
    string,
    { readonly kind: string; readonly text: string; readonly from: string; readonly span: Span }
  >()
  const merge = <V>(kind: string, list: (p: Combined) => readonly Named<V>[]): Named<V>[] =>
    parts.flatMap((p) =>
      list(p).filter(({ name, value, span }) => {
        const known = taken.get(name)
        const text = JSON.stringify(value, (_, v: unknown) => (typeof v === 'number' ? String(v) : v))
        if (!known) taken.set(name, { kind, text, from: p.name, span })
        else if (known.kind !== kind || known.text !== text)
          clash(cx, at, name, known, { from: p.name, span })
        return !known
      }),
    )
  const consts = merge('const', (p) => p.consts)
  const params = merge('param', (p) => p.params)
  const tables = merge('table', (p) => p.tables)
  return { consts, params, tables, rows: merge('rows', (p) => p.rows) }
}

interface Declared {
  readonly from: string
  readonly span: Span
}

function clash(cx: Context, at: Span, name: string, first: Declared, second: Declared): void {
  cx.session.report(
    'param-clash',
    at,
    { name, first: first.from, second: second.from },
    {
      notes: [first, second].map(({ from, span }) => ({ span, text: NOTES.declaredBy(from) })),
    },
  )
}

/** What at most one part may have. */
function only(
  cx: Context,
  parts: readonly Combined[],
  field: 'score' | 'sinkLogit' | 'forward',
  at: Span,
): Part | null {
  const having = parts.filter((p) => p[field] !== null)
  const [first, second] = having
  if (first && second) report(cx, 'score-clash', at, { field, first: first.name, second: second.name })
  return first?.[field] ?? null
}

function renamed(cx: Context, ast: PartAst & { kind: 'rename' }): Combined {
  const part = combine(cx, ast.part)
  const own = [...part.consts, ...part.params, ...part.tables, ...part.rows].map((n) => n.name)
  for (const old of ast.names.keys()) {
    if (!own.includes(old))
      report(cx, 'rename-unknown', ast.span, { pattern: part.name, name: old, known: own })
  }
  const fresh = (name: string) => (own.includes(name) ? (ast.names.get(name) ?? name) : name)
  const list = <V>(section: string, named: readonly Named<V>[]): Named<V>[] =>
    named.map((n) => {
      if (fresh(n.name) !== n.name) checkName(cx, fresh(n.name), section, ast.span)
      return { ...n, name: fresh(n.name) }
    })
  const all = own.map(fresh)
  const twice = all.find((name, i) => all.indexOf(name) < i)
  if (twice !== undefined)
    report(cx, 'duplicate-name', ast.span, { name: twice, first: part.name, second: 'the new names' })
  const consts = new Set(part.consts.map((c) => c.name))
  const dims = (spec: TableSpec): TableSpec => ({
    ...spec,
    dims: spec.dims.map((d) => (typeof d === 'string' && consts.has(d) ? fresh(d) : d)),
  })
  const inside = (p: Part): Part => ({ ...p, outer: (name) => fresh(p.outer(name)) })
  const within = (tree: MaskTree): MaskTree => {
    switch (tree.kind) {
      case 'leaf':
        return { kind: 'leaf', part: inside(tree.part) }
      case 'not':
        return { ...tree, part: within(tree.part) }
      default:
        return { ...tree, parts: tree.parts.map(within) }
    }
  }
  return {
    span: ast.span,
    name: ast.name ?? part.name,
    cite: part.cite,
    consts: list<number>('consts', part.consts),
    params: list<ParamSpec>('params', part.params),
    tables: list<TableSpec>(
      'tables',
      part.tables.map((t) => ({ ...t, value: dims(t.value) })),
    ),
    rows: list('rows', part.rows),
    mask: within(part.mask),
    score: part.score && inside(part.score),
    sinkLogit: part.sinkLogit && inside(part.sinkLogit),
    forward: part.forward && inside(part.forward),
  }
}

/** The whole mask from the parts' masks; null if one could not be lowered. */
export function maskOf(
  cx: Context,
  tree: MaskTree,
  leaf: (part: Part) => Condition | null,
): Condition | null {
  switch (tree.kind) {
    case 'leaf':
      return leaf(tree.part)
    case 'not': {
      const c = maskOf(cx, tree.part, leaf)
      return c === null ? null : not(cx, c, tree.span)
    }
    default: {
      const all = tree.parts.map((p) => maskOf(cx, p, leaf))
      const join = tree.kind === 'and' ? and : or
      return all.every((c) => c !== null) ? all.reduce((a, b) => join(cx, a, b, tree.span)) : null
    }
  }
}

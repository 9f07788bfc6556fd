/** `.at(..)` of a table and of a param per head: indices' values in, the element as an expression out. */

import type ts from 'typescript'
import type { Call } from './calls.ts'
import { numeric, report, textOf, wholeOf, type Context } from './context.ts'
import type { Expr } from './ir.ts'
import type { Dim, TableInfo } from './plan.ts'
import { BAD, exprValue, type Value } from './value.ts'

export function readTable(cx: Context, table: TableInfo, { node, args, at }: Call): Value {
  if (args.length !== table.dims.length) {
    return report(cx, 'table-rank', node, {
      table: table.name,
      dims: table.dims.map(String),
      got: args.length,
    })
  }
  const indices = args.map((a, i) => indexOf(cx, table, a, at[i]!))
  if (!indices.every((e) => e !== null)) return BAD
  for (const [i, e] of indices.entries()) warnOfOrder(cx, table, i, e, at[i]!)
  return exprValue(cx.ir.load(table.name, table.type, indices, cx.program.spanOf(node)))
}

/** A kernel has the param of the head at hand and of no other. */
export function readParam(cx: Context, param: Expr<'param'>, { node, args, at }: Call): Value {
  const [index] = args
  const own =
    args.length === 1 && index?.kind === 'expr' && index.expr.op === 'var' && index.expr.arg === 'head'
  if (own) return exprValue(param)
  return report(cx, 'param-index', at[0] ?? node, { name: param.arg, text: at.map(textOf).join(', ') })
}

function indexOf(cx: Context, table: TableInfo, value: Value, at: ts.Node): Expr | null {
  const e = wholeOf(cx, value, at)
  if (!e && value.kind !== 'bad' && numeric(cx, value, at))
    report(cx, 'table-index', at, { table: table.name, text: textOf(at) })
  return e
}

/** What a bare field of the index record is; other expressions say nothing. */
const FIELDS: Readonly<Record<string, { readonly what: string; readonly dims: readonly Dim[] }>> = {
  head: { what: 'a query head', dims: ['head', 'indexHead'] },
  kvHead: { what: 'a kv head', dims: ['kvHead', 'indexHead'] },
  batch: { what: 'a batch entry', dims: ['batch'] },
  // One list of tokens may serve both sides, such as a document id for each position.
  q: { what: 'an absolute position', dims: ['kvLen'] },
  kv: { what: 'an absolute position', dims: ['kvLen'] },
}

/** Correct or not, an index that counts something else than its dim does deserves a second look. */
function warnOfOrder(cx: Context, table: TableInfo, i: number, index: Expr, at: ts.Node): void {
  const dim = table.dims[i]!
  const field = index.op === 'var' ? FIELDS[index.arg] : undefined
  if (!field || typeof dim === 'number' || field.dims.includes(dim)) return
  report(cx, 'table-index-order', at, { table: table.name, dim, text: textOf(at), what: field.what })
}

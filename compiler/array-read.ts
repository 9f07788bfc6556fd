/** `LIST[i]`: an array and an index in, the element out: a constant's own, or a read that bounds.ts proves to be inside. */

import type ts from 'typescript'
import { float, isInt32, report, textOf, type Context } from './context.ts'
import type { Expr } from './ir.ts'
import { integer } from './operators.ts'
import { BAD, exprValue, type Value } from './value.ts'

/** An element of an array whose values are all known: by a constant index, or by an expression that bounds.ts proves. */
export function element(
  cx: Context,
  array: Value & { kind: 'array' },
  index: Value,
  node: ts.Node,
  at: ts.Node,
): Value {
  if (index.kind === 'bad') return BAD
  const length = array.items.length
  if (index.kind === 'number') {
    const item = array.items[index.value]
    return item ?? report(cx, 'array-index', at, { range: String(index.value), length })
  }
  const i = integer(cx, index, at, 'an index of an array')
  if (!i) return BAD
  if (length === 0) return report(cx, 'array-index', at, { range: textOf(at), length })
  return picked(cx, array.items, i, node)
}

function picked(cx: Context, items: readonly Value[], index: Expr, node: ts.Node): Value {
  const span = cx.program.spanOf(node)
  if (items.every((v) => v.kind === 'boolean')) {
    const bits = items.map((v) => Number(v.value))
    return exprValue(cx.ir.make('eq', [cx.ir.pick(bits, 'i32', index, span), cx.ir.int(1)], span))
  }
  if (items.every((v) => v.kind === 'number')) {
    const numbers = items.map((v) => v.value)
    if (!items.every((v) => float(cx, v, node))) return BAD
    return exprValue(cx.ir.pick(numbers, numbers.every(isInt32) ? 'i32' : 'f32', index, span))
  }
  const rows = items.flatMap((v) => (v.kind === 'array' ? [v.items] : []))
  const width = rows[0]?.length ?? 0
  if (rows.length === items.length && rows.every((r) => r.length === width)) {
    return {
      kind: 'array',
      items: Array.from({ length: width }, (_, j) =>
        picked(
          cx,
          rows.map((r) => r[j]!),
          index,
          node,
        ),
      ),
    }
  }
  return report(cx, 'array-of-others', node, { text: textOf(node) })
}

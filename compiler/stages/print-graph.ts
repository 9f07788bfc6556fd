/** The stage graph as text: one line a node, its operands by number, its options, and what its value is. */

import { printExpr, type Expr } from '../ir.ts'
import { printGrouping } from './axes.ts'
import type { Axis, Grouping, StageGraph, StageNode, ValueType } from './graph.ts'

/** `#7 topK(#5, #6) force=eq(kv.index, 0) per=row -> set of head: blocks(64) of q x blocks(64) of kv`. */
export function printGraph({ inputs, nodes, result }: StageGraph): string {
  const lines = inputs.map(
    ({ name, side, share, grain }) => `input ${name}: ${grain}s of ${side}, of each ${share}`,
  )
  // Numbers of the text are dense and in order, whatever else was made while lowering.
  const number = new Map(nodes.map((node, i) => [node, i]))
  const name = (node: StageNode) => `#${number.get(node) ?? '?'}`
  for (const node of nodes) lines.push(`${name(node)} ${nodeText(node, name)}`)
  lines.push(`return ${name(result)}`)
  return lines.join('\n')
}

type Name = (node: StageNode) => string

function nodeText(node: StageNode, name: Name): string {
  const call = `${node.word}(${node.src.map(name).join(', ')})`
  const options = Object.entries(node.arg ?? {}).flatMap(([field, value]) => {
    const text = valueText(value, name)
    return text === null ? [] : [`${field}=${text}`]
  })
  return [call, ...options, '->', printType(node.type, name)].join(' ')
}

/** Null for what is not given. */
function valueText(value: unknown, name: Name): string | null {
  if (value === null || value === false) return null
  if (typeof value !== 'object') return String(value)
  if ('op' in value) return printExpr(value as Expr)
  if ('kind' in value && isGrouping(value)) return groupingText(value, name)
  const fields = Object.entries(value).map(([field, inner]) => `${field} ${valueText(inner, name) ?? 'none'}`)
  return `{${fields.join(', ')}}`
}

const isGrouping = (value: object): value is Grouping =>
  'kind' in value && value.kind !== 'steps' && value.kind !== 'layers' && value.kind !== 'similar'

export function printType(type: ValueType, name: Name): string {
  switch (type.kind) {
    case 'rows': {
      const precision = type.precision === 'f32' ? '' : ` in ${type.precision}`
      return `rows of ${type.share}: ${axisText(type.axis, name)} x ${printExpr(type.channels)}${precision}`
    }
    case 'scores':
      return `scores of ${type.share}: ${axisText(type.q, name)} x ${axisText(type.kv, name)}, visible ${type.visible}`
    case 'set': {
      const order = type.sorted === 'score' ? ', by score' : ''
      return `set of ${type.share}: ${axisText(type.q, name)} x ${axisText(type.kv, name)}${order}`
    }
    case 'permutation':
      return `permutation of ${type.share}: ${type.side}`
    default:
      return type.kind
  }
}

export const axisText = ({ side, units, order }: Axis, name: Name): string =>
  `${groupingText(units, name)} of ${side}${order ? ` by ${name(order)}` : ''}`

function groupingText(g: Grouping, name: Name): string {
  if (g.kind === 'units') return `units of ${name(g.of)}`
  if (g.kind !== 'slice') return printGrouping(g)
  const [start, end] = [printExpr(g.start), g.end === null ? '' : printExpr(g.end)]
  return `${groupingText(g.of, name)}[${start}:${end}${g.step === 1 ? '' : `:${g.step}`}]`
}

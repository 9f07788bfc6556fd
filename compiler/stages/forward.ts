/** A `forward`: what it may read in; once the words have been called, the graph of its result out. */

import type ts from 'typescript'
import { report, type Context } from '../context.ts'
import type { Expr, Ir } from '../ir.ts'
import type { PatternIr } from '../plan.ts'
import type { Span } from '../source.ts'
import { BAD, describeValue, exprValue, type Value } from '../value.ts'
import { nodesUnder, StageInterner, type RowsInput, type RowsType, type StageGraph } from './graph.ts'
import { Sizes } from './sizes.ts'
import { stageRow } from './table.ts'
import type { Typing } from './typing.ts'

/** The fields of the record that are numbers of the call. */
const NUMBERS = ['scale', 'headDim', 'qLen', 'kvLen', 'qHeads', 'kvHeads'] as const

export function typingOf(
  ir: Ir,
  pattern: Pick<PatternIr, 'params' | 'tables' | 'mask' | 'derived'>,
  declared: readonly RowsInput[],
  derive: (keep: Expr) => Expr,
): Typing {
  const stages = new StageInterner()
  const channels = (name: string): Expr => ir.param(`${name}.channels`, 'i32')
  const rows = ({ name, side, share, grain }: RowsInput, width: Expr): [string, RowsType] => [
    name,
    { kind: 'rows', share, axis: stages.axis(side, { kind: grain }), channels: width, precision: 'f32' },
  ]
  const inputs = new Map([
    rows({ name: 'Q', side: 'q', share: 'head', grain: 'token' }, ir.var('headDim')),
    rows({ name: 'K', side: 'kv', share: 'kvHead', grain: 'token' }, ir.var('headDim')),
    rows({ name: 'V', side: 'kv', share: 'kvHead', grain: 'token' }, ir.var('valueDim')),
    ...declared.map((input) => rows(input, channels(input.name))),
  ])
  const { params, tables } = pattern
  return { sizes: new Sizes(ir, tables), stages, tables, params, inputs, derive, pattern }
}

/** What a `forward` is called with; `own` reads what the pattern declares. */
export function forwardRecord(
  cx: Context,
  typing: Typing,
  names: readonly string[],
  own: (name: string, span: Span) => Value | undefined,
): Value {
  const read = (name: string, span: Span): Value | undefined => {
    const field = NUMBERS.find((n) => n === name)
    if (field) return exprValue(cx.ir.var(field, span))
    return ['Q', 'K', 'V'].includes(name) ? inputRows(cx, name, span) : own(name, span)
  }
  return { kind: 'object', names: [...typing.inputs.keys(), ...NUMBERS, ...names], read }
}

export function inputRows(cx: Context, name: string, span: Span): Value {
  if (!cx.stages) return report(cx, 'stage-place', span, { word: name })
  const type = stageRow('input').type(cx.stages, [], { name } as never)
  return { kind: 'stage', node: cx.stages.stages.node('input', [], { name }, type, span) }
}

export function graphOf(
  cx: Context,
  value: Value,
  inputs: readonly RowsInput[],
  at: ts.Node,
): StageGraph | null {
  const result = value.kind === 'stage' ? value.node : null
  if (result && (result.type.kind === 'state' || result.type.kind === 'output'))
    return { inputs, result, nodes: nodesUnder(result) }
  if (value !== BAD) report(cx, 'stage-result', at, { got: describeValue(value) })
  return null
}

/** Calls of the words that cut axes and make rows in; groupings and nodes out. */

import type { Value } from '../value.ts'
import type { StageCall } from './call.ts'
import type { Grouping } from './graph.ts'

export type Reader = (c: StageCall) => Value

const grouping = (c: StageCall, wanted: Grouping): Value => ({
  kind: 'grouping',
  grouping: c.typing.stages.grouping(wanted),
})
const size = (c: StageCall, i: number, name: string): number => c.constant(c.arg(i), c.at(i), 1, name)

const PRECISIONS = ['int8', 'int4', 'fp8', 'sign'] as const
export const REDUCTIONS = ['sum', 'mean', 'max', 'min'] as const

export const ROW_WORDS = {
  blocks: (c) => grouping(c, { kind: 'block', size: size(c, 0, 'the size') }),
  windows: (c) => grouping(c, { kind: 'window', size: size(c, 0, 'the size'), step: size(c, 1, 'the step') }),
  residues: (c) => grouping(c, { kind: 'residue', step: size(c, 0, 'the step') }),
  chunks: (c) => grouping(c, { kind: 'chunk', ends: c.table(c.arg(0), c.at(0)) }),
  clusters: (c) => grouping(c, { kind: 'cluster', labels: c.table(c.arg(0), c.at(0)) }),

  slice: (c) => {
    const start = c.amount(c.arg(1), c.at(1))
    const end = c.arg(2).kind === 'undefined' ? null : c.amount(c.arg(2), c.at(2))
    const step = c.arg(3).kind === 'undefined' ? 1 : size(c, 3, 'the step')
    return c.make('slice', [c.operand(0, 'rows')], { start, end, step })
  },

  concat: (c) => {
    const rows = Array.from({ length: Math.max(1, c.count) }, (_, i) => c.operand(i, 'rows'))
    return c.make('concat', rows, null)
  },

  channels: (c) => c.make('channels', [c.operand(0, 'rows')], { table: c.table(c.arg(1), c.at(1)) }),

  linear: (c) => {
    const bias = c.arg(2).kind === 'undefined' ? null : c.table(c.arg(2), c.at(2))
    return c.make('linear', [c.operand(0, 'rows')], { weight: c.table(c.arg(1), c.at(1)), bias })
  },

  rope: (c) => {
    const { base, pairs, width } = c.options(2, ['base', 'pairs', 'width'])
    const position =
      c.arg(1).kind === 'undefined'
        ? c.cx.ir.var('unit.first')
        : c.number(c.arg(1), [c.unit('unit')], c.at(1))
    return c.make('rope', [c.operand(0, 'rows')], {
      position,
      base: base.kind === 'undefined' ? 10_000 : c.constant(base, c.at(2), 1, 'the base'),
      pairs: c.choice(pairs, c.at(2), ['halves', 'neighbours'], 'halves'),
      width: width.kind === 'undefined' ? null : c.constant(width, c.at(2), 2, 'the width'),
    })
  },

  quantize: (c) =>
    c.make('quantize', [c.operand(0, 'rows')], { precision: c.choice(c.arg(1), c.at(1), PRECISIONS) }),
} satisfies Readonly<Record<string, Reader>>

/** pool over rows. */
export function poolRows(c: StageCall): Value {
  const how = c.choice(c.arg(2), c.at(2), [...REDUCTIONS, 'concat'])
  const of = c.arg(3).kind === 'undefined' ? null : c.condition(c.arg(3), [c.unit('unit')], c.at(3))
  return c.make('poolRows', [c.operand(0, 'rows')], { by: c.grouping(1), how, of })
}

/** map over rows: every component of every vector. */
export function mapRows(c: StageCall): Value {
  const operands = Array.from({ length: c.count - 1 }, (_, i) => c.operand(i, 'rows'))
  const names = operands.length === 1 ? (['s', 'channel'] as const) : (['s', 't'] as const)
  const args = names.map((name) => c.var(name))
  return c.make('mapRows', operands, { value: c.number(c.arg(c.count - 1), args, c.at(c.count - 1)) })
}

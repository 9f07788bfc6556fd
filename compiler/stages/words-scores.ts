/** Calls of the words that make scores in, nodes out; pool and map go by what they are given. */

import type { Expr } from '../ir.ts'
import type { Value } from '../value.ts'
import { groupingOf, type StageCall } from './call.ts'
import { SHARES, type Grouping, type Regrouping, type StageNode } from './graph.ts'
import { mapRows, poolRows, REDUCTIONS, type Reader } from './words-rows.ts'

const OPERANDS = ['s', 't', 'u'] as const

/** The operands before the function that is the last argument, and what the function is called with. */
export function cellOperands(c: StageCall): { src: readonly StageNode[]; f: number; args: readonly Value[] } {
  const f = Math.min(c.count - 1, OPERANDS.length)
  const src = Array.from({ length: f }, (_, i) => c.operand(i, 'scores'))
  return { src, f, args: [...src.map((_, i) => c.var(OPERANDS[i]!)), c.cell()] }
}

const kindOf = (value: Value): string | null => (value.kind === 'stage' ? value.node.type.kind : null)

export const SCORE_WORDS = {
  dot: (c) => {
    const { scale, visible } = c.options(2, ['scale', 'visible'])
    const one = c.cx.ir.float(1)
    const factor: Expr = scale.kind === 'undefined' ? one : float(c, c.amount(scale, c.at(2)))
    return c.make('dot', [c.operand(0, 'rows'), c.operand(1, 'rows')], {
      scale: factor,
      visible: c.choice(visible, c.at(2), ['any', 'all', 'off'], 'any'),
    })
  },

  values: (c) => {
    const value = c.number(c.arg(1), [c.unit('unit'), c.who()], c.at(1))
    return c.make('values', [c.operand(0, 'rows')], { value })
  },

  map: (c) => {
    if (kindOf(c.arg(0)) === 'rows') return mapRows(c)
    const { src, f, args } = cellOperands(c)
    return c.make('map', src, { value: c.number(c.arg(f), args, c.at(f)) })
  },

  softmax: (c) => c.make('softmax', [c.operand(0, 'scores')], null),
  argmax: (c) => c.make('argmax', [c.operand(0, 'scores')], null),
  skew: (c) => c.make('skew', [c.operand(0, 'scores')], null),
  unskew: (c) => c.make('unskew', [c.operand(0, 'scores')], null),
  within: (c) => c.make('within', [c.operand(0, 'scores'), c.operand(1, 'set')], null),
  count: (c) => c.make('count', [c.operand(0, 'set')], null),

  pool: (c) => {
    switch (kindOf(c.arg(0))) {
      case 'rows':
        return poolRows(c)
      case 'set': {
        const { to, units } = target(c)
        return c.make('poolSet', [c.operand(0, 'set'), ...units], {
          ...to,
          how: c.choice(c.arg(2), c.at(2), ['any', 'all']),
        })
      }
      default: {
        const scores = c.operand(0, 'scores')
        const { to, units } = target(c)
        const how = c.choice(c.arg(2), c.at(2), REDUCTIONS)
        const of = c.arg(3).kind === 'undefined' ? null : c.condition(c.arg(3), [c.poolCell()], c.at(3))
        return c.make('poolScores', [scores, ...units], { ...to, how, of })
      }
    }
  },
} satisfies Readonly<Record<string, Reader>>

const float = (c: StageCall, e: Expr): Expr =>
  e.type === 'f32' ? e : e.op === 'const' ? c.cx.ir.float(e.arg as number) : c.cx.ir.make('toF32', [e])

/** `{ q, kv, share }`: groupings, and a set where its units become the kv axis. */
function target(c: StageCall): { readonly to: Regrouping; readonly units: readonly StageNode[] } {
  const { q, kv, share } = c.options(1, ['q', 'kv', 'share'])
  const cut = (value: Value): Grouping | null => {
    if (value.kind === 'undefined') return null
    return groupingOf(c, value) ?? c.wrong('a way to cut an axis, such as blocks(64)', value, c.at(1))
  }
  const level = share.kind === 'undefined' ? null : c.choice(share, c.at(1), SHARES)
  if (kv.kind === 'stage' && kv.node.type.kind === 'set') {
    const to: Grouping = c.typing.stages.grouping({ kind: 'units', of: kv.node })
    return { to: { q: cut(q), kv: to, share: level }, units: [kv.node] }
  }
  return { to: { q: cut(q), kv: cut(kv), share: level }, units: [] }
}

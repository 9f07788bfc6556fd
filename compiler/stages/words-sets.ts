/** Calls of the words that make sets and orders in, nodes out. */

import type { Value } from '../value.ts'
import { groupingOf, type StageCall } from './call.ts'
import type { Args, Per, StageNode } from './graph.ts'
import { askedOf } from './reads.ts'
import { constOf } from './sizes.ts'
import { misfit, silence } from './typing.ts'
import type { Reader } from './words-rows.ts'
import { cellOperands } from './words-scores.ts'

const sets = (c: StageCall): StageNode[] =>
  Array.from({ length: Math.max(1, c.count) }, (_, i) => c.operand(i, 'set'))

export const SET_WORDS = {
  topK: (c) => {
    const options = c.options(2, ['force', 'forced', 'per', 'sorted'])
    const { choice, units } = choiceOf(c, options)
    const src = [
      c.operand(0, 'scores'),
      amount(c, 'the number of units', 'a whole number of 1 or more', (n) => Number.isInteger(n) && n >= 1),
      ...units,
    ]
    return c.make('topK', src, {
      ...choice,
      sorted: c.choice(options.sorted, c.at(2), ['index', 'score'], 'index'),
    })
  },

  topP: (c) => {
    const options = c.options(2, ['force', 'forced', 'per', 'cross'])
    const { choice, units } = choiceOf(c, options)
    const src = [c.operand(0, 'scores'), amount(c, 'the mass', 'a number above 0', (n) => n > 0), ...units]
    return c.make('topP', src, {
      ...choice,
      cross: c.choice(options.cross, c.at(2), ['keep', 'drop'], 'keep'),
    })
  },

  where: (c) => {
    if (c.count < 2) return c.make('pairs', [], { keep: c.pairs(c.arg(0), c.at(0)) })
    const { src, f, args } = cellOperands(c)
    const keep = c.condition(c.arg(f), args, c.at(f))
    const [scores, ...rest] = src
    return c.make('where', [askedOf(scores!, keep), ...rest], { keep })
  },

  union: (c) => c.make('union', sets(c), null),
  intersect: (c) => c.make('intersect', sets(c), null),
  difference: (c) => c.make('difference', sets(c), null),

  range: (c) => {
    const by = c.grouping(0)
    const ends = c.apply(c.arg(1), [c.unit('unit')], c.at(1))
    if (ends.kind === 'bad') silence()
    const [start, end] = ends.kind === 'array' ? ends.items : []
    if (!start || !end) return c.wrong('a function that gives [start, end]', ends, c.at(1))
    const place = (v: Value) => c.amount(v, c.at(1))
    return c.make('range', [], { by, start: place(start), end: place(end) })
  },

  split: (c) => {
    const { parts, size } = c.options(1, ['parts', 'size'])
    const by = parts.kind === 'undefined' ? 'size' : 'parts'
    const number = c.constant(
      by === 'size' ? size : parts,
      c.at(1),
      1,
      by === 'size' ? 'the size' : 'the parts',
    )
    return c.make('split', [c.operand(0, 'set')], { by, amount: number })
  },

  argsort: (c) => {
    const { descending, per } = c.options(1, ['descending', 'per'])
    const falls = descending.kind === 'boolean' && descending.value
    if (descending.kind !== 'boolean' && descending.kind !== 'undefined')
      c.wrong('`descending: true` or `false`', descending, c.at(1))
    const within = per.kind === 'undefined' ? null : groupingOf(c, per)
    if (within === null && per.kind !== 'undefined') c.wrong('`per` units, such as blocks(64)', per, c.at(1))
    return c.make('argsort', [c.operand(0, 'scores')], { descending: falls, per: within })
  },

  permute: (c) => c.make('permute', [c.operand(0, 'rows'), c.operand(1, 'permutation')], null),
} satisfies Readonly<Record<string, Reader>>

/** `force`, `forced` and `per`; `units` is the set whose units share a budget each. */
function choiceOf(
  c: StageCall,
  { force, forced, per }: Readonly<Record<'force' | 'forced' | 'per', Value>>,
): { readonly choice: Pick<Args['topK'], 'force' | 'forced' | 'per'>; readonly units: readonly StageNode[] } {
  const first = force.kind === 'undefined' ? null : c.condition(force, [c.cell()], c.at(2))
  const set = per.kind === 'stage' && per.node.type.kind === 'set' ? per.node : null
  return {
    choice: {
      force: first,
      forced: c.choice(forced, c.at(2), ['counted', 'extra'], 'counted'),
      per: perOf(c, per),
    },
    units: set ? [set] : [],
  }
}

function perOf(c: StageCall, per: Value): Per {
  if (per.kind === 'undefined') return 'row'
  if (per.kind === 'string' && per.value === 'head') return 'head'
  if (per.kind === 'stage' && per.node.type.kind === 'set')
    return c.typing.stages.grouping({ kind: 'units', of: per.node })
  return groupingOf(c, per) ?? c.wrong("'head', or units such as blocks(64)", per, c.at(2))
}

/** What an f32 that nobody knows yet may be. */
const FRACTION = 1.5

/** How much a choice takes: a number, or scores with one for each row. */
function amount(c: StageCall, name: string, wanted: string, good: (n: number) => boolean): StageNode {
  const node = c.scores(c.arg(1), c.at(1), 'a number, or one for each row')
  if (node.word !== 'fill') return node
  const value = constOf(node.arg.value)
  const isBad = value === null ? node.arg.value.type === 'f32' && !good(FRACTION) : !good(value)
  const got = value === null ? 'a number with a fraction' : String(value)
  if (isBad) misfit('stage-constant', { word: c.word, name, wanted, got }, [], c.at(1))
  return node
}

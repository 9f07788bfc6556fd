/** Calls of the words that attend, join and keep in, nodes out. */

import type { Expr } from '../ir.ts'
import type { Value } from '../value.ts'
import type { StageCall } from './call.ts'
import type { Args, StageNode, Tile, Until } from './graph.ts'
import { misfit, silence } from './typing.ts'
import type { Reader } from './words-rows.ts'

const ATTEND_OPTIONS = ['after', 'visible', 'bias', 'position', 'tile', 'skip', 'stop'] as const
type AttendOptions = Readonly<Record<(typeof ATTEND_OPTIONS)[number], Value>>

/** What an attend does where its options say nothing. */
export const PLAIN: Args['attend'] = {
  visible: 'any',
  bias: null,
  position: null,
  tile: null,
  skip: null,
  stop: null,
}

export const ATTEND_WORDS = {
  attend: (c) => {
    const options = c.options(4, ATTEND_OPTIONS)
    const { after, visible, bias } = options
    const given = c.arg(3).kind !== 'undefined'
    const set = given ? c.operand(3, 'set') : c.node('pairs', [], { keep: c.cx.ir.bool(true) })
    const src = [c.operand(0, 'rows'), c.operand(1, 'rows'), c.operand(2, 'rows'), set]
    if (after.kind !== 'undefined') src.push(state(c, after, 4))
    const tile = tileOf(c, options)
    if (tile === null && (options.skip.kind !== 'undefined' || options.stop.kind !== 'undefined'))
      misfit('stage-tile', { option: options.skip.kind === 'undefined' ? 'stop' : 'skip' }, [], c.at(4))
    return c.make('attend', src, {
      visible: c.choice(visible, c.at(4), ['any', 'all', 'off'], 'any'),
      bias: bias.kind === 'undefined' ? null : c.number(bias, [c.cell()], c.at(4)),
      position: positionOf(c, options),
      tile,
      skip: tileTest(c, options.skip),
      stop: tileTest(c, options.stop),
    })
  },

  merge: (c) => {
    const states = Array.from({ length: Math.max(1, c.count) }, (_, i) => state(c, c.arg(i), i))
    return c.make('merge', states, null)
  },

  gated: (c) => {
    const branches = Array.from({ length: Math.max(1, c.count) }, (_, i): StageNode[] => {
      const pair = c.arg(i)
      const [branch, weight] = pair.kind === 'array' ? pair.items : []
      if (!branch || !weight) return c.wrong('pairs of a state and its weight', pair, c.at(i))
      return [state(c, branch, i), weightOf(c, weight, i)]
    })
    return c.make('gated', branches.flat(), null)
  },

  reuse: (c) => {
    const name = c.arg(0)
    if (name.kind !== 'string') return c.wrong('a name', name, c.at(0))
    // The maker is a part of the program, run where it stands.
    const made = c.call.apply(c.cx, c.arg(1), [])
    if (made.kind !== 'stage') return c.wrong('a function that gives a value of stages', made, c.at(1))
    const { until, rows } = untilOf(c)
    return c.make('reuse', [made.node, ...rows], { name: name.value, until })
  },
} satisfies Readonly<Record<string, Reader>>

function state(c: StageCall, value: Value, i: number): StageNode {
  const found = value.kind === 'stage' && value.node.type.kind === 'state' ? value.node : null
  return found ?? c.wrong('a state of attend', value, c.at(i))
}

/** A weight: a function of the query, or one number for each. */
function weightOf(c: StageCall, value: Value, i: number): StageNode {
  if (value.kind !== 'function' && value.kind !== 'word') return c.scores(value, c.at(i))
  return c.node('fill', [], { value: c.number(value, [c.pair()], c.at(i)), share: 'head', rows: true })
}

function tileOf(c: StageCall, { tile }: AttendOptions): Tile | null {
  if (tile.kind === 'undefined') return null
  if (tile.kind !== 'object') return c.wrong('`tile: { q, kv }`', tile, c.at(4))
  const side = (name: 'q' | 'kv') => {
    const value = tile.read(name, c.cx.program.spanOf(c.at(4)))
    return c.constant(value ?? { kind: 'undefined' }, c.at(4), 1, `tile.${name}`)
  }
  return { q: side('q'), kv: side('kv') }
}

const tileTest = (c: StageCall, f: Value): Expr | null =>
  f.kind === 'undefined' ? null : c.condition(f, [c.pair(['tileMax', 'rowMax', 'rowSum'])], c.at(4))

function positionOf(c: StageCall, { position }: AttendOptions): Args['attend']['position'] {
  if (position.kind === 'undefined') return null
  const places = c.apply(position, [c.kept()], c.at(4))
  if (places.kind === 'bad') silence()
  const [q, kv] = places.kind === 'array' ? places.items : []
  if (!q || !kv) return c.wrong('a function that gives [q, kv]', places, c.at(4))
  return { q: c.amount(q, c.at(4)), kv: c.amount(kv, c.at(4)) }
}

function untilOf(c: StageCall): { readonly until: Until; readonly rows: readonly StageNode[] } {
  const { steps, layers, similar, above } = c.options(2, ['steps', 'layers', 'similar', 'above'])
  if (steps.kind !== 'undefined')
    return { until: { kind: 'steps', steps: c.amount(steps, c.at(2)) }, rows: [] }
  if (layers.kind === 'boolean' && layers.value) return { until: { kind: 'layers' }, rows: [] }
  if (similar.kind === 'stage' && similar.node.type.kind === 'rows')
    return { until: { kind: 'similar', above: c.amount(above, c.at(2)) }, rows: [similar.node] }
  return c.wrong('`steps`, `layers: true`, or `similar` and `above`', similar, c.at(2))
}

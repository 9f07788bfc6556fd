/** Rows of the stage table for words that order, attend and choose: permutations, states, outputs, kept values. */

import { KINDS } from '../value.ts'
import { joinShares, nesting, printGrouping, sameUnits } from './axes.ts'
import type { Axis, RowsType, ScoresType, SetType, StageNode } from './graph.ts'
import type { Rules } from './table.ts'
import {
  misfit,
  describeAxis,
  differs,
  join,
  rowsOf,
  scoresOf,
  setOf,
  typeOf,
  type Typing,
} from './typing.ts'

type OrderWord = 'argsort' | 'permute' | 'attend' | 'merge' | 'gated' | 'choose' | 'reuse'

const none = (t: Typing) => t.sizes.num(0)

export const ORDER_RULES: Rules<OrderWord> = {
  argsort: {
    operands: ['scores'],
    had: 'order',
    type: (_, [s], { per }) => {
      const { share, kv: axis, q } = scoresOf(s!)
      if (q.units.kind !== 'whole' || axis.units.kind !== 'token' || axis.order)
        return misfit('stage-argument', {
          word: 'argsort',
          wanted: 'one row of scores, over tokens in their own order',
          got: `${describeAxis(q)} by ${describeAxis(axis)}`,
        })
      if (per !== null && nesting(axis.units, per) !== 'inside')
        return misfit('stage-nesting', {
          from: printGrouping(axis.units),
          to: printGrouping(per),
          how: 'per',
        })
      return { kind: 'permutation', share, side: axis.side }
    },
    flops: (t, node) => t.sizes.product(t.sizes.num(16), t.sizes.cells(node.type)),
  },

  permute: {
    operands: ['rows', 'permutation'],
    had: 'loader',
    type: (t, [x, order]) => {
      const [rows, permutation] = [rowsOf(x!), typeOf(order!, 'permutation')]
      const share = join(rows.share, permutation.share)
      const { side, units, order: before } = rows.axis
      if (units.kind !== 'token' || before || side !== permutation.side)
        return misfit('stage-argument', {
          word: 'permute',
          wanted: `tokens of ${permutation.side} in their own order`,
          got: describeAxis(rows.axis),
        })
      return { ...rows, share, axis: t.stages.axis(side, units, orderOf(order!)) }
    },
    flops: none,
  },

  attend: {
    operands: ['rows', 'rows', 'rows', 'set', 'state'],
    more: '?',
    had: 'state',
    type: (_, [q, k, v, set]) => {
      checkAttend(rowsOf(q!), rowsOf(k!), rowsOf(v!), set!)
      return { kind: 'state' }
    },
    // As if every pair of the mask were met: what is met is known when it runs.
    flops: (t, node) => {
      const [q, k, v] = node.src.map((n) => n.type) as [RowsType, RowsType, RowsType]
      const { sizes } = t
      const met = attendedMost(t, node)
      return sizes.product(
        sizes.num(2),
        sizes.sharers('head'),
        sizes.units(q.axis),
        met,
        sizes.sum(k.channels, v.channels),
      )
    },
  },

  merge: {
    operands: ['state'],
    more: '..',
    had: 'state',
    type: () => ({ kind: 'state' }),
    flops: (t, node) => t.sizes.product(t.sizes.num(2 * node.src.length), t.sizes.cells(node.type)),
  },

  gated: {
    operands: ['state', 'scores'],
    more: '..',
    had: 'output',
    type: (_, src) => {
      for (const weight of src.filter((_, i) => i % 2 === 1)) {
        const { kv, q, share }: ScoresType = scoresOf(weight)
        const fits = kv.units.kind === 'whole' && (q.units.kind === 'token' || q.units.kind === 'whole')
        if (!fits || joinShares(share, 'head') !== 'head')
          return misfit('stage-argument', {
            word: 'gated',
            wanted: 'a weight for each query, or one for all',
            got: `scores over ${describeAxis(q)} and ${describeAxis(kv)}`,
          })
      }
      return { kind: 'output' }
    },
    flops: (t, node) => t.sizes.product(t.sizes.num(node.src.length), t.sizes.cells(node.type)),
  },

  choose: {
    operands: ['any', 'any'],
    had: 'control',
    type: (t, [a, b]) => chosen(t, a!, b!),
    flops: none,
  },

  reuse: {
    operands: ['any', 'rows'],
    more: '?',
    had: 'control',
    type: (_, [made]) => {
      const { type } = made!
      // What a cache keeps from call to call is small: lists and orders, no scores and no states.
      if (type.kind !== 'set' && type.kind !== 'permutation')
        misfit('stage-argument', { word: 'reuse', wanted: 'a set or a permutation', got: KINDS[type.kind] })
      return type
    },
    flops: none,
  },
}

/** The argsort behind a permutation: through `reuse`, which keeps it. */
function orderOf(node: StageNode): StageNode<'argsort'> {
  if (node.word === 'argsort') return node
  if (node.word === 'reuse') return orderOf(node.src[0]!)
  throw new Error(`${node.word} makes no order`)
}

/** Units of keys that a query can meet at most. */
export function attendedMost(t: Typing, node: StageNode<'attend'>) {
  const [k, set] = [rowsOf(node.src[1]!), setOf(node.src[3]!)]
  const { sizes } = t
  const all = sizes.units(k.axis)
  switch (set.kv.units.kind) {
    case 'block':
      return k.axis.units.kind === 'token'
        ? sizes.min(all, sizes.product(set.most, sizes.num(set.kv.units.size)))
        : all
    case 'token':
      return set.kv.order === k.axis.order ? sizes.min(all, set.most) : all
    default:
      return all
  }
}

function checkAttend(q: RowsType, k: RowsType, v: RowsType, set: StageNode): void {
  if (q.axis.units.kind !== 'token')
    misfit('stage-argument', { word: 'attend', wanted: 'Q of tokens', got: describeAxis(q.axis) })
  if (!sameUnits(k.axis, v.axis)) differs(k.axis, v.axis)
  if (k.share !== v.share) misfit('stage-heads', { first: k.share, second: v.share })
  const type = setOf(set)
  for (const share of [q.share, k.share, type.share])
    if (joinShares('head', share) !== 'head') misfit('stage-heads', { first: 'head', second: share })
  if (set.word === 'pairs') return
  checkAddress(type, q.axis, 'q')
  checkAddress(type, k.axis, 'kv')
}

/** A set must speak of the units of the operand, or of groups of them, in the same order. */
function checkAddress(set: SetType, axis: Axis, side: 'q' | 'kv'): void {
  const own = set[side]
  if (own.units.kind === 'whole') return
  const same = axis.units.kind === 'token' || own.units === axis.units
  if (own.order !== axis.order || !same) differs(own, axis)
}

function chosen(t: Typing, a: StageNode, b: StageNode): StageNode['type'] {
  const [x, y] = [a.type, b.type]
  if (x === y || (x.kind === y.kind && (x.kind === 'state' || x.kind === 'output'))) return x
  if (
    x.kind === 'set' &&
    y.kind === 'set' &&
    sameUnits(x.q, y.q) &&
    sameUnits(x.kv, y.kv) &&
    x.share === y.share
  )
    return { ...x, most: t.sizes.max(x.most, y.most) }
  if (
    x.kind === 'scores' &&
    y.kind === 'scores' &&
    sameUnits(x.q, y.q) &&
    sameUnits(x.kv, y.kv) &&
    x.share === y.share
  )
    return x
  if (x.kind === 'rows' && y.kind === 'rows' && sameUnits(x.axis, y.axis) && x.share === y.share) return x
  return misfit('stage-choice', { first: KINDS[x.kind], second: KINDS[y.kind] })
}

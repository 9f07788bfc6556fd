/** Rows of the stage table for words that make scores: inner products, functions of cells, statistics of rows, pools. */

import type { Expr } from '../ir.ts'
import { isCoarserShare, nesting, printGrouping } from './axes.ts'
import type { Args, Axis, Grouping, RowsType, ScoresType, StageNode } from './graph.ts'
import { checkChannels, workOf } from './rules-rows.ts'
import type { Rules } from './table.ts'
import { broadcast, misfit, join, rowsOf, scoresOf, setOf, type Typing } from './typing.ts'

type ScoresWord =
  | 'fill'
  | 'dot'
  | 'values'
  | 'map'
  | 'softmax'
  | 'argmax'
  | 'skew'
  | 'unskew'
  | 'within'
  | 'poolScores'
  | 'count'
  | 'stateMax'
  | 'stateLse'

const none = (t: Typing) => t.sizes.num(0)
const perCell = (t: Typing, node: StageNode, work: number): Expr =>
  t.sizes.product(t.sizes.num(work), t.sizes.cells(node.type))
const perSource = (t: Typing, node: StageNode, work: number): Expr => perCell(t, node.src[0]!, work)

const wholeOf = (t: Typing, axis: Axis): Axis => t.stages.axis(axis.side, { kind: 'whole' })

export const SCORES_RULES: Rules<ScoresWord> = {
  fill: {
    operands: [],
    had: 'input',
    type: (t, _, { rows, share }) => ({
      kind: 'scores',
      share,
      q: t.stages.axis('q', { kind: rows ? 'token' : 'whole' }),
      kv: t.stages.axis('kv', { kind: 'whole' }),
      visible: 'off',
    }),
    flops: none,
  },

  dot: {
    operands: ['rows', 'rows'],
    had: 'cell',
    type: (t, [a, b], { visible }) => {
      const [x, y] = [rowsOf(a!), rowsOf(b!)]
      const share = join(x.share, y.share)
      // Rows of one side meet as hash planes do: no mask speaks of them.
      const rule = x.axis.side === 'q' && y.axis.side === 'kv' ? visible : 'off'
      checkChannels(t, x.channels, y.channels)
      return { kind: 'scores', share, q: x.axis, kv: y.axis, visible: rule }
    },
    flops: (t, node) => {
      const x = rowsOf(node.src[0]!)
      return t.sizes.product(t.sizes.num(2), t.sizes.cells(node.type), x.channels)
    },
  },

  values: {
    operands: ['rows'],
    had: 'cell',
    type: (t, [x]) => {
      const { share, axis }: RowsType = rowsOf(x!)
      return { kind: 'scores', share, q: t.stages.axis('q', { kind: 'whole' }), kv: axis, visible: 'off' }
    },
    flops: (t, node) => perCell(t, node, workOf(node.arg.value)),
  },

  map: {
    operands: ['scores', 'scores', 'scores'],
    more: '?',
    had: 'cell',
    type: (_, src) => together(src),
    flops: (t, node) => perCell(t, node, workOf(node.arg.value)),
  },

  softmax: {
    operands: ['scores'],
    had: 'cell',
    type: (_, [s]) => scoresOf(s!),
    flops: (t, node) => perCell(t, node, 4),
  },

  argmax: {
    operands: ['scores'],
    had: 'reduce',
    type: (t, [s]) => {
      const scores = scoresOf(s!)
      return { ...scores, kv: wholeOf(t, scores.kv), visible: 'off' }
    },
    flops: (t, node) => perSource(t, node, 1),
  },

  skew: {
    operands: ['scores'],
    had: 'cell',
    type: (t, [s]) => {
      const scores = scoresOf(s!)
      const { kv } = scores
      if (kv.units.kind !== 'token' && kv.units.kind !== 'block')
        return misfit('stage-argument', {
          word: 'skew',
          wanted: 'scores over tokens or blocks of keys',
          got: printGrouping(kv.units),
        })
      const rows = t.sizes.units(scores.q)
      const least = t.sizes.difference(t.sizes.num(1), rows)
      const count = t.sizes.sum(t.sizes.units(kv), rows, t.sizes.num(-1))
      return { ...scores, kv: t.stages.axis('kv', { kind: 'offset', of: kv.units, least, count }, kv.order) }
    },
    flops: none,
  },

  unskew: {
    operands: ['scores'],
    had: 'cell',
    type: (t, [s]) => {
      const scores = scoresOf(s!)
      const { units, order } = scores.kv
      if (units.kind !== 'offset')
        return misfit('stage-argument', {
          word: 'unskew',
          wanted: 'scores over distances, as skew gives',
          got: printGrouping(units),
        })
      return { ...scores, kv: t.stages.axis('kv', units.of, order) }
    },
    flops: none,
  },

  within: {
    operands: ['scores', 'set'],
    had: 'cell',
    type: (_, [s, set]) => {
      const [scores, limits] = [scoresOf(s!), setOf(set!)]
      return isCoarserShare(limits.share, scores.share)
        ? scores
        : misfit('stage-heads', { first: scores.share, second: limits.share })
    },
    flops: none,
  },

  poolScores: {
    operands: ['scores', 'set'],
    more: '?',
    had: 'reduce',
    type: (t, [s], arg) => {
      const scores = scoresOf(s!)
      const share = arg.share ?? scores.share
      if (!isCoarserShare(share, scores.share) && !(share === 'request' && scores.share === 'indexHead'))
        return misfit('stage-heads', { first: scores.share, second: share })
      const q = regrouped(t, scores.q, arg.q, arg.how)
      const kv = regrouped(t, scores.kv, arg.kv, arg.how)
      const cut = arg.q !== null || arg.kv !== null
      const distances = scores.kv.units.kind === 'offset'
      const visible = distances ? 'sources' : cut ? 'any' : scores.visible
      return { ...scores, share, q, kv, visible }
    },
    flops: (t, node) => perSource(t, node, node.arg.of === null ? 1 : 1 + workOf(node.arg.of)),
  },

  count: {
    operands: ['set'],
    had: 'vector',
    type: (t, [set]) => {
      const { share, q, kv } = setOf(set!)
      return { kind: 'scores', share, q, kv: wholeOf(t, kv), visible: 'off' }
    },
    flops: none,
  },

  stateMax: { operands: ['state'], had: 'vector', type: perRow, flops: none },
  stateLse: { operands: ['state'], had: 'vector', type: perRow, flops: none },
}

/** One number for each query token and head. */
function perRow(t: Typing): ScoresType {
  return {
    kind: 'scores',
    share: 'head',
    q: t.stages.axis('q', { kind: 'token' }),
    kv: t.stages.axis('kv', { kind: 'whole' }),
    visible: 'off',
  }
}

/** Scores that are read cell by cell side by side: the finer share, each axis equal or whole. */
export function together(src: readonly StageNode[]): ScoresType {
  const all = src.map(scoresOf) as [ScoresType, ...ScoresType[]]
  return {
    ...all[0],
    share: all.map((s) => s.share).reduce(join),
    q: all.map((s) => s.q).reduce(broadcast),
    kv: all.map((s) => s.kv).reduce(broadcast),
  }
}

/** The axis of a pool's result. Parts of units have a meaning for sums alone. */
export function regrouped(
  t: Typing,
  axis: Axis,
  to: Grouping | null,
  how: Args['poolScores']['how'] | 'any' | 'all',
): Axis {
  if (to === null) return axis
  const parts = how === 'sum' || how === 'any' || how === 'all'
  if (!parts && nesting(axis.units, to) === 'straddles' && to.kind !== 'units')
    return misfit('stage-nesting', { from: printGrouping(axis.units), to: printGrouping(to), how })
  return t.stages.axis(axis.side, to, to.kind === 'units' ? null : axis.order)
}

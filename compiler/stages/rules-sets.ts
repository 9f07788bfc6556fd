/** Rows of the stage table for words that make sets: choices from scores, predicates, spans, and set algebra. */

import type { Expr } from '../ir.ts'
import { isCoarserShare, nesting, printGrouping, sameUnits } from './axes.ts'
import { forcedMost } from './forced.ts'
import type { Args, Axis, ScoresType, SetType, StageNode } from './graph.ts'
import { workOf } from './rules-rows.ts'
import { regrouped, together } from './rules-scores.ts'
import { growth } from './sizes.ts'
import type { Rules } from './table.ts'
import { misfit, join, scoresOf, setOf, type Typing } from './typing.ts'

type SetWord =
  | 'pairs'
  | 'range'
  | 'topK'
  | 'topP'
  | 'where'
  | 'poolSet'
  | 'union'
  | 'intersect'
  | 'difference'
  | 'split'

const none = (t: Typing) => t.sizes.num(0)
const perSource = (t: Typing, node: StageNode, work: number): Expr =>
  t.sizes.product(t.sizes.num(work), t.sizes.cells(node.src[0]!.type))

export const SETS_RULES: Rules<SetWord> = {
  pairs: {
    operands: [],
    had: 'closed',
    type: (t) => {
      const [q, kv] = [t.stages.axis('q', { kind: 'token' }), t.stages.axis('kv', { kind: 'token' })]
      return { kind: 'set', share: 'request', q, kv, sorted: 'index', most: t.sizes.units(kv) }
    },
    flops: none,
  },

  range: {
    operands: [],
    had: 'list',
    type: (t, _, { by }) => ({
      kind: 'set',
      share: 'request',
      q: t.stages.axis('q', by),
      kv: t.stages.axis('kv', { kind: 'span', most: t.sizes.num(1), longest: t.sizes.tokens('kv') }),
      sorted: 'index',
      most: t.sizes.num(1),
    }),
    flops: none,
  },

  topK: {
    operands: ['scores', 'scores', 'set'],
    more: '?',
    had: 'list',
    type: (t, [s, k], { per, force, sorted }) => {
      const scores = scoresOf(s!)
      const chosen = chosenFrom(t, scores, scoresOf(k!), per)
      const { sizes } = t
      const all = sizes.units(scores.kv)
      const amount = k!.word === 'fill' ? k!.arg.value : null
      const forced = force === null ? sizes.num(0) : forcedMost(t, force, scores)
      const groups = typeof per === 'string' ? sizes.num(1) : sizes.units(t.stages.axis('kv', per))
      const bounded = amount !== null && forced !== null && per !== 'head'
      const most = bounded ? sizes.min(sizes.sum(sizes.product(groups, amount), forced), all) : all
      return { ...chosen, sorted, most }
    },
    flops: (t, node) => perSource(t, node, 4),
  },

  topP: {
    operands: ['scores', 'scores', 'set'],
    more: '?',
    had: 'list',
    type: (t, [s, p], { per }) => chosenFrom(t, scoresOf(s!), scoresOf(p!), per),
    flops: (t, node) => perSource(t, node, 8),
  },

  where: {
    operands: ['scores', 'scores', 'scores'],
    more: '?',
    had: 'list',
    type: (t, src) => {
      const cells = together(src)
      return setLike(t, cells)
    },
    flops: (t, node) => perSource(t, node, workOf(node.arg.keep)),
  },

  poolSet: {
    operands: ['set', 'set'],
    more: '?',
    had: 'list',
    type: (t, [set], arg) => {
      const type = setOf(set!)
      const share = arg.share ?? type.share
      if (!isCoarserShare(share, type.share))
        return misfit('stage-heads', { first: type.share, second: share })
      const q = regrouped(t, type.q, arg.q, arg.how)
      const { units, order } = type.kv
      // Distances, drawn for groups of queries, are keys: runs of them.
      const drawn = arg.q !== null && units.kind === 'offset'
      const kv = drawn ? t.stages.axis('kv', units.of, order) : regrouped(t, type.kv, arg.kv, arg.how)
      const same = arg.kv === null && share === type.share
      const repeats = same && nesting(type.q.units, q.units) === 'around'
      // A distance draws one run of keys for a group of queries.
      const most = repeats || drawn ? type.most : t.sizes.units(kv)
      return { ...type, share, q, kv, sorted: 'index', most }
    },
    flops: (t, node) => perSource(t, node, 1),
  },

  union: { operands: ['set'], more: '..', had: 'algebra', type: algebra, flops: none },
  intersect: { operands: ['set'], more: '..', had: 'algebra', type: algebra, flops: none },
  difference: { operands: ['set'], more: '..', had: 'algebra', type: algebra, flops: none },

  split: {
    operands: ['set'],
    had: 'list',
    type: (t, [set], { by, amount }) => {
      const type = setOf(set!)
      const longest = longestOf(type)
      if (longest === null)
        return misfit('stage-argument', {
          word: 'split',
          wanted: 'spans, as range and split give',
          got: printGrouping(type.kv.units),
        })
      const { sizes } = t
      const pieces = by === 'parts' ? sizes.num(amount) : sizes.ceilDiv(longest, amount)
      const of = by === 'parts' ? sizes.ceilDiv(longest, amount) : sizes.min(sizes.num(amount), longest)
      const byPieces = sizes.product(type.most, pieces)
      // Spans of one row do not overlap, so full pieces are no more than the keys hold.
      const byKeys = sizes.sum(sizes.floorDiv(sizes.tokens('kv'), amount), type.most)
      const most = by === 'parts' || growth(byPieces) === 0 ? byPieces : sizes.min(byPieces, byKeys)
      return { ...type, kv: t.stages.axis('kv', { kind: 'span', most, longest: of }), most }
    },
    flops: none,
  },
}

/** The length of a set's longest span; null if its units are no spans. */
function longestOf({ kv }: SetType): Expr | null {
  if (kv.units.kind === 'span') return kv.units.longest
  return kv.units.kind === 'units' ? longestOf(setOf(kv.units.of)) : null
}

/** All visible cells at most. */
const setLike = (t: Typing, { share, q, kv }: ScoresType): SetType => ({
  kind: 'set',
  share,
  q,
  kv,
  sorted: 'index',
  most: t.sizes.units(kv),
})

/** What a choice from scores is: `amount` has one number for each row, or for several. */
function chosenFrom(t: Typing, scores: ScoresType, amount: ScoresType, per: Args['topK']['per']): SetType {
  if (amount.kv.units.kind !== 'whole')
    return misfit('stage-argument', {
      word: 'the amount',
      wanted: 'a number, or one for each row of the scores',
      got: `scores over ${printGrouping(amount.kv.units)}`,
    })
  if (!isCoarserShare(amount.share, scores.share))
    return misfit('stage-heads', { first: scores.share, second: amount.share })
  if (amount.q.units.kind !== 'whole' && !sameUnits(amount.q, scores.q)) {
    const axes = { first: printGrouping(scores.q.units), second: printGrouping(amount.q.units) }
    return misfit('stage-units', axes)
  }
  if (typeof per !== 'string' && nesting(scores.kv.units, per) !== 'inside')
    return misfit('stage-nesting', {
      from: printGrouping(scores.kv.units),
      to: printGrouping(per),
      how: 'per',
    })
  return setLike(t, scores)
}

/** The first operand's units; what the others hold besides is asked of pairs of tokens. */
function algebra(t: Typing, src: readonly StageNode[]): SetType {
  const [first, ...rest] = src.map(setOf) as [SetType, ...SetType[]]
  let { share, most } = first
  let axes: { q: Axis; kv: Axis } = first
  for (const [i, next] of rest.entries()) {
    const joined = join(share, next.share)
    share = joined
    most = t.sizes.sum(most, next.most)
    // A predicate speaks of positions, whatever their order.
    if (src[0]!.word === 'pairs' && i === 0) axes = next
  }
  return { ...first, ...axes, share, most: src.length === 1 ? first.most : most, sorted: 'index' }
}

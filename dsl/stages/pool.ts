/** pool: rows, scores or a set over fine units in, the same over coarser ones, or other ones, out. */

import { describe, patternError } from '../messages.ts'
import { isCoarser, sharerAt, type Call, type Coarser, type Share } from './call.ts'
import { checkKind, isKind, nameOf } from './check.ts'
import { cutUnits, type Grouping } from './groupings.ts'
import {
  concatenatedRows,
  pooledRows,
  pooledScores,
  pooledSet,
  type PoolPair,
  type Reduce,
  type Vote,
} from './pooling.ts'
import type { Rows } from './rows.ts'
import type { Scores } from './scores.ts'
import { cellForm, chosenUnits, isOffsets, type AnySet, type Sel } from './sets.ts'
import { sameUnits, type Grain, type Offsets, type Order, type Side, type Unit, type Units } from './units.ts'

/** An axis cut by a grouping, or into the units of a set. */
type To<A extends Units, U> =
  U extends Sel<Share, Units, infer K>
    ? K
    : U extends Grouping<infer G>
      ? A extends Units<infer S, Grain, infer O>
        ? Units<S, G, O>
        : never
      : A
type At<T, N extends string, A extends Units> = T extends { readonly [_ in N]: infer U } ? To<A, U> : A
type ShareOf<T, H extends Share> = T extends { readonly share: infer S extends Share } ? S : H
/** Lines of distances, drawn for groups of queries, are keys: runs of them. */
type Drawn<T, K> = T extends { readonly q: unknown }
  ? K extends Offsets<infer G, infer O>
    ? Units<'kv', G, O>
    : K
  : K
interface Target<H extends Share> {
  readonly q?: Grouping
  readonly kv?: Grouping | Sel<Share, Units, Units>
  readonly share?: Coarser<H>
}
type Exact<T, S> = T & { readonly [P in Exclude<keyof T, keyof S>]: never }

/**
 * Reduces members to units.
 *
 * - Rows: `sum`, `mean`, `max` or `min` of the vectors of a unit's members, or all of them one behind the
 *   other ('concat', where units have equally many). `of` leaves members out. A mean divides by how many
 *   there are: the zero-padded mean of other programs is the sum divided by the block's size.
 * - Scores: the same on a matrix, along any of its axes: `{ q: blocks(64) }`, `{ kv: whole }`, `{ share:
 *   'kvHead' }`, or several at once. A source unit that straddles units gives each the fraction of its
 *   tokens to sums and means; a finer unit repeats what it lies in. `of` leaves cells out. A cell over
 *   coarser units is visible if the mask allows one of its pairs of tokens; with the same units, if a
 *   visible cell goes into it.
 * - Sets: 'any' or 'all' of the visible cells that share tokens with a unit pair: votes of rows, of a group
 *   of heads, of a tile. Distances, drawn for blocks of queries, become keys.
 *
 * With `{ kv: set }` the units are those that another selection chose, which may be each query unit's own.
 * A unit without members sums to 0, and its greatest and least are -Infinity; rows without are 0.
 *
 * @throws PatternError `bad-reduction`, `ragged-concat`, `units-per-sharer`, `no-units`, `bad-offsets`
 * @example pool(K, blocks(64), 'mean')
 * @example pool(dot(Q, kMean), { share: 'kvHead' }, 'sum')
 * @example pool(chosen, { q: blocks(128) }, 'any')
 */
export function pool<H extends Share, A extends Units, G extends Grain>(
  x: Rows<H, A>,
  by: Grouping<G>,
  how: Reduce | 'concat',
  of?: (unit: Unit) => boolean,
): Rows<H, To<A, Grouping<G>>>
export function pool<H extends Share, Q extends Units, K extends Units, const T extends Target<H>>(
  s: Scores<H, Q, K>,
  to: Exact<T, Target<H>>,
  how: Reduce,
  of?: (ix: PoolPair) => boolean,
): Scores<ShareOf<T, H>, At<T, 'q', Q>, At<T, 'kv', K>>
export function pool<H extends Share, Q extends Units, K extends Units, const T extends Target<H>>(
  set: Sel<H, Q, K>,
  to: Exact<T, Target<H>>,
  how: Vote,
): Sel<ShareOf<T, H>, At<T, 'q', Q>, At<T, 'kv', Drawn<T, K>>>
export function pool(
  value: Rows | Scores | AnySet,
  to: Grouping | Target<Share>,
  how: string,
  of?: (x: never) => boolean,
): Rows | Scores | AnySet {
  if (isKind(value, 'rows')) {
    const x = value as Rows
    checkKind('pool', to, 'grouping')
    const by = to as Grouping
    const units = cutUnits(by, x.units, x.call, x.share)
    const filter = of as (unit: Unit) => boolean
    const word = reduction(how, ['sum', 'mean', 'max', 'min', 'concat'])
    return word === 'concat'
      ? concatenatedRows(x, units, by.size, filter)
      : pooledRows(x, units, word, filter)
  }
  if (isKind(value, 'scores')) {
    const s = value as Scores
    const target = targetOf(s, to as Target<Share>, s.call)
    return pooledScores(
      s,
      target,
      reduction(how, ['sum', 'mean', 'max', 'min']),
      of as (ix: PoolPair) => boolean,
    )
  }
  checkKind('pool', value, 'set')
  const set = cellForm('pool', value as AnySet, null)
  return pooledSet(set, targetOf(set, to as Target<Share>, set.body.call), reduction(how, ['any', 'all']))
}

function reduction<const W extends string>(how: string, known: readonly W[]): W {
  const found = known.find((word) => word === how)
  if (found === undefined) throw patternError('bad-reduction', { got: describe(how), known })
  return found
}

/** The axes and the share that scores or a set are pooled to. */
function targetOf(s: Scores | Sel, to: Target<Share>, call: Call): { q: Units; kv: Units; share: Share } {
  const { q = null, kv = null, share = s.share } = to as Target<Share> & { readonly share?: Share }
  if (!isCoarser(share, s.share))
    throw patternError('shares-differ', { word: 'pool', first: s.share, second: share })
  const axis = (by: Grouping | AnySet | null, from: Units): Units => {
    if (by === null) return from
    if (isKind(by, 'grouping')) {
      const grouping = by as Grouping
      if (isOffsets(from) && grouping.grain !== 'whole')
        throw patternError('bad-offsets', { grain: grouping.grain })
      return cutUnits<Side, Grain, Order>(grouping, from, call, s.share)
    }
    return chosenUnits('pool', by as AnySet, to.q ? axis(to.q, s.q) : s.q, s.share, call)
  }
  const made = { q: axis(q, s.q), kv: axis(kv, s.kv) }
  if (made.q !== s.q && made.kv === s.kv && s.kv.lists.some((rows) => rows.length > 1)) {
    throw patternError('units-per-query', { units: nameOf(s.kv) })
  }
  return { q: sharedBy(made.q, s.share, share, call), kv: sharedBy(made.kv, s.share, share, call), share }
}

/** An axis as a coarser level sees it: its sharers must have cut it alike. */
function sharedBy(axis: Units, from: Share, to: Share, call: Call): Units {
  if (from === to || (axis.lists.length === 1 && axis.line.length <= 1)) return axis
  const groups: number[] = []
  axis.lists.forEach((_, at) => (groups[sharerAt(to, from, at, call)] ??= at))
  const alike = axis.lists.every((list, at) => {
    const first = axis.lists[groups[sharerAt(to, from, at, call)]!]!
    return sameUnits({ ...axis, lists: [list] }, { ...axis, lists: [first] })
  })
  if (!alike) throw patternError('units-per-sharer', { share: to, units: nameOf(axis) })
  return {
    ...axis,
    lists: groups.map((at) => axis.lists[at]!),
    line: groups.map((at) => axis.line[at] ?? axis.line[0]!),
  }
}

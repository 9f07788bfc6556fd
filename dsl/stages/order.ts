/** argsort and permute: scores in, an order of one side's tokens out, and rows in that order. */

import { patternError } from '../messages.ts'
import { sharerAt, sharersOf, type Call, type Join, type Share } from './call.ts'
import { checkCall, checkJoin, checkKind, nameOf } from './check.ts'
import { cutUnits, type Grouping } from './groupings.ts'
import { axisFor, rowsOf, vectorOf, type Rows } from './rows.ts'
import { VISIBLE, type Scores } from './scores.ts'
import { members, unitsAt, type Grain, type Order, type Side, type Units } from './units.ts'

/** An order of one side's tokens for each sharer. */
export interface Permutation<H extends Share = Share, S extends Side = Side> {
  readonly kind: 'order'
  readonly call: Call
  readonly share: H
  readonly side: S
  /** By sharer: the position of the token that stands at each place. */
  readonly tokens: readonly (readonly number[])[]
}

/**
 * The order of the tokens by their scores, smallest first unless `descending`; equal ones keep the
 * sequence's order. With `per`, the tokens of each unit are put in order among themselves. Invisible tokens
 * and NaN count as -Infinity.
 *
 * @throws PatternError `units-differ`
 */
export function argsort<H extends Share, A extends Units<Side, 'token', 'natural'>>(
  s: Scores<H, Units, A>,
  options: { readonly descending?: boolean; readonly per?: Grouping } = {},
): Permutation<H, A['side']> {
  checkKind('argsort', s, 'scores')
  const { call, share, kv } = s
  const { descending = false, per } = options
  if (s.values.some((rows) => rows.length !== 1) || kv.grain !== 'token' || kv.order !== 'natural') {
    throw patternError('units-differ', { word: 'argsort', side: 'q', first: nameOf(s.q), second: nameOf(kv) })
  }
  const groups = per && cutUnits<Side, Grain, Order>(per, kv, call, share)
  const tokens = s.values.map((rows, at) => {
    const value = new Map(
      unitsAt(kv, at).map((unit, column) => {
        const shown = s.visible[at]![0]![column] === VISIBLE && !Number.isNaN(rows[0]![column]!)
        return [unit.first, shown ? rows[0]![column]! : -Infinity] as const
      }),
    )
    const sorted = (positions: readonly number[]): readonly number[] =>
      positions.toSorted((a, b) => {
        const [x, y] = [value.get(a) ?? -Infinity, value.get(b) ?? -Infinity]
        return descending ? Number(x < y) - Number(x > y) : Number(x > y) - Number(x < y)
      })
    return groups ? unitsAt(groups, at).flatMap((g) => sorted(g.tokens)) : sorted([...value.keys()])
  })
  return { kind: 'order', call, share, side: kv.side, tokens }
}

/**
 * Rows in another order. Units know the positions that their tokens have in the sequence, so that the mask
 * and causality stay what they were. An order of query heads makes kv rows the rows of query heads.
 *
 * @throws PatternError `orders-differ`, `shares-differ`
 */
export function permute<H extends Share, S extends Side, H2 extends Share>(
  x: Rows<H, Units<S, 'token', 'natural'>>,
  order: Permutation<H2, S>,
): Rows<Join<H, H2>, Units<S, 'token', 'sorted'>> {
  checkKind('permute', x, 'rows')
  checkKind('permute', order, 'order')
  checkCall('permute', x.call, order.call)
  const { call, units } = x
  const share = checkJoin('permute', x.share, order.share) as Join<H, H2>
  const natural = axisFor(units, x.share, share, call)
  const columnOf = new Map(unitsAt(natural, 0).map((unit, column) => [unit.first, column]))
  const start = unitsAt(natural, 0)[0]?.index ?? 0
  const line = Array.from({ length: sharersOf(share, call) }, (_, at) => {
    const tokens = order.tokens[sharerAt(order.share, share, at, call)]!
    if (
      order.side !== units.side ||
      tokens.length !== columnOf.size ||
      tokens.some((t) => !columnOf.has(t))
    ) {
      throw patternError('orders-differ', { word: 'permute', side: units.side })
    }
    return tokens.map((token, i) => members(start + i, [start + i], [token]))
  })
  const sorted = {
    side: units.side,
    grain: 'token',
    order: 'sorted',
    lists: line.map((l) => [l]),
    line,
  } as const
  return rowsOf(call, share, sorted as Units as Units<S, 'token', 'sorted'>, x.width, (sharer, _, unit) =>
    vectorOf(x, share, sharer.at, columnOf.get(unit.first)!),
  )
}

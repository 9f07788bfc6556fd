/** The words that make scores: of rows, of positions, and of other scores cell by cell or line by line. */

import { describe, patternError } from '../messages.ts'
import { headIndex, type Join, type Share } from './call.ts'
import { checkCall, checkJoin, checkKind, checkUnits, checkWidth, isKind } from './check.ts'
import { axisFor, remade, rowsOf, vectorOf, type Rows } from './rows.ts'
import {
  cellOf,
  scoresOf,
  seen,
  unitPair,
  VISIBLE,
  type Cell,
  type Scores,
  type UnitPair,
  type Visible,
} from './scores.ts'
import { tokenAxis, members, type Unit, type Units, type Whole, type WholeOf } from './units.ts'
import { dotProduct } from './vectors.ts'

/** Scores of the same axes, or whole along some. */
export type Like<Q extends Units, K extends Units> = Scores<
  Share,
  Q | Whole<'q'> | WholeOf<Q>,
  K | Whole<'kv'> | WholeOf<K>
>
type SharedBy<S> = S extends Scores<infer H, Units, Units> ? H : never
/** The scores of rows whose heads correspond; of others, a type that no word takes. */
type Dotted<A extends Share, B extends Share, Q extends Units, K extends Units> = [Join<A, B>] extends [never]
  ? { readonly error: 'these heads do not correspond' }
  : Scores<Join<A, B>, Q, K>

export interface DotOptions {
  /** What inner products are multiplied with; 1 unless given. */
  readonly scale?: number
  /**
   * Which pairs of units are visible: those with `any` pair of tokens that the mask allows (the default),
   * those whose pairs it allows `all`, or every pair, with the mask switched `off`.
   */
  readonly visible?: Visible
}

/** The axis of one unit that all tokens of an axis's side make. */
export function wholeOf<A extends Units>(axis: A): WholeOf<A> {
  const lists = axis.line.map((line) => [
    [
      members(
        0,
        line.flatMap((u) => u.places),
        line.flatMap((u) => u.tokens),
      ),
    ],
  ])
  return { side: axis.side, grain: 'whole', order: axis.order, lists, line: axis.line } as Units as WholeOf<A>
}

/**
 * Inner products of query rows and key rows, not scaled unless `scale` says so. A query head meets the kv
 * head that it reads.
 *
 * @throws PatternError `shares-differ`, `widths-differ`, `bad-visible`
 */
export function dot<H extends Share, Q extends Units, H2 extends Share, K extends Units>(
  a: Rows<H, Q>,
  b: Rows<H2, K>,
  { scale = 1, visible = 'any' }: DotOptions = {},
): Dotted<H, H2, Q, K> {
  checkKind('dot', a, 'rows')
  checkKind('dot', b, 'rows')
  checkCall('dot', a.call, b.call)
  const share = checkJoin('dot', a.share, b.share)
  checkWidth('dot', a.width, b.width)
  if (!['any', 'all', 'off'].includes(visible)) throw patternError('bad-visible', { got: describe(visible) })
  const [q, kv] = [axisFor(a.units, a.share, share, a.call), axisFor(b.units, b.share, share, a.call)]
  // Sides are what the types say, unless rows of one side meet on purpose, as hash planes do: those have no mask.
  const rule = a.units.side === 'q' && b.units.side === 'kv' ? visible : 'off'
  const made = scoresOf(a.call, share, q, kv, ({ sharer, row, column, q, kv }) => ({
    value: scale * dotProduct(vectorOf(a, share, sharer.at, row), vectorOf(b, share, sharer.at, column)),
    visible: seen(rule, sharer, q, kv),
  }))
  return made as Scores as Dotted<H, H2, Q, K>
}

/**
 * A number for each unit of the rows' axis, from its position and the pattern's tables: a vector, as
 * np.fromfunction makes one. Every cell is visible.
 */
export function values<H extends Share, A extends Units>(
  x: Rows<H, A>,
  f: (unit: Unit, ix: { readonly batch: number; readonly head: number; readonly kvHead: number }) => number,
): Scores<H, Whole<'q'>, A> {
  checkKind('values', x, 'rows')
  const { call } = x
  const q = wholeOf(tokenAxis('q', call.qStart, call.qLen))
  return scoresOf(call, x.share, q, x.units, ({ sharer, kv }) => ({
    value: f(kv, { batch: call.batch, ...headIndex(sharer) }),
    visible: VISIBLE,
  }))
}

/**
 * A function of every channel, or of every visible cell. A second and third operand have the same axes or are
 * whole along some, as NumPy broadcasts; the result has the finer share, and a cell is visible where it is in
 * every operand. `ix` tells the units, head and kvHead of a cell.
 *
 * A cell that becomes -Infinity or NaN stays visible to pool(), but can only be selected by force.
 *
 * @throws PatternError `units-differ`, `shares-differ`, `widths-differ`
 */
export function map<H extends Share, A extends Units>(
  x: Rows<H, A>,
  f: (x: number, channel: number) => number,
): Rows<H, A>
export function map<H extends Share, A extends Units, H2 extends Share>(
  x: Rows<H, A>,
  y: Rows<H2, A | WholeOf<A>>,
  f: (x: number, y: number) => number,
): Rows<Join<H, H2>, A>
export function map<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  f: (s: number, ix: UnitPair) => number,
): Scores<H, Q, K>
export function map<
  H extends Share,
  Q extends Units,
  K extends Units,
  T extends Like<NoInfer<Q>, NoInfer<K>>,
>(
  s: Scores<H, Q, K>,
  t: T,
  f: (s: number, t: number, ix: UnitPair) => number,
): Scores<Join<H, SharedBy<T>>, Q, K>
export function map<
  H extends Share,
  Q extends Units,
  K extends Units,
  T extends Like<NoInfer<Q>, NoInfer<K>>,
  U extends Like<NoInfer<Q>, NoInfer<K>>,
>(
  s: Scores<H, Q, K>,
  t: T,
  u: U,
  f: (s: number, t: number, u: number, ix: UnitPair) => number,
): Scores<Join<Join<H, SharedBy<T>>, SharedBy<U>>, Q, K>
export function map(first: Rows | Scores, ...rest: readonly unknown[]): Rows | Scores {
  const f = rest.at(-1)
  if (typeof f !== 'function')
    throw patternError('bad-value', { word: 'map', due: 'a function', got: describe(f) })
  const others = rest.slice(0, -1)
  if (isKind(first, 'rows')) {
    for (const x of others) checkKind('map', x, 'rows')
    return mapRows([first as Rows, ...(others as Rows[])], f as (...xs: readonly number[]) => number)
  }
  for (const x of [first, ...others]) checkKind('map', x, 'scores')
  const operands = [first as Scores, ...(others as Scores[])]
  const apply = f as (...xs: readonly (number | UnitPair)[]) => number
  return zip('map', operands, (xs, ix) => apply(...xs, ix()))
}

function mapRows(operands: readonly Rows[], f: (...xs: readonly number[]) => number): Rows {
  const [x, y] = [operands[0]!, operands[1]]
  if (!y) return remade(x, (vector) => vector.map((v, c) => f(v, c)))
  checkCall('map', x.call, y.call)
  const share = checkJoin('map', x.share, y.share)
  const spread = y.units.grain === 'whole'
  const axis = axisFor(x.units, x.share, share, x.call)
  if (!spread) checkUnits('map', axis, axisFor(y.units, y.share, share, x.call))
  checkWidth('map', x.width, y.width)
  return rowsOf(x.call, share, axis, x.width, ({ at: s }, at) => {
    const [a, b] = [vectorOf(x, share, s, at), vectorOf(y, share, s, spread ? 0 : at)]
    return a.map((v, c) => f(v, b[c]!))
  })
}

/**
 * Scores of every cell of the first operand and those cells of the others that broadcasting puts beside it.
 */
export function zip(
  word: string,
  operands: readonly Scores[],
  f: (xs: readonly number[], ix: () => UnitPair) => number,
): Scores {
  const first = operands[0]!
  const { call } = first
  const share = operands.reduce<Share>((share, s) => checkJoin(word, share, s.share), first.share)
  const axes = {
    q: axisFor(first.q, first.share, share, call),
    kv: axisFor(first.kv, first.share, share, call),
  }
  for (const s of operands.slice(1)) {
    checkCall(word, call, s.call)
    for (const side of ['q', 'kv'] as const) {
      if (s[side].grain !== 'whole') checkUnits(word, axes[side], axisFor(s[side], s.share, share, call))
    }
  }
  return scoresOf(call, share, axes.q, axes.kv, (place): Cell => {
    const cells = operands.map((s) => cellOf(s, share, place))
    const hidden = cells.find((c) => c.visible !== VISIBLE)
    if (hidden) return hidden
    return {
      value: f(
        cells.map((c) => c.value),
        () => unitPair(place),
      ),
      visible: VISIBLE,
    }
  })
}

/** Each line of a sharer's query unit made anew from its visible cells; NaN counts as -Infinity. */
function byLine<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  f: (visible: readonly { readonly column: number; readonly value: number }[]) => (column: number) => number,
): Scores<H, Q, K> {
  const values = s.values.map((rows, at) =>
    rows.map((line, row) => {
      const shown = [...line].flatMap((value, column) =>
        s.visible[at]![row]![column] === VISIBLE
          ? [{ column, value: Number.isNaN(value) ? -Infinity : value }]
          : [],
      )
      const valueAt = f(shown)
      const out = new Float64Array(line.length).fill(-Infinity)
      for (const { column } of shown) out[column] = valueAt(column)
      return out
    }),
  )
  return { ...s, values }
}

/**
 * Probabilities over the visible key units of each sharer's query unit. A unit that sees none, or nothing
 * above -Infinity, gives 0 everywhere.
 */
export function softmax<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
): Scores<H, Q, K> {
  checkKind('softmax', s, 'scores')
  return byLine(s, (visible) => {
    const top = visible.reduce((a, b) => Math.max(a, b.value), -Infinity)
    const weights = new Map(visible.map(({ column, value }) => [column, Math.exp(value - top)]))
    const sum = [...weights.values()].reduce((a, b) => a + b, 0)
    return (column) => (top === -Infinity ? 0 : weights.get(column)! / sum)
  })
}

/**
 * The number of the greatest visible cell's key unit for each query unit, the lower one of equals; -1 where
 * no cell is above -Infinity.
 */
export function argmax<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
): Scores<H, Q, WholeOf<K>> {
  checkKind('argmax', s, 'scores')
  return scoresOf(s.call, s.share, s.q, wholeOf(s.kv), ({ sharer, row }) => {
    const line = s.values[sharer.at]![row]!
    const best = line.reduce((best, v, i) => (v > (best < 0 ? -Infinity : line[best]!) ? i : best), -1)
    return { value: best < 0 ? -1 : unitIndex(s.kv, sharer.at, row, best), visible: VISIBLE }
  })
}

const unitIndex = (axis: Units, sharer: number, row: number, at: number): number => {
  const rows = axis.lists[axis.lists.length === 1 ? 0 : sharer]!
  return rows[rows.length === 1 ? 0 : row]![at]!.index
}

/** The axes of stage values: a side of the attention matrix cut into units, each with its tokens. */

export type Side = 'q' | 'kv'
export type Grain =
  | 'token'
  | 'block'
  | 'window'
  | 'chunk'
  | 'cluster'
  | 'residue'
  | 'span'
  | 'offset'
  | 'whole'
export type Order = 'natural' | 'sorted'

/** What a pattern's functions see of a unit. */
export interface Unit {
  /**
   * The unit's number, counted from token 0 of the sequence: block 3 of 64 holds tokens 192 to 255, whatever
   * part of the sequence the queries are. Of a token, its place in the axis's order; of an offset, the
   * distance.
   */
  readonly index: number
  /** The smallest position of its tokens, in the sequence's own order. */
  readonly first: number
  /** The greatest position of its tokens. */
  readonly last: number
  /** How many tokens it holds: those that exist, so the last block of a ragged length has fewer. */
  readonly length: number
}

/** A unit with its tokens: their places along the axis, and their positions in the sequence. */
export interface Members extends Unit {
  readonly places: readonly number[]
  readonly tokens: readonly number[]
}

/** An axis. Its type says side, grain and order; two axes of one type may still be cut differently. */
export interface Units<S extends Side = Side, G extends Grain = Grain, O extends Order = Order> {
  readonly side: S
  readonly grain: G
  readonly order: O
  /** By sharer, then by query unit: its units. A list of length one serves all. */
  readonly lists: readonly (readonly (readonly Members[])[])[]
  /** By sharer: every token of the side, in this axis's order; what a grouping cuts. */
  readonly line: readonly (readonly Members[])[]
}

export type QTokens = Units<'q', 'token', 'natural'>
export type KvTokens = Units<'kv', 'token', 'natural'>
export type Whole<S extends Side> = Units<S, 'whole', 'natural'>
export type WholeOf<A extends Units> = A extends Units<infer S, Grain, infer O> ? Units<S, 'whole', O> : never
export type OrderOf<A> = A extends Units<Side, Grain, infer O> ? O : never

/** The distances between query units and key units of grain `of`. */
export interface Offsets<G extends Grain = Grain, O extends Order = Order> extends Units<'kv', 'offset', O> {
  readonly of: Units<'kv', G, O>
}

const one = <T>(list: readonly T[], at: number): T => list[list.length === 1 ? 0 : at]!

/** The units along an axis, as the sharer's query unit sees them. */
export const unitsAt = (axis: Units, sharer: number, row = 0): readonly Members[] =>
  one(one(axis.lists, sharer), row)

/** An axis of tokens in the sequence's order: start, start + 1, .. */
export function tokenAxis<S extends Side>(
  side: S,
  start: number,
  length: number,
): Units<S, 'token', 'natural'> {
  const line = Array.from({ length }, (_, i) => members(start + i, [start + i]))
  return { side, grain: 'token', order: 'natural', lists: [[line]], line: [line] }
}

/** An axis whose units hold no tokens of their own and are the same for all, as distances are. */
export const evenly = <S extends Side, G extends Grain, O extends Order>(
  side: S,
  grain: G,
  order: O,
  units: readonly Members[],
): Units<S, G, O> => ({ side, grain, order, lists: [[units]], line: [[]] })

export function members(
  index: number,
  places: readonly number[],
  tokens: readonly number[] = places,
): Members {
  const first = tokens.reduce((a, b) => Math.min(a, b), Infinity)
  const last = tokens.reduce((a, b) => Math.max(a, b), -Infinity)
  const length = tokens.length
  // A unit without tokens stands nowhere; -1 keeps comparisons with positions false.
  return { index, first: length > 0 ? first : -1, last: length > 0 ? last : -1, length, places, tokens }
}

const sameList = (a: readonly Members[], b: readonly Members[]): boolean =>
  a === b ||
  (a.length === b.length &&
    a.every((u, i) => {
      const v = b[i]!
      return u === v || (u.index === v.index && sameNumbers(u.tokens, v.tokens))
    }))

const sameNumbers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((x, i) => x === b[i])

/** Whether two axes are cut into the same units, for all their sharers and query units. */
export function sameUnits(a: Units, b: Units): boolean {
  if (a.lists === b.lists) return true
  if (a.side !== b.side || a.grain !== b.grain || a.order !== b.order) return false
  const sharers = Math.max(a.lists.length, b.lists.length)
  return Array.from({ length: sharers }, (_, s) => [one(a.lists, s), one(b.lists, s)] as const).every(
    ([x, y]) => {
      const rows = Math.max(x.length, y.length)
      return Array.from({ length: rows }, (_, r) => sameList(one(x, r), one(y, r))).every(Boolean)
    },
  )
}

/** A source unit that shares tokens with a target, and the fraction of the source's tokens that lie in it. */
export interface Overlap {
  readonly source: number
  readonly fraction: number
}

/** For each target unit, the source units that go into it. `all` takes every source unit whole. */
export function overlaps(source: readonly Members[], target: readonly Members[], all: boolean): Overlap[][] {
  if (all) return target.map(() => source.map((_, i) => ({ source: i, fraction: 1 })))
  const holding = new Map<number, number[]>()
  source.forEach((unit, i) => {
    for (const place of unit.places) holding.set(place, [...(holding.get(place) ?? []), i])
  })
  return target.map((unit) => {
    const shared = new Map<number, number>()
    for (const place of unit.places) {
      for (const i of holding.get(place) ?? []) shared.set(i, (shared.get(i) ?? 0) + 1)
    }
    return [...shared]
      .toSorted(([a], [b]) => a - b)
      .map(([i, count]) => ({ source: i, fraction: count / source[i]!.length }))
  })
}

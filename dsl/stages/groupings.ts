/** The ways to cut an axis: the tokens of a side in, units with their members out. */

import { patternError } from '../messages.ts'
import { sharersOf, type Call, type Share, type Sharer } from './call.ts'
import { checkSize } from './check.ts'
import { indexed, type ForwardTable } from './inputs.ts'
import { members, type Grain, type Members, type Order, type Side, type Units } from './units.ts'

/** A way to cut an axis into units. */
export interface Grouping<G extends Grain = Grain> {
  readonly kind: 'grouping'
  readonly grain: G
  /** How many tokens every unit has, where that is fixed. */
  readonly size: number | null
  /** The units, each as the places of its tokens; `places` are those that the axis has, ascending. */
  readonly cut: (places: readonly number[], sharer: Sharer) => readonly Cut[]
}

interface Cut {
  readonly index: number
  readonly places: readonly number[]
}

/** Units of the places that `of` gives the same number, in the numbers' order. */
const byNumber =
  (numberOf: (place: number) => number) =>
  (places: readonly number[]): readonly Cut[] => {
    const groups = new Map<number, number[]>()
    for (const place of places) {
      const index = numberOf(place)
      const group = groups.get(index)
      if (group) group.push(place)
      else groups.set(index, [place])
    }
    return [...groups].toSorted(([a], [b]) => a - b).map(([index, places]) => ({ index, places }))
  }

/** Each token a unit of its own. */
export const tokens: Grouping<'token'> = {
  kind: 'grouping',
  grain: 'token',
  size: 1,
  cut: byNumber((place) => place),
}

/** The whole axis as one unit, which is there even where the axis has no token. */
export const whole: Grouping<'whole'> = {
  kind: 'grouping',
  grain: 'whole',
  size: null,
  cut: (places) => [{ index: 0, places }],
}

/**
 * Blocks of `size` tokens, cut from token 0 of the sequence: block b holds tokens b size to (b + 1) size - 1,
 * those of them that exist. Queries that begin inside a block make their first unit a part of that block, so
 * that block numbers of queries and keys compare.
 *
 * @throws PatternError `bad-size`
 */
export function blocks(size: number): Grouping<'block'> {
  checkSize('blocks', 'size', size)
  return { kind: 'grouping', grain: 'block', size: null, cut: byNumber((place) => Math.floor(place / size)) }
}

/**
 * Windows of `size` tokens, one every `step`: window w holds tokens w step to w step + size - 1. They overlap
 * where `step` is less than `size`. A window that does not fit whole does not exist.
 *
 * @throws PatternError `bad-size`
 */
export function windows(size: number, step: number): Grouping<'window'> {
  checkSize('windows', 'size', size)
  checkSize('windows', 'step', step)
  const cut = (places: readonly number[]): readonly Cut[] => {
    const there = new Set(places)
    const last = places.at(-1) ?? -1
    const all = Array.from({ length: Math.max(0, Math.floor((last + 1 - size) / step) + 1) }, (_, w) => ({
      index: w,
      places: Array.from({ length: size }, (_, i) => w * step + i),
    }))
    return all.filter((w) => w.places.every((place) => there.has(place)))
  }
  return { kind: 'grouping', grain: 'window', size, cut }
}

/**
 * Chunks of given lengths: `ends[c]` is one past the last token of chunk c, and the next begins there. Chunks
 * without a token do not exist; neither do tokens behind the last end.
 *
 * @param ends a table of one dim, or of a head level or batch and one dim; its values never decrease
 * @throws PatternError `table-shape`, `bad-chunks`
 */
export function chunks(ends: ForwardTable): Grouping<'chunk'> {
  const cut = (places: readonly number[], sharer: Sharer): readonly Cut[] => {
    const { at, length } = indexed('chunks', ends, sharer)
    const end = Array.from({ length }, (_, c) => at(c))
    const falls = end.findIndex((e, c) => c > 0 && e < end[c - 1]!)
    if (falls >= 0) throw patternError('bad-chunks', { at: falls, before: end[falls - 1]!, got: end[falls]! })
    return byNumber((place) => {
      const chunk = end.findIndex((e) => place < e)
      return chunk < 0 ? length : chunk
    })(places).filter(({ index }) => index < length)
  }
  return { kind: 'grouping', grain: 'chunk', size: null, cut }
}

/**
 * Clusters by label: unit c holds the tokens whose `labels` entry is c, wherever they stand. A negative label
 * is no cluster's.
 *
 * @param labels a table over the positions of the axis, or of a head level or batch and positions
 * @throws PatternError `table-shape`
 */
export function clusters(labels: ForwardTable): Grouping<'cluster'> {
  const cut = (places: readonly number[], sharer: Sharer): readonly Cut[] => {
    const { at } = indexed('clusters', labels, sharer)
    return byNumber(at)(places).filter(({ index }) => index >= 0)
  }
  return { kind: 'grouping', grain: 'cluster', size: null, cut }
}

/**
 * Residue classes: unit r holds the tokens whose place leaves the remainder r when divided by `step`.
 *
 * @throws PatternError `bad-size`
 */
export function residues(step: number): Grouping<'residue'> {
  checkSize('residues', 'step', step)
  return { kind: 'grouping', grain: 'residue', size: null, cut: byNumber((place) => place % step) }
}

/**
 * The tokens of an axis's side, in its order, cut into units; sharers whose order or table is their own get
 * their own.
 */
export function cutUnits<S extends Side, G extends Grain, O extends Order>(
  by: Grouping<G>,
  { side, order, line }: Units<S, Grain, O>,
  call: Call,
  share: Share,
): Units<S, G, O> {
  const cutFor = (at: number): readonly Members[] => {
    const tokens = line[line.length === 1 ? 0 : at]!
    const tokenAt = new Map(tokens.map((unit) => [unit.places[0]!, unit.tokens[0]!]))
    return by.cut([...tokenAt.keys()], { call, share, at }).map(({ index, places }) => {
      const positions = places.map((place) => tokenAt.get(place)!)
      return members(index, places, positions)
    })
  }
  const own = line.length > 1 || by.grain === 'chunk' || by.grain === 'cluster'
  const lists = Array.from({ length: own ? sharersOf(share, call) : 1 }, (_, at) => [cutFor(at)])
  return { side, grain: by.grain, order, lists, line }
}

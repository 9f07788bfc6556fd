/** How pool() reduces: members and the units they go into in, one value a unit out. */

import { patternError } from '../messages.ts'
import { sharerAt, sharersOf, type Call, type Share, type Sharer } from './call.ts'
import { rowsOf, type Rows } from './rows.ts'
import {
  HIDDEN,
  OUTSIDE,
  scoresOf,
  seen,
  unitPair,
  VISIBLE,
  type Scores,
  type UnitPair,
  type Visibility,
} from './scores.ts'
import { cellsOf, isOffsets, meets, membership, type cellForm, type Sel } from './sets.ts'
import { overlaps, unitsAt, type Members, type Overlap, type Unit, type Units } from './units.ts'

export type Reduce = 'sum' | 'mean' | 'max' | 'min'
export type Vote = 'any' | 'all'

/** What a filter of cells sees: the source cell's units, and those it would go into. */
export interface PoolPair extends UnitPair {
  readonly into: { readonly q: Unit; readonly kv: Unit }
}

interface Part {
  readonly value: number
  readonly fraction: number
}

function reduce(parts: readonly Part[], how: Reduce): number {
  if (how === 'max' || how === 'min') {
    if (parts.length === 0) return -Infinity
    const pick = how === 'max' ? Math.max : Math.min
    return parts.reduce((best, { value }) => pick(best, value), how === 'max' ? -Infinity : Infinity)
  }
  const sum = parts.reduce((sum, { value, fraction }) => sum + value * fraction, 0)
  if (how === 'sum' || parts.length === 0) return sum
  return sum / parts.reduce((count, { fraction }) => count + fraction, 0)
}

export function pooledRows<H extends Share>(
  x: Rows<H>,
  units: Units,
  how: Reduce,
  of: (unit: Unit) => boolean = () => true,
): Rows<H> {
  return rowsOf(x.call, x.share, units, x.width, ({ at: s }, at) => {
    const source = unitsAt(x.units, s)
    const parts = overlapsOf(source, unitsAt(units, s), units.grain)[at]!.filter((p) => of(source[p.source]!))
    return Float64Array.from({ length: x.width }, (_, c) => {
      const channel = parts.map((p) => ({ value: x.vectors[s]![p.source]![c]!, fraction: p.fraction }))
      return channel.length === 0 ? 0 : reduce(channel, how)
    })
  })
}

/**
 * The members' vectors one behind the other.
 *
 * @param size how many members a unit has where the grouping fixes it, so that no unit at all has a width
 */
export function concatenatedRows<H extends Share>(
  x: Rows<H>,
  units: Units,
  size: number | null,
  of: (unit: Unit) => boolean = () => true,
): Rows<H> {
  const partsOf = (s: number): number[][] => {
    const source = unitsAt(x.units, s)
    return overlapsOf(source, unitsAt(units, s), units.grain).map((parts) =>
      parts.map((p) => p.source).filter((i) => of(source[i]!)),
    )
  }
  const counts = x.vectors.flatMap((_, s) => partsOf(s).map((parts) => parts.length))
  if (new Set(counts).size > 1)
    throw patternError('ragged-concat', { counts: partsOf(0).map((p) => p.length) })
  return rowsOf(x.call, x.share, units, x.width * (counts[0] ?? size ?? 0), ({ at: s }, at) =>
    Float64Array.from(partsOf(s)[at]!.flatMap((i) => [...x.vectors[s]![i]!])),
  )
}

const memory = new WeakMap<readonly Members[], WeakMap<readonly Members[], Overlap[][]>>()

/** As overlaps(), each pair of lists worked out once. */
function overlapsOf(source: readonly Members[], target: readonly Members[], grain: string): Overlap[][] {
  const known = memory.get(source) ?? new WeakMap<readonly Members[], Overlap[][]>()
  memory.set(source, known)
  const found = known.get(target) ?? overlaps(source, target, grain === 'whole')
  known.set(target, found)
  return found
}

/** Which sharers of a finer level go into one of a coarser. */
const sharersIn = (coarse: Share, fine: Share, at: number, call: Call): readonly number[] =>
  Array.from({ length: sharersOf(fine, call) }, (_, s) => s).filter(
    (s) => sharerAt(coarse, fine, s, call) === at,
  )

interface Target {
  readonly q: Units
  readonly kv: Units
  readonly share: Share
}

/** Where a source cell lies, and how much of it goes into a target cell. */
interface Source {
  readonly sharer: Sharer
  readonly row: number
  readonly column: number
  readonly fraction: number
}

/** The source cells that share tokens with a target cell. */
function sourcesOf(s: Scores | Sel, call: Call, to: Target) {
  const rowsFor = (at: number): Overlap[][] =>
    s.q === to.q
      ? unitsAt(s.q, at).map((_, i) => [{ source: i, fraction: 1 }])
      : overlapsOf(unitsAt(s.q, at), targetUnits(to.q, at, to.share, s.share, call), to.q.grain)
  const rows = new Map<number, Overlap[][]>()
  return (into: Sharer, row: number, column: number): readonly Source[] =>
    sharersIn(to.share, s.share, into.at, call).flatMap((at) => {
      const sharer = { call, share: s.share, at }
      const inRow = rows.get(at) ?? rowsFor(at)
      rows.set(at, inRow)
      return inRow[row]!.flatMap((q) => {
        const columns =
          s.kv === to.kv
            ? [{ source: column, fraction: 1 }]
            : overlapsOf(unitsAt(s.kv, at, q.source), unitsAt(to.kv, into.at, row), to.kv.grain)[column]!
        return columns.map((kv) => ({
          sharer,
          row: q.source,
          column: kv.source,
          fraction: q.fraction * kv.fraction,
        }))
      })
    })
}

const targetUnits = (
  axis: Units,
  fineAt: number,
  coarse: Share,
  fine: Share,
  call: Call,
): readonly Members[] => unitsAt(axis, sharerAt(coarse, fine, fineAt, call))

export function pooledScores(
  s: Scores,
  to: Target,
  how: Reduce,
  of: ((ix: PoolPair) => boolean) | undefined,
): Scores {
  const sourcesFor = sourcesOf(s, s.call, to)
  const stateOf = ({ sharer, row, column }: Source) => s.visible[sharer.at]![row]![column]! as Visibility
  // With the units unchanged what the scores saw stays seen; other units the mask sees anew, where it can.
  const anew = (s.q !== to.q || s.kv !== to.kv) && !isOffsets(to.kv) && !isOffsets(s.kv)
  return scoresOf(s.call, to.share, to.q, to.kv, ({ sharer, row, column, q, kv }) => {
    const sources = sourcesFor(sharer, row, column)
    const visible = sources.filter((source) => stateOf(source) === VISIBLE)
    const left = visible.length === 0 && sources.some((source) => stateOf(source) === OUTSIDE)
    const state = left ? OUTSIDE : anew ? seen('any', sharer, q, kv) : visible.length > 0 ? VISIBLE : HIDDEN
    if (state !== VISIBLE) return { value: -Infinity, visible: state }
    const parts = visible
      .filter((source) => !of || of({ ...pairOf(s, source), into: { q, kv } }))
      .map((source) => ({
        value: s.values[source.sharer.at]![source.row]![source.column]!,
        fraction: source.fraction,
      }))
    return { value: reduce(parts, how), visible: VISIBLE }
  })
}

const pairOf = (s: Scores, { sharer, row, column }: Source): UnitPair =>
  unitPair({ sharer, q: unitsAt(s.q, sharer.at)[row]!, kv: unitsAt(s.kv, sharer.at, row)[column]! })

/**
 * A set over other units: a target cell by the votes of the visible source cells that share tokens with it.
 */
export function pooledSet(set: ReturnType<typeof cellForm>, to: Target, vote: Vote): Sel {
  const { call, has, visible } = set.body
  if (isOffsets(set.kv) && to.q !== set.q) return drawnLines(set, to, vote)
  const sourcesFor = sourcesOf(set, call, to)
  const votes = (sharer: Sharer, row: number, column: number): readonly boolean[] =>
    sourcesFor(sharer, row, column)
      .filter((source) => visible[source.sharer.at]![source.row]![source.column] === VISIBLE)
      .map((source) => has[source.sharer.at]![source.row]![source.column] === 1)
  return cellsOf(
    call,
    to.share,
    to.q,
    to.kv,
    (sharer, row, column) => {
      const given = votes(sharer, row, column)
      return given.length > 0 && (vote === 'any' ? given.includes(true) : !given.includes(false))
    },
    (sharer, row, column) => (votes(sharer, row, column).length > 0 ? VISIBLE : HIDDEN),
  )
}

/**
 * Distances of single pairs, drawn for blocks of queries: the keys that lie at one of them from a query of
 * the block.
 */
function drawnLines(set: ReturnType<typeof cellForm>, to: Target, vote: Vote): Sel {
  const { call } = set.body
  if (!isOffsets(set.kv)) throw patternError('bad-offsets', { grain: set.kv.grain })
  const member = membership(set, call)
  const kv = set.kv.of
  const keeps = (sharer: Sharer, row: number, column: number): boolean => {
    const [q, unit] = [unitsAt(to.q, sharer.at)[row]!, unitsAt(kv, sharer.at)[column]!]
    const fine = sharersIn(to.share, set.share, sharer.at, call).map((at) => ({ call, share: set.share, at }))
    return vote === 'any'
      ? fine.some((s) => meets(member, s, q, unit))
      : fine.every((s) => q.tokens.every((i) => unit.tokens.every((j) => member(s, i, j))))
  }
  const grid = (sharer: Sharer, row: number, column: number) =>
    seen('any', sharer, unitsAt(to.q, sharer.at)[row]!, unitsAt(kv, sharer.at)[column]!)
  return cellsOf(call, to.share, to.q, kv, (...at) => keeps(...at) && grid(...at) === VISIBLE, grid)
}

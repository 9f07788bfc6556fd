/** attend: queries, keys, values and a set in, the state of exact attention over set and mask out. */

import { patternError } from '../messages.ts'
import { sharerAt, type Call, type Sharer } from './call.ts'
import { checkCall, checkKind, checkSize, checkUnits, checkWidth } from './check.ts'
import { keyMembership, keyRank } from './keys.ts'
import { vectorOf, type Rows } from './rows.ts'
import { seen, unitPair, VISIBLE, type UnitPair, type Visible } from './scores.ts'
import type { AnySet, Sel } from './sets.ts'
import {
  emptyRow,
  meetKeys,
  mergedState,
  rounder,
  stateOf,
  type Held,
  type RowState,
  type State,
} from './state.ts'
import { attendTiles, type TileSizes, type TileTest } from './tiles.ts'
import { record } from './trace.ts'
import {
  sameUnits,
  unitsAt,
  type Grain,
  type Members,
  type OrderOf,
  type Unit,
  type Units,
  type WholeOf,
} from './units.ts'
import { dotProduct, rotated } from './vectors.ts'

/** What a set must speak of to choose among the keys of an axis. */
export type Addresses<K extends Units> =
  K extends Units<'kv', 'token', infer O> ? Units<'kv', Grain, O> : K | WholeOf<K>

export interface AttendOptions {
  /** Goes on with a state: the pairs that it holds are left out, and its softmax is continued. */
  readonly after?: State
  /**
   * Which keys a query sees, where keys are not tokens: those with `any` token that the mask allows (unless
   * given), those it allows `all` of, or all with the mask `off`.
   */
  readonly visible?: Visible
  /** Added to the scaled logit, after the pattern's score: a logarithm of a weight. */
  readonly bias?: (ix: UnitPair) => number
  /**
   * Turns queries and keys by rotary embedding as they are read. `rank` counts the row's kept keys before
   * this one, by position; `kept` is how many there are.
   */
  readonly position?: (ix: {
    readonly q: Unit
    readonly kv: Unit
    readonly rank: number
    readonly kept: number
  }) => readonly [q: number, kv: number]
  /**
   * The tiles that skip and stop decide on, which are part of their meaning: `q` queries by `kv` keys, cut
   * from token 0 of the sequence and visited from the first on. Keys of a list that is sorted by score come
   * after the others, in that order, `kv` at a time.
   */
  readonly tile?: TileSizes
  /** A tile is left out if this is true for each of its queries that sees a key of it. */
  readonly skip?: TileTest
  /** The loop over tiles ends, before a tile, if this is true for each of those queries. */
  readonly stop?: TileTest
}

/**
 * Exact attention of every query over the keys that both the set and the mask keep; over all that the mask
 * keeps, without a set. Logits are scaled inner products, changed by the pattern's score.
 *
 * Keys and values may be any rows over one axis: tokens in any order, or pooled ones, which then are the
 * keys, and the set's units are theirs. The state's rows stand in the sequence's order, whatever order the
 * queries were in; a query that was sliced away has an empty row.
 *
 * @throws PatternError `units-differ`, `orders-differ`, `widths-differ`, `tile-missing`, `bad-size`
 */
export function attend<
  HK extends 'head' | 'kvHead' | 'request',
  Q extends Units<'q', 'token'>,
  K extends Units<'kv'>,
>(
  q: Rows<'head', Q>,
  k: Rows<HK, K>,
  v: Rows<NoInfer<HK>, NoInfer<K>>,
  set?: Sel<'head' | 'kvHead' | 'request', Units<'q', Grain, OrderOf<Q>>, Addresses<NoInfer<K>>>,
  options: AttendOptions = {},
): State {
  for (const x of [q, k, v]) checkKind('attend', x, 'rows')
  if (set !== undefined) checkKind('attend', set, 'set')
  for (const x of [k, v]) checkCall('attend', q.call, x.call)
  checkUnits('attend', k.units, v.units)
  checkWidth('attend', q.width, k.width)
  checkTiles(options)
  const { after } = options
  if (after) checkAfter(after, q, v)
  const made = attendRows(q, k, v, set ?? null, options)
  record(q.call, { word: 'attend', scores: null, set: set ?? null })
  return after ? mergedState(after, made) : made
}

function checkAfter(after: State, q: Rows, v: Rows): void {
  checkKind('attend', after, 'state')
  checkCall('attend', q.call, after.call)
  checkWidth('attend', after.width, v.width)
}

function checkTiles({ tile, skip, stop }: AttendOptions): void {
  if (tile) {
    checkSize('attend', 'tile.q', tile.q)
    checkSize('attend', 'tile.kv', tile.kv)
  } else if (skip || stop) throw patternError('tile-missing', { option: skip ? 'skip' : 'stop' })
}

/** A key that a query attends: its place in the operand, and what softmax needs of it. */
export interface KeptKey {
  readonly column: number
  readonly unit: Members
  /** Where its list is visited by falling score, the place in it. */
  readonly rank: number | null
  readonly logit: number
  readonly value: Float64Array
}

function attendRows(q: Rows, k: Rows, v: Rows, set: AnySet | null, options: AttendOptions): State {
  const { call } = q
  const { width } = v
  const keysFor = keyFinder(q, k, v, set, options)
  const tokens = k.units.grain === 'token'
  const keyCount = tokens ? call.kvLen : Math.max(0, ...k.vectors.map((units) => units.length))
  const heads = Array.from({ length: call.qHeads }, (_, h) => h)
  const peaks = { logitMax: 0, valueMax: 0 }
  const held: Held = {
    units: tokens ? null : k.units,
    keys: heads.map(() => Array.from({ length: call.qLen }, () => new Uint8Array(keyCount))),
  }
  const rows = heads.map((head) => {
    const queries = unitsAt(q.units, head).map((unit, at) => ({ unit, keys: keysFor(head, at, unit) }))
    const states = options.tile
      ? attendTiles(call, head, width, queries, startOf(options, head, call, width), options)
      : queries.map(({ unit, keys }) => ({ unit, keys, state: meetKeys(call, emptyRow(width), keys) }))
    const line: RowState[] = Array.from({ length: call.qLen }, () => emptyRow(width))
    for (const { unit, keys, state } of states) {
      const row = unit.first - call.qStart
      line[row] = state
      for (const key of keys) {
        held.keys[head]![row]![tokens ? key.unit.first : key.column] = 1
        peaks.logitMax = Math.max(peaks.logitMax, Number.isFinite(key.logit) ? Math.abs(key.logit) : 0)
        peaks.valueMax = key.value.reduce((most, x) => Math.max(most, Math.abs(x)), peaks.valueMax)
      }
    }
    return line
  })
  return stateOf(call, width, rows, [held], peaks)
}

/** The rows that tiles are judged by: those of the state before, if there is one. */
const startOf =
  ({ after }: AttendOptions, head: number, call: Call, width: number) =>
  (q: Unit): RowState =>
    after ? after.rows[head]![q.first - call.qStart]! : emptyRow(width)

/** The keys that a query attends, in the operand's order. */
function keyFinder(q: Rows, k: Rows, v: Rows, set: AnySet | null, options: AttendOptions) {
  const { call } = q
  const { after, visible = 'any', bias, position } = options
  const inSet = set && keyMembership(set, q, k)
  const rankOf = set && options.tile ? keyRank(set, call) : null
  const before = (after?.held ?? []).filter(({ units }) =>
    units === null ? k.units.grain === 'token' : sameUnits(units, k.units),
  )
  const round = rounder(call)
  const dot = call.single ? dotSingle : dotProduct
  const scale = round(call.scale)
  return (head: number, at: number, query: Members): readonly KeptKey[] => {
    const sharer: Sharer = { call, share: 'head', at: head }
    const token = query.first
    const row = token - call.qStart
    const units = unitsAt(k.units, sharerAt(k.share, 'head', head, call))
    const kept = units.flatMap((unit, column) => {
      const key = k.units.grain === 'token' ? unit.first : column
      const there =
        seen(visible, sharer, query, unit) === VISIBLE &&
        (inSet?.(sharer, token, key) ?? true) &&
        !before.some(({ keys }) => keys[head]![row]![key] === 1)
      return there ? [{ unit, column }] : []
    })
    const ranks = new Map(
      kept.toSorted((a, b) => a.unit.first - b.unit.first).map(({ column }, i) => [column, i]),
    )
    return kept.map(({ unit, column }) => {
      const [from, to] = [vectorOf(q, 'head', head, at), vectorOf(k, 'head', head, column)]
      const places = position?.({ q: query, kv: unit, rank: ranks.get(column)!, kept: kept.length })
      const product = places ? dot(rotated(from, places[0], {}), rotated(to, places[1], {})) : dot(from, to)
      const scored = round(call.logit(round(product * scale), head, token, unit.first))
      const logit = bias ? round(scored + bias(unitPair({ sharer, q: query, kv: unit }))) : scored
      const rank = rankOf?.(sharer, token, unit.first) ?? null
      return { column, unit, rank, logit, value: vectorOf(v, 'head', head, column) }
    })
  }
}

/** The inner product with every step rounded to f32. */
function dotSingle(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum = Math.fround(sum + Math.fround(a[i]! * b[i]!))
  return sum
}

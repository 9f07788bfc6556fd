/** Attention tile by tile, where a function decides on each: queries with their keys in, their states out. */

import type { IndexRecord } from '../record.ts'
import type { KeptKey } from './attend.ts'
import { pairAt, type Call } from './call.ts'
import { emptyRow, meetKeys, mergedRow, type RowState } from './state.ts'
import type { Members } from './units.ts'

export interface TileSizes {
  readonly q: number
  readonly kv: number
}

/** What skip and stop see: a query, the tile's first key, and what the softmax knows before the tile. */
export interface TileIndex extends IndexRecord {
  /** The greatest logit of the query's keys in the tile. */
  readonly tileMax: number
  /** The greatest logit that the query has met; -Infinity before the first. */
  readonly rowMax: number
  readonly rowSum: number
}
export type TileTest = (ix: TileIndex) => boolean

interface Query {
  readonly unit: Members
  readonly keys: readonly KeptKey[]
}

interface Progress {
  readonly unit: Members
  readonly all: readonly KeptKey[]
  keys: readonly KeptKey[]
  state: RowState
}

/**
 * Goes through each query tile's tiles of keys, and asks skip and stop before each.
 *
 * @param startOf what a query knew before: what rowMax and rowSum begin with
 */
export function attendTiles(
  call: Call,
  head: number,
  width: number,
  queries: readonly Query[],
  startOf: (q: Members) => RowState,
  { tile, skip, stop }: { readonly tile?: TileSizes; readonly skip?: TileTest; readonly stop?: TileTest },
): readonly (Query & { readonly state: RowState })[] {
  const sizes = tile!
  const tileNumbers = queries.map(({ unit }) => Math.floor(unit.index / sizes.q))
  return [...new Set(tileNumbers)].flatMap((number) => {
    const rows = queries.filter((_, i) => tileNumbers[i] === number)
    const progress = rows.map(({ unit, keys }): Progress => ({
      unit,
      all: keys,
      keys: [],
      state: emptyRow(width),
    }))
    const visits = visitsOf(
      rows.flatMap(({ keys }) => keys),
      sizes.kv,
    )
    for (const visit of visits) {
      const met = progress
        .map((row) => ({ row, keys: row.all.filter((k) => visit.has(k.column)) }))
        .filter(({ keys }) => keys.length > 0)
      const agreed = (test: TileTest | undefined): boolean =>
        test !== undefined &&
        met.every(({ row, keys }) => {
          const known = mergedRow(call, startOf(row.unit), row.state)
          const tileMax = keys.reduce((top, k) => Math.max(top, k.logit), -Infinity)
          const pair = pairAt(call, head, row.unit.first, visit.get(keys[0]!.column)!)
          return test({ ...pair, tileMax, rowMax: known.max, rowSum: known.sum })
        })
      if (agreed(stop)) break
      if (agreed(skip)) continue
      for (const { row, keys } of met) {
        row.state = meetKeys(call, row.state, keys)
        row.keys = [...row.keys, ...keys]
      }
    }
    return progress
  })
}

/** The columns of one visited tile, each with the position that stands for the tile. */
type Visit = ReadonlyMap<number, number>

/**
 * The tiles of some queries' keys, in order: those of the sequence's grid, then the keys of lists by
 * falling score, as many at a time as a tile has.
 */
function visitsOf(keys: readonly KeptKey[], size: number): readonly Visit[] {
  const grid = new Map<number, Map<number, number>>()
  const ranks = new Map<number, { readonly rank: number; readonly at: number }>()
  for (const { column, unit, rank } of keys) {
    if (rank === null) {
      const tile = Math.floor(unit.index / size)
      const visit = grid.get(tile) ?? new Map<number, number>()
      grid.set(tile, visit.set(column, tile * size))
    } else if (rank < (ranks.get(column)?.rank ?? Infinity)) ranks.set(column, { rank, at: unit.first })
  }
  const byRank = [...ranks].toSorted(([, a], [, b]) => a.rank - b.rank || a.at - b.at)
  const lists = Array.from({ length: Math.ceil(byRank.length / size) }, (_, i) => {
    const some = byRank.slice(i * size, (i + 1) * size)
    return new Map(some.map(([column]) => [column, some[0]![1].at]))
  })
  return [...[...grid].toSorted(([a], [b]) => a - b).map(([, visit]) => visit), ...lists]
}

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
 * Goes through each query tile's tiles of keys by rising position, and asks skip and stop before each.
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
    const columns = [...new Set(rows.flatMap(({ keys }) => keys.map((k) => tileOf(k, sizes))))]
    for (const column of columns.toSorted((a, b) => a - b)) {
      const met = progress
        .map((row) => ({ row, keys: row.all.filter((k) => tileOf(k, sizes) === column) }))
        .filter(({ keys }) => keys.length > 0)
      const agreed = (test: TileTest | undefined): boolean =>
        test !== undefined &&
        met.every(({ row, keys }) => {
          const known = mergedRow(call, startOf(row.unit), row.state)
          const tileMax = keys.reduce((top, k) => Math.max(top, k.logit), -Infinity)
          const pair = pairAt(call, head, row.unit.first, column * sizes.kv)
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

const tileOf = (key: KeptKey, sizes: TileSizes): number => Math.floor(key.unit.index / sizes.kv)

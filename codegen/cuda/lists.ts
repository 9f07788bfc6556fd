/** The Hopper skeleton over lists that a call gives: which lists it walks, its shapes and launches. */

import type { ListInfo } from '../artifact.ts'
import { HOPPER } from './hopper.ts'
import type { CudaEntry, SizeRule } from './manifest.ts'
import { add, ceilDiv, floorDiv, min, mul, product, v } from './rules.ts'
import { SHARES, type Request, type Shape, type SkeletonSpec } from './skeleton.ts'

const BOOK_BYTES = 1024
/** Units that an entry of several names at most: which one a column is in is kept in registers. */
const MOST_UNITS = 4
/** Rows of a box of the copy engine: a swizzle repeats after eight. */
const LEAST_UNIT = 8

interface Row {
  readonly headDim: number
  readonly valueDim: number
  readonly q: 64 | 128
  readonly kv: number
  readonly stages: number
  readonly qStages: number
  /** That share the registers of a multiprocessor: as many fit, where shared memory has room for them. */
  readonly blocks: 1 | 2
  readonly reason: string
}

/** Best first. A query tile lies within one query unit of the list, so units of 64 rows take tiles of as many. */
const ROWS: readonly Row[] = [
  { headDim: 128, valueDim: 128, q: 128, kv: 128, stages: 2, qStages: 2, blocks: 1, reason: 'the tile of masks with many edges' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, q: 128, kv: 64, stages: 3, qStages: 1, blocks: 1, reason: 'small units fill it with four' }, // oxfmt-ignore
  { headDim: 256, valueDim: 256, q: 128, kv: 64, stages: 2, qStages: 1, blocks: 1, reason: 'what shared memory holds' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, q: 64, kv: 64, stages: 3, qStages: 1, blocks: 2, reason: 'two blocks of one warpgroup: each has rows of its own' }, // oxfmt-ignore
  { headDim: 256, valueDim: 256, q: 64, kv: 64, stages: 2, qStages: 1, blocks: 2, reason: 'what shared memory holds' }, // oxfmt-ignore
]

function shapesOf({ headDim, valueDim, traits }: Request): Shape[] {
  const list = traits.list!
  return ROWS.filter((r) => fits(r, list) && headDim <= r.headDim && valueDim <= r.valueDim).map((row) => {
    const { q, kv, stages, qStages, blocks, reason } = row
    const consumers = q / 64
    const sharedBytes = 2 * (qStages * q * headDim + stages * kv * (headDim + valueDim)) + BOOK_BYTES
    const size = list.kv as number
    return {
      tile: { q, kv },
      units: size < kv ? kv / size : 1,
      threads: 128 * (consumers + 1),
      sharedBytes,
      constants: {
        GATHERS: false,
        ROWS_DIFFER: false,
        CONSUMERS: consumers,
        K_PARTS: 1,
        BLOCKS: blocks,
        STAGES: stages,
        Q_STAGES: qStages,
        // What the bringing warp leaves; a launch of two blocks has half as many.
        PRODUCER_REGISTERS: blocks === 2 ? 24 : 40,
        CONSUMER_REGISTERS: 232,
        UNROLL_MASK: true,
        HOST_SHARED_BYTES: sharedBytes,
        LIST_SHARE: SHARES[list.share],
        LIST_Q: list.q === 'whole' ? 0 : list.q,
        LIST_SPLIT: Math.max(1, size / kv),
        LIST_BITS: list.form === 'bits',
      },
      reason,
    }
  })
}

/** Whole tiles of queries in a unit, and whole tiles of keys in a unit or whole units in a tile. */
const fits = ({ q, kv }: Row, list: ListInfo): boolean =>
  (list.q === 'whole' || list.q % q === 0) &&
  typeof list.kv === 'number' &&
  (list.kv % kv === 0 || (kv % list.kv === 0 && list.kv % LEAST_UNIT === 0 && kv / list.kv <= MOST_UNITS))

/** Null: it walks them. */
export const walksNot = (lists: readonly ListInfo[], dims: readonly number[]): string | null => {
  const [list, ...more] = lists
  if (!list || more.length > 0) return 'one list at a time'
  return ROWS.some((r) => fits(r, list) && dims.every((d) => d <= r.headDim))
    ? null
    : 'lists of ids whose query units are multiples of 64 rows and whose kv units are blocks of 16, 32, 64 or a multiple of 128 keys'
}

const LIST_THREADS = 128

/** Query tiles of a head: they begin at positions, so the first and the last may have few rows. */
const tilesOf = (q: number): SizeRule => floorDiv(add(v('qRows'), 2 * q - 2), q)
const recordsOf = (q: number): SizeRule => product(v('batch'), v('qHeads'), tilesOf(q))

/** Bytes of the entries that the kernel `list` writes. */
export const entryBytes = ({ tile, units }: Shape): SizeRule =>
  product(recordsOf(tile.q), add(mul(ceilDiv(v('kvRows'), tile.kv), units), 1), 4)

export const LISTS: SkeletonSpec = {
  ...HOPPER,
  name: 'lists',
  shapes: shapesOf,
  sharesTests: false,
  walks: 'lists',
  entries: (request, shape) => {
    const { tile, units, constants } = shape
    const list: CudaEntry = {
      name: 'list',
      threads: LIST_THREADS,
      sharedBytes: 0,
      grid: [ceilDiv(recordsOf(tile.q), LIST_THREADS / 32), 1, 1],
      tensorMaps: [],
    }
    const [attend] = HOPPER.entries(request, shape)
    const boxes = attend!.tensorMaps.map((m) => (m.tensor === 'q' ? m : { ...m, rows: tile.kv / units }))
    const blocks = mul(v('multiprocessors'), constants['BLOCKS'] as number)
    return [list, { ...attend!, grid: [min(blocks, recordsOf(tile.q)), 1, 1], tensorMaps: boxes }]
  },
}

/** The Hopper skeleton over sets of keys: what an attend of a program walks in; whether it has it, its shapes and launches, out. */

import type { ListInfo, Share } from '../artifact.ts'
import { LONGEST } from '../../compiler/vars.ts'
import { MAX_PARTS } from './call.ts'
import { HOPPER } from './hopper.ts'
import type { CudaEntry, SizeRule } from './manifest.ts'
import { add, ceilDiv, floorDiv, min, mul, product, v } from './rules.ts'
import { SHARES, type Request, type Shape, type SkeletonSpec } from './skeleton.ts'

/** What is walked: lists in the order that owns keys, over places of an order where there is one. */
export interface SetsInfo {
  readonly lists: readonly ListInfo[]
  readonly keyOrder: Share | null
}

/** The tiles of all shapes are whole parts of it. */
const LEAST_RUN = 128

/** Barriers and messages. */
const BOOK_BYTES = 1024

interface Row {
  readonly headDim: number
  readonly q: 64 | 128
  readonly kv: number
  readonly stages: number
  /** That share a multiprocessor. */
  readonly blocks: 1 | 2
  readonly registers: readonly [producer: number, consumer: number]
  readonly reason: string
}

/** Best first. A query tile lies within one query unit of every list. */
const ROWS: readonly Row[] = [
  { headDim: 128, q: 128, kv: 64, stages: 4, blocks: 1, registers: [120, 192], reason: 'keys in pieces are late: four short tiles under way are a fifth ahead of two long ones' }, // oxfmt-ignore
  { headDim: 128, q: 128, kv: 128, stages: 2, blocks: 1, registers: [88, 208], reason: 'longer products' }, // oxfmt-ignore
  { headDim: 256, q: 128, kv: 64, stages: 2, blocks: 1, registers: [72, 216], reason: 'what shared memory holds' }, // oxfmt-ignore
  { headDim: 128, q: 64, kv: 64, stages: 3, blocks: 2, registers: [96, 160], reason: 'two blocks of one warpgroup: each has rows of its own' }, // oxfmt-ignore
  { headDim: 256, q: 64, kv: 64, stages: 2, blocks: 1, registers: [80, 240], reason: 'what shared memory holds' }, // oxfmt-ignore
]

const SHARE_OF_NONE = 0

const isKeys = ({ kv }: ListInfo): boolean => kv === 1
const formOf = ({ kv, form }: ListInfo): string =>
  kv === 'span' ? 'SPANS' : form === 'bits' ? 'BITS' : 'IDS'

/** Rows of the tiles of lists whose queries differ within a tile. */
const UNITED_ROWS = 128
/** Units of such a list at most: a warp has a bit for each. */
const UNITED_UNITS = 2 ** 15
const LEAST_UNITED = LONGEST / UNITED_UNITS

/** A list of blocks that queries of one tile have different ones of: the tile meets what any of them has. */
const isUnited = ({ lists: [list, ...more], keyOrder }: SetsInfo): boolean =>
  list !== undefined &&
  more.length === 0 &&
  keyOrder === null &&
  list.form !== 'bits' &&
  typeof list.kv === 'number' &&
  list.kv >= LEAST_UNITED &&
  list.kv % LEAST_RUN === 0 &&
  list.q !== 'whole' &&
  list.q % 64 !== 0 &&
  UNITED_ROWS % list.q === 0

/** Queries that share a record: 0: all of a head. */
export const recordQueries = (sets: SetsInfo): number => (isUnited(sets) ? UNITED_ROWS : shortestUnit(sets))

const shortestUnit = ({ lists }: SetsInfo): number =>
  lists.reduce((least, { q }) => (q === 'whole' ? least : least === 0 ? q : Math.min(least, q)), 0)

const fits = ({ headDim, q }: Row, sets: SetsInfo, dim: number): boolean =>
  dim <= headDim &&
  (isUnited(sets) ? q === UNITED_ROWS : sets.lists.every((l) => l.q === 'whole' || l.q % q === 0))

/** Whether there is a kernel. Keys stand behind runs, and a record lies within one unit of every list. */
export function walksSets(sets: SetsInfo, dims: readonly number[]): boolean {
  const { lists } = sets
  const record = recordQueries(sets)
  return (
    lists.length > 0 &&
    lists.length <= MAX_PARTS &&
    lists.every((l) => l.order === 'index') &&
    (isUnited(sets) || lists.every((l) => l.q === 'whole' || l.q % record === 0)) &&
    !lists.some((l, i) => isKeys(l) && lists.slice(i).some((m) => !isKeys(m))) &&
    (sets.keyOrder === null || !lists.some(isKeys)) &&
    ROWS.some((r) => dims.every((d) => fits(r, sets, d)))
  )
}

/** Words in front of a record's runs. */
export const RECORD_HEADER = 2

function shapesOf({ headDim, valueDim, traits }: Request): Shape[] {
  const sets = traits.sets!
  const { lists, keyOrder } = sets
  return ROWS.filter((r) => fits(r, sets, Math.max(headDim, valueDim))).map((row) => {
    const { q, kv, stages, blocks, registers, reason } = row
    const sharedBytes = 2 * (q * headDim + stages * kv * (headDim + valueDim)) + BOOK_BYTES
    const consumers = q / 64
    return {
      tile: { q, kv },
      units: 1,
      threads: 128 * (consumers + 1),
      sharedBytes,
      constants: {
        GATHERS: true,
        CONSUMERS: consumers,
        K_PARTS: 1,
        BLOCKS: blocks,
        STAGES: stages,
        Q_STAGES: 1,
        PRODUCER_REGISTERS: registers[0],
        CONSUMER_REGISTERS: registers[1],
        UNROLL_MASK: true,
        HOST_SHARED_BYTES: sharedBytes,
        RECORD_HEADER,
        RECORD_Q: recordQueries(sets),
        ROWS_DIFFER: isUnited(sets),
        UNION_WORDS: isUnited(sets) ? UNITED_UNITS / 32 : 1,
        SET_COUNT: lists.length,
        RUN_SETS: lists.filter((l) => !isKeys(l)).length,
        COLUMNS: lists.some(isKeys),
        KEY_ORDER: keyOrder !== null,
        ORDER_SHARE: keyOrder === null ? SHARE_OF_NONE : SHARES[keyOrder],
      },
      reason,
    }
  })
}

/** The lists as the texts know them: whose they are, positions of a query unit (0: all), keys of a unit, and how they are told. */
function setsText({ traits }: Request): string {
  const rows = traits.sets!.lists.map((l) => {
    const q = l.q === 'whole' ? 0 : l.q
    return `  {${SHARES[l.share]}, ${q}, ${l.kv === 'span' ? 0 : l.kv}, ${formOf(l)}},`
  })
  return [
    'enum Form { IDS, BITS, SPANS };',
    'struct Set {\n  int share, q, kv;\n  Form form;\n};',
    `constexpr Set SETS[] = {\n${rows.join('\n')}\n};`,
  ].join('\n')
}

const LIST_THREADS = 128

export const GATHER: SkeletonSpec = {
  ...HOPPER,
  name: 'gather',
  shapes: shapesOf,
  texts: ['given.cuh', 'sets.cuh', 'hopper.cuh', 'gather.cuh', 'multiply.cuh'],
  made: (request, shape) => `${HOPPER.made!(request, shape)}\n\n${setsText(request)}`,
  sharesTests: false,
  walks: 'sets',
  entries: (request, shape) => {
    const { tile, constants } = shape
    const record = constants['RECORD_Q'] as number
    const units = (q: number): SizeRule => (q === 0 ? 1 : floorDiv(add(v('qRows'), 2 * q - 2), q))
    const perHead = (q: number) => product(v('batch'), v('qHeads'), units(q))
    const list: CudaEntry = {
      name: 'list',
      threads: LIST_THREADS,
      sharedBytes: constants['ROWS_DIFFER'] ? (UNITED_UNITS / 8) * (LIST_THREADS / 32) : 0,
      grid: [ceilDiv(perHead(record), LIST_THREADS / 32), 1, 1],
      tensorMaps: [],
    }
    const [attend] = HOPPER.entries(request, shape)
    const blocks = mul(v('multiprocessors'), constants['BLOCKS'] as number)
    return [list, { ...attend!, grid: [min(blocks, perHead(tile.q)), 1, 1] }]
  },
}

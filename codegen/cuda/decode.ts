/** The decode skeleton's shapes and launches: dims and dtype of a variant in, tile, ring and size rules out. */

import { readsHead } from '../../compiler/plan.ts'
import type { JsonExpr } from '../artifact.ts'
import { add, ceilDiv, floorDiv, le, max, min, mul, product, queryTiles, select, v } from './rules.ts'
import type { Request, Shape, SkeletonSpec } from './skeleton.ts'

/** What a block of the smallest supported device (8.6, 8.9) may have. */
const MOST_SHARED = 99 * 1024
/** Blocks that share a multiprocessor, where it has twice that. */
const BLOCKS = 2
/** COMBINE_THREADS of the text: a weight for each split. */
const COMBINE_THREADS = 128
const MOST_SPLITS = COMBINE_THREADS
/** What a split must have to be worth its partial result. */
const LEAST_TILES = 4
/** Keys and rows of the usual shape: the split rule's estimate, whatever shape is taken. */
const USUAL = 64

/** Blocks of one split: row tiles of every kv head, or where masks differ between heads of every query head. */
const itemsOf = (tileQ: number, packed: boolean): JsonExpr =>
  packed ? product(v('batch'), v('kvHeads'), ceilDiv(mul(v('group'), v('qRows')), tileQ)) : queryTiles(tileQ)

/** Elements of K a key from which one block a multiprocessor keeps memory busy: 3.05 against 2.95 TB/s on an H100, 64: 2.0. */
const LONG_ROW = 128

/**
 * The fewest waves, up to four, that the blocks fill to nine tenths: the splits that fit them; else four waves. A split has
 * LEAST_TILES tiles or more. Patterns that visit few tiles have empty splits, which cost a launch slot and no reading.
 */
const splitsRule = (): JsonExpr => {
  // Where rows are short one block a multiprocessor leaves memory idle; where they are long a second one only adds partials.
  const slots = mul(v('multiprocessors'), select(le(LONG_ROW, v('headDim')), 1, BLOCKS))
  const items = max(1, itemsOf(USUAL, true))
  const most = max(1, min(MOST_SPLITS, floorDiv(ceilDiv(v('kvRows'), USUAL), LEAST_TILES)))
  const of = (waves: number) => min(most, max(1, floorDiv(mul(slots, waves), items)))
  const filled = (splits: JsonExpr) =>
    le(product(slots, ceilDiv(mul(items, splits), slots), 9), product(items, splits, 10))
  return [3, 2, 1].reduce((otherwise, waves) => select(filled(of(waves)), of(waves), otherwise), of(4))
}

const rows = product(v('batch'), v('qHeads'), v('qRows'))
const isSplit = le(2, v('splits'))

function shapesOf({ headDim, valueDim }: Request): Shape[] {
  const shape = (warps: number, mostStages: number, reason: string): Shape | null => {
    const stage = 16 * warps * 2 * (headDim + valueDim)
    const stages = Math.min(mostStages, Math.floor(MOST_SHARED / stage))
    if (stages < 2) return null
    return {
      tile: { q: 16 * warps, kv: 16 * warps },
      units: 1,
      threads: 32 * warps,
      sharedBytes: stages * stage,
      constants: { STAGES: stages, BLOCKS },
      reason,
    }
  }
  const four = shape(
    4,
    8,
    'two blocks of four warps keep 130 to 190 KB of keys under way on a multiprocessor',
  )
  const two = shape(2, 8, 'more and smaller stages: wide heads leave four warps too few')
  const less = shape(4, 3, 'half of the ring, where shared memory is short')
  const all = four && Number(four.constants.STAGES) >= 3 ? [four, two, less] : [two, four, less]
  const seen = new Set<string>()
  return all.filter((s): s is Shape => {
    const key = s && `${s.threads} ${s.sharedBytes}`
    return key !== null && !seen.has(key) && seen.add(key) !== undefined
  })
}

export const DECODE: SkeletonSpec = {
  name: 'decode',
  headDims: [64, 96, 128, 192, 256],
  capability: { min: 80, max: 999 },
  suffix: '',
  needs: { vectors: false, qRows: 16, pages: true },
  shapes: shapesOf,
  preludes: [],
  texts: ['slices.cuh', 'decode.cuh'],
  entries: ({ valueDim, traits }, { tile, threads, sharedBytes }) => [
    {
      name: 'attend',
      threads,
      sharedBytes,
      grid: [mul(itemsOf(tile.q, !readsHead(traits.plan)), v('splits')), 1, 1],
      tensorMaps: [],
    },
    {
      name: 'combine',
      threads: COMBINE_THREADS,
      sharedBytes: 4 * COMBINE_THREADS * (1 + Math.ceil(valueDim / 128) * (COMBINE_THREADS / 32)),
      // No blocks, so no launch, where `attend` wrote the results itself.
      grid: [select(isSplit, rows, 0), 1, 1],
      tensorMaps: [],
    },
  ],
  // One query tile: the kernel of its own would cost more than the tests.
  sharesTests: false,
  walks: 'mask',
  splits: splitsRule(),
  // Of debug builds: one word, 1 + the index in `pages` of a number out of range; the host reads it and zeroes it again.
  counters: 4,
  // Per split and row valueDim floats, padded to a multiple of four, and two more.
  scratch: select(isSplit, product(v('splits'), rows, add(mul(ceilDiv(v('valueDim'), 4), 4), 2), 4), 0),
}

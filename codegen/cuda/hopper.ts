/** The Hopper skeleton's shapes and launch: dims and traits of a variant in, tiles, warpgroups and stages out, best first. */

import { nodesOf } from '../../compiler/ir.ts'
import { add, ceilDiv, floorDiv, min, mul, product, queryTiles, v } from './rules.ts'
import type { Request, Shape, SkeletonSpec, Traits } from './skeleton.ts'
import { isCheap } from './traits.ts'
import { productText } from './wgmma.ts'

/** Barriers and messages at the end of shared memory: the text asserts that they fit. */
const BOOK_BYTES = 1024
const ROWS_PER_GROUP = 64

/**
 * `wide` masks have at most one edge a row; `narrow` ones pay for every column of a tile; `dear` ones need registers of their own:
 * for a change of the score, or for tests of tiles.
 */
type Masks = 'wide' | 'narrow' | 'dear'
const ALL: readonly Masks[] = ['wide', 'narrow', 'dear']

interface Row {
  /** The greatest head dim and value dim the row is for. */
  readonly headDim: number
  readonly valueDim: number
  /** Columns of a kv tile, a multiple of 16. */
  readonly kv: number
  /** Multiplying warpgroups, of 64 query rows each; one more brings tiles. */
  readonly consumers: number
  readonly stages: number
  readonly qStages: number
  readonly masks: readonly Masks[]
  readonly reason: string
  /** Parts of a key; 1 unless given. */
  readonly keyParts?: number
}

/** Measured on an H100 with bf16, 32 query heads over 8 (bench/notes.md); the 227 KiB of shared memory bound the long dims. */
const ROWS: readonly Row[] = [
  { headDim: 64, valueDim: 64, kv: 128, consumers: 3, stages: 2, qStages: 2, masks: ['wide', 'narrow'], reason: '192 rows: exponentials of three groups under one product; 128 rows are a sixth slower' }, // oxfmt-ignore
  { headDim: 64, valueDim: 64, kv: 112, consumers: 3, stages: 3, qStages: 2, masks: ['wide'], reason: 'fewer registers' }, // oxfmt-ignore
  { headDim: 64, valueDim: 64, kv: 192, consumers: 2, stages: 2, qStages: 2, masks: ['wide'], reason: 'longer products' }, // oxfmt-ignore
  { headDim: 64, valueDim: 64, kv: 128, consumers: 2, stages: 2, qStages: 2, masks: ['narrow', 'dear'], reason: 'less waste at edges' }, // oxfmt-ignore
  { headDim: 96, valueDim: 96, kv: 176, consumers: 2, stages: 2, qStages: 2, masks: ['wide'], reason: 'the longest products that registers hold' }, // oxfmt-ignore
  { headDim: 96, valueDim: 96, kv: 128, consumers: 2, stages: 2, qStages: 2, masks: ALL, reason: 'less waste at edges' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, kv: 176, consumers: 2, stages: 2, qStages: 1, masks: ['wide'], reason: 'the longest products that registers and shared memory hold: 4 % ahead of 128' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, kv: 160, consumers: 2, stages: 2, qStages: 1, masks: ['wide'], reason: 'less waste at edges' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, kv: 128, consumers: 2, stages: 2, qStages: 2, masks: ALL, reason: 'less waste at edges than 176, and Q comes ahead' }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, kv: 96, consumers: 2, stages: 3, qStages: 1, masks: ['narrow', 'dear'], reason: 'still less waste at edges' }, // oxfmt-ignore
  { headDim: 192, valueDim: 128, kv: 128, consumers: 2, stages: 2, qStages: 1, masks: ALL, reason: 'what shared memory holds' }, // oxfmt-ignore
  { headDim: 192, valueDim: 192, kv: 112, consumers: 2, stages: 2, qStages: 1, masks: ['wide'], reason: 'what shared memory holds' }, // oxfmt-ignore
  { headDim: 192, valueDim: 192, kv: 96, consumers: 2, stages: 2, qStages: 1, masks: ['narrow', 'dear'], reason: 'less waste at edges' }, // oxfmt-ignore
  { headDim: 256, valueDim: 256, kv: 80, consumers: 2, stages: 2, qStages: 1, masks: ALL, reason: 'what shared memory holds: 15 % ahead of 64' }, // oxfmt-ignore
  { headDim: 256, valueDim: 256, kv: 64, consumers: 2, stages: 2, qStages: 1, masks: ALL, reason: 'fewer registers, and less waste at edges' }, // oxfmt-ignore
]

/** Keys that other kernels left as f32: a choice that reads the sums of their softmax hangs on more bits than one half has. */
export const KEY_PARTS = 2
const OF_PARTS: readonly Row[] = [
  { headDim: 64, valueDim: 64, kv: 128, consumers: 3, stages: 2, qStages: 2, masks: ALL, reason: 'as of whole keys', keyParts: KEY_PARTS }, // oxfmt-ignore
  { headDim: 96, valueDim: 96, kv: 128, consumers: 2, stages: 2, qStages: 1, masks: ALL, reason: 'what shared memory holds', keyParts: KEY_PARTS }, // oxfmt-ignore
  { headDim: 128, valueDim: 128, kv: 128, consumers: 2, stages: 2, qStages: 1, masks: ALL, reason: 'what shared memory holds', keyParts: KEY_PARTS }, // oxfmt-ignore
]

/**
 * A mask of a few instructions is written out for each score, others are a loop over columns. So are masks that wait for
 * memory: meanwhile all that does not hang on the answer would be computed, and kept.
 */
const unrolls = ({ plan }: Traits): boolean =>
  isCheap(plan.mask) && !nodesOf(plan.mask).some((e) => e.op === 'load')

/**
 * Registers a thread of the bringing and of the multiplying warpgroups; their sum is what the block has at its start. The
 * bringing warp asks the tests of tiles, which are longest where the mask is too, and a mask in a loop leaves it more.
 */
const registersOf = ({ consumers }: Row, traits: Traits): readonly [producer: number, consumer: number] =>
  consumers === 3 ? [32, 160] : masksOf(traits) === 'dear' && !unrolls(traits) ? [56, 224] : [40, 232]

const masksOf = ({ plan, scored }: Traits): Masks =>
  scored || plan.tiles.how !== 'ranges' ? 'dear' : plan.tiles.dropped.length > 1 ? 'narrow' : 'wide'

const shapesOf = (rows: readonly Row[], { headDim, valueDim, traits }: Request): Shape[] => {
  const masks = masksOf(traits)
  const first = rows.find((r) => headDim <= r.headDim && valueDim <= r.valueDim)
  if (!first) throw new Error(`no shape for head dim ${headDim} and value dim ${valueDim}`)
  const own = rows.filter(
    (r) => r.headDim === first.headDim && r.valueDim === first.valueDim && r.masks.includes(masks),
  )
  return own.map((row) => {
    const { kv, consumers, stages, qStages, reason, keyParts = 1 } = row
    const q = consumers * ROWS_PER_GROUP
    const ofTile = kv * (keyParts * headDim + valueDim)
    const sharedBytes = 2 * (qStages * q * headDim + stages * ofTile) + BOOK_BYTES
    const [producer, consumer] = registersOf(row, traits)
    return {
      tile: { q, kv },
      units: 1,
      threads: 128 * (consumers + 1),
      sharedBytes,
      constants: {
        GATHERS: false,
        ROWS_DIFFER: false,
        CONSUMERS: consumers,
        BLOCKS: 1,
        K_PARTS: keyParts,
        STAGES: stages,
        Q_STAGES: qStages,
        PRODUCER_REGISTERS: producer,
        CONSUMER_REGISTERS: consumer,
        UNROLL_MASK: unrolls(traits),
        HOST_SHARED_BYTES: sharedBytes,
      },
      reason,
    }
  })
}

/** ROUND_THREADS of round.cuh. */
const ROUND_THREADS = 256

const keyRows = product(v('batch'), v('kvHeads'), v('kvRows'))

/** Bytes of a swizzled row of shared memory. */
const swizzleOf = (dim: number): 64 | 128 => (dim % 64 === 0 ? 128 : 64)

export const HOPPER: SkeletonSpec = {
  name: 'hopper',
  headDims: [64, 96, 128, 192, 256],
  capability: { min: 90, max: 90 },
  suffix: 'a',
  needs: { vectors: true, qRows: null, pages: false },
  shapes: (request) => shapesOf(ROWS, request),
  preludes: ['prelude-hopper.cuh'],
  texts: ['hopper.cuh', 'bring.cuh', 'multiply.cuh'],
  made: ({ valueDim, dtype }, { tile }) =>
    [
      productText({ name: 'productScores', columns: tile.kv, a: 'shared', transposed: false }, dtype),
      productText({ name: 'productOutputs', columns: valueDim, a: 'registers', transposed: true }, dtype),
    ].join('\n\n'),
  entries: ({ headDim, valueDim }, { tile, threads, sharedBytes }) => {
    const box = (tensor: 'q' | 'k' | 'v', dim: number, rows: number) => {
      const swizzle = swizzleOf(dim)
      return { tensor, columns: swizzle / 2, rows, swizzle, step: null }
    }
    return [
      {
        name: 'attend',
        threads,
        sharedBytes,
        // Blocks stay and take query tiles from a counter.
        grid: [min(v('multiprocessors'), queryTiles(tile.q)), 1, 1],
        tensorMaps: [box('q', headDim, tile.q), box('k', headDim, tile.kv), box('v', valueDim, tile.kv)],
      },
    ]
  },
  sharesTests: true,
  walks: 'mask',
  splits: null,
  // The next query tile, and the blocks that are done.
  counters: 8,
  scratch: 0,
}

/** The same machine model over rows and keys by remainder. Each residue has query tiles of its own. */
export const RESIDUES: SkeletonSpec = { ...HOPPER, name: 'residues', sharesTests: false, walks: 'residues' }

/**
 * The same over keys and values that other kernels left as f32, of which it makes halves first: `list` begins with a key's KEY_PARTS
 * parts, [part, batch, kvHead, row, channel], and then has the values, [batch, kvHead, row, channel].
 */
export const ROUNDED: SkeletonSpec = {
  ...HOPPER,
  name: 'rounded',
  headDims: OF_PARTS.map((r) => r.headDim),
  shapes: (request) => shapesOf(OF_PARTS, request),
  texts: [...HOPPER.texts, 'round.cuh'],
  entries: (request, shape) => [
    {
      name: 'roundKeys',
      threads: ROUND_THREADS,
      sharedBytes: 0,
      grid: [ceilDiv(mul(keyRows, floorDiv(add(v('headDim'), v('valueDim')), 8)), ROUND_THREADS), 1, 1],
      tensorMaps: [],
    },
    ...HOPPER.entries(request, shape),
  ],
  list: product(keyRows, 2, add(mul(KEY_PARTS, v('headDim')), v('valueDim'))),
}

/** The Ampere skeleton's shapes and launch: dims of a variant in, tiles, warps and buffers out, best first. */

import type { KernelPlan } from '../../compiler/plan.ts'
import { queryTiles } from './rules.ts'
import type { Request, Shape, SkeletonSpec } from './skeleton.ts'

/**
 * KNOWN_BYTES of the text: the place, the reach and the walk of a block's query tile. Patterns of the library take up to 256;
 * a term's ends and what its test reads take a few words, a param one.
 */
function knownBytes({ tiles, params, derived }: KernelPlan): number {
  const words = 64 + 16 * (tiles.kept.length + tiles.dropped.length) + params.length + derived.length
  return Math.max(1024, Math.ceil(words / 128) * 512)
}

/** A float for each of a row's four threads. */
const sumBytes = (tileQ: number): number => tileQ * 4 * 4

interface Row {
  /** The greatest head dim and value dim the row is for. */
  readonly dims: readonly [head: number, value: number]
  readonly tile: readonly [q: number, kv: number]
  readonly warps: number
  /** Buffers of K and of V. One: values come while keys are multiplied, the next keys while values are. */
  readonly stages: number
  /** Blocks that share a multiprocessor: what registers are dealt out for. */
  readonly blocks: number
  readonly reason: string
}
const row = (
  dims: Row['dims'],
  tile: Row['tile'],
  warps: number,
  stages: number,
  blocks: number,
  reason: string,
): Row => ({ dims, tile, warps, stages, blocks, reason })

/**
 * The first that fits the dims comes first, the others of the same dims are what autotuning tries. First rows fit the 99 KiB
 * that a block has on compute capability 8.6 and 8.9. Thirty-two query rows a warp halve the reading of K and V from shared
 * memory, sixteen leave registers for wider values.
 */
const ROWS: readonly Row[] = [
  row([64, 64], [128, 128], 4, 1, 2, 'four warps of 32 rows: eight of 16 are a fifth slower'),
  row([64, 64], [128, 64], 4, 2, 2, 'less waste at narrow masks; a whole tile under way'),
  row([64, 64], [128, 96], 4, 1, 2, 'between the two'),
  row([64, 64], [64, 64], 4, 2, 4, 'more blocks, for few queries and long scores'),
  row([96, 96], [128, 64], 4, 1, 2, 'four warps of 32 rows, two blocks'),
  row([96, 96], [128, 64], 4, 2, 2, 'a whole tile under way'),
  row([96, 96], [64, 64], 4, 2, 2, 'more blocks, for few queries and long scores'),
  row([128, 128], [128, 64], 4, 1, 2, 'two blocks in 164 KiB; eight warps are a quarter slower'),
  row([128, 128], [128, 64], 4, 2, 2, 'a whole tile under way, where two blocks of it fit'),
  row([128, 128], [64, 64], 4, 1, 3, 'two blocks in 100 KiB, less waste in causal tiles'),
  row([128, 128], [128, 32], 4, 1, 2, 'two blocks in 100 KiB, 32 rows a warp'),
  row([192, 128], [128, 64], 8, 1, 1, 'sixteen rows a warp, so that nothing spills'),
  row([192, 128], [64, 64], 4, 1, 2, 'the same as two blocks'),
  row([192, 192], [128, 64], 8, 1, 1, 'sixteen rows a warp: 96 registers of output'),
  row([192, 192], [64, 64], 4, 1, 2, 'the same as two blocks'),
  row([192, 192], [128, 64], 8, 2, 1, 'a whole tile under way'),
  row([256, 256], [64, 64], 4, 1, 2, 'sixteen rows a warp: 128 registers of output'),
  row([256, 256], [128, 64], 8, 1, 1, 'the same as one block: K and V are read once'),
  row([256, 256], [64, 32], 4, 1, 2, 'two blocks in 164 KiB'),
]

function shapesOf({ headDim, valueDim, traits }: Request): Shape[] {
  const KNOWN_BYTES = knownBytes(traits.plan)
  const first = ROWS.find(({ dims: [head, value] }) => headDim <= head && valueDim <= value)
  if (!first) throw new Error(`no shape for head dim ${headDim} and value dim ${valueDim}`)
  return ROWS.filter(({ dims }) => dims[0] === first.dims[0] && dims[1] === first.dims[1]).map(
    ({ tile: [q, kv], warps, stages, blocks, reason }) => ({
      tile: { q, kv },
      units: 1,
      threads: 32 * warps,
      sharedBytes: 2 * (q * headDim + stages * kv * (headDim + valueDim)) + KNOWN_BYTES + sumBytes(q),
      constants: { STAGES: stages, BLOCKS: blocks, KNOWN_BYTES },
      reason,
    }),
  )
}

export const AMPERE: SkeletonSpec = {
  name: 'ampere',
  headDims: [64, 96, 128, 192, 256],
  // Every later device runs these instructions too.
  capability: { min: 80, max: 999 },
  suffix: '',
  needs: { vectors: false, qRows: null, pages: false },
  shapes: shapesOf,
  preludes: [],
  texts: ['ampere.cuh'],
  entries: (_, { tile, threads, sharedBytes }) => [
    {
      name: 'attend',
      threads,
      sharedBytes,
      grid: [queryTiles(tile.q), 1, 1],
      tensorMaps: [],
    },
  ],
  // The pointer to a list is one register too many beside tests that are not asked.
  sharesTests: false,
  walks: 'mask',
  splits: null,
  counters: 0,
  scratch: 0,
}

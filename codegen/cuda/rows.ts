/** The skeleton of queries that each have a list of their own: which lists it walks, its shapes and launch. */

import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import type { ListInfo } from '../artifact.ts'
import { add, ceilDiv, floorDiv, le, product, select, v } from './rules.ts'
import { SHARES, type Request, type Shape, type SkeletonSpec } from './skeleton.ts'

const WARPS = 4
/** Keys of a slice; and rows of a product, heads of one query. */
const SLICE = 16
/** Rings of all warps, so that two blocks share a multiprocessor whatever the device: 48 KB of keys are under way on each. */
const MOST_SHARED = (99 * 1024) / 2
/** Below it a block's warps share an item: about four blocks a multiprocessor of the greatest devices. */
const SPREAD_ITEMS = 512

/** Lists of numbers in ascending order; heads that share one must not differ in their masks. */
export const walksRows = (lists: readonly ListInfo[], plan: KernelPlan, dims: readonly number[]): boolean => {
  const [list, ...more] = lists
  return (
    list !== undefined &&
    more.length === 0 &&
    list.form !== 'bits' &&
    typeof list.kv === 'number' &&
    list.order === 'index' &&
    (list.share === 'head' || !readsHead(plan)) &&
    dims.every((d) => d <= Math.max(...ROWS.headDims))
  )
}

function shapesOf({ headDim, valueDim, traits }: Request): Shape[] {
  const list = traits.list!
  const stage = 2 * SLICE * (headDim + valueDim)
  const stages = Math.max(2, Math.min(4, Math.floor(MOST_SHARED / (WARPS * stage))))
  const merged = 4 * WARPS * SLICE * (valueDim + 8 + 2)
  return [
    {
      tile: { q: SLICE, kv: SLICE },
      units: 1,
      threads: 32 * WARPS,
      sharedBytes: Math.max(WARPS * stages * stage, merged),
      constants: {
        STAGES: stages,
        BLOCKS: 2,
        SPREAD_ITEMS,
        LIST_SHARE: SHARES[list.share],
        LIST_Q: list.q === 'whole' ? 0 : list.q,
        LIST_KV: list.kv as number,
      },
      reason: 'a warp a query: lists differ, and what they share the cache holds',
    },
  ]
}

export const ROWS: SkeletonSpec = {
  name: 'rows',
  headDims: [64, 96, 128, 192, 256],
  capability: { min: 80, max: 999 },
  suffix: '',
  needs: { vectors: true, qRows: null, pages: false },
  shapes: shapesOf,
  preludes: [],
  texts: ['given.cuh', 'slices.cuh', 'rows.cuh'],
  entries: ({ traits }, { threads, sharedBytes }) => {
    const heads = traits.list!.share === 'head' ? 1 : v('group')
    const groups = product(floorDiv(v('qHeads'), heads), floorDiv(add(heads, SLICE - 1), SLICE))
    const items = product(v('batch'), groups, v('qRows'))
    const grid = select(le(items, SPREAD_ITEMS), items, ceilDiv(items, WARPS))
    return [{ name: 'attend', threads, sharedBytes, grid: [grid, 1, 1], tensorMaps: [] }]
  },
  sharesTests: false,
  walks: 'sets',
  splits: null,
  counters: 0,
  scratch: 0,
}

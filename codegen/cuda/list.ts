/** The entry `list` of list.cuh: how it is launched for a tile shape, whatever skeleton walks the lists. */

import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import type { CudaEntry, SizeRule } from './manifest.ts'
import { add, ceilDiv, mul, product, queryTiles, v } from './rules.ts'

/** LIST_THREADS of the text. */
export const LIST_THREADS = 256

const WINDOW = 32
const WORD_BYTES = 4

/** Records of all query tiles; heads whose tiles are the same share them. */
const records = (plan: KernelPlan, tile: { readonly q: number }): SizeRule =>
  readsHead(plan) ? queryTiles(tile.q) : mul(v('batch'), ceilDiv(v('qRows'), tile.q))

export const listEntry = (plan: KernelPlan, tile: { readonly q: number }): CudaEntry => ({
  name: 'list',
  threads: LIST_THREADS,
  sharedBytes: WINDOW * WORD_BYTES,
  grid: [records(plan, tile), 1, 1],
  tensorMaps: [],
})

/** Bytes of the lists: a record is a count and as many words as there are kv tiles. */
export const listBytes = (plan: KernelPlan, tile: { readonly q: number; readonly kv: number }): SizeRule =>
  product(records(plan, tile), add(ceilDiv(v('kvRows'), tile.kv), 1), WORD_BYTES)

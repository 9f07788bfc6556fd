/** The variables that an expression may read, one row each: its type and what bounds it. */

import type { Range, Scalar } from './ops.ts'

/** Lengths up to which a pattern's integers are proven to stay inside int32. */
export const LONGEST = 2 ** 22
const MOST_HEADS = 2 ** 16
const ANYTHING: Range<number> = [-Infinity, Infinity]

export interface VarRow {
  readonly type: Scalar
  readonly range: Range<number>
}

const i32 = (lo: number, hi: number): VarRow => ({ type: 'i32', range: [lo, hi] })
const f32: VarRow = { type: 'f32', range: ANYTHING }

/** A query's position may lie before the first key, a key's may not. */
const QUERY = i32(-LONGEST, LONGEST - 1)
const KEY = i32(0, LONGEST - 1)

/** The fields of the index record that are integers in a kernel. Positions are absolute tokens. */
const INDEX = {
  batch: i32(0, MOST_HEADS - 1),
  head: i32(0, MOST_HEADS - 1),
  kvHead: i32(0, MOST_HEADS - 1),
  q: QUERY,
  kv: KEY,
  qLen: i32(0, LONGEST),
  kvLen: i32(0, LONGEST),
  qHeads: i32(1, MOST_HEADS),
  kvHeads: i32(1, MOST_HEADS),
  headDim: i32(1, 4096),
} satisfies Readonly<Record<string, VarRow>>
export type IndexVar = keyof typeof INDEX
export const INDEX_VARS = Object.keys(INDEX) as readonly IndexVar[]

/** First and last position (both inside) of a tile's real rows and of the kv tile under test. */
const TILE = { qLo: QUERY, qHi: QUERY, kvLo: KEY, kvHi: KEY } satisfies Readonly<Record<string, VarRow>>
export type TileVar = keyof typeof TILE
export const TILE_VARS = Object.keys(TILE) as readonly TileVar[]

/**
 * Units that a stage's function may speak of: `q` and `kv` are the row's and the column's unit of a cell of scores,
 * `into.q` and `into.kv` the units that a pooled cell goes into, and `unit` the one unit of a function over rows.
 */
export const UNIT_SLOTS = ['unit', 'q', 'kv', 'into.q', 'into.kv'] as const
export type UnitSlot = (typeof UNIT_SLOTS)[number]

/** `first` and `last` are the least and greatest original position of the unit's tokens. */
const UNIT = {
  index: i32(-LONGEST, LONGEST - 1),
  first: QUERY,
  last: QUERY,
  length: i32(0, LONGEST),
} satisfies Readonly<Record<string, VarRow>>
export type UnitField = keyof typeof UNIT
export const UNIT_FIELDS = Object.keys(UNIT) as readonly UnitField[]
export type UnitVar = `${UnitSlot}.${UnitField}`

export const unitVar = (slot: UnitSlot, field: UnitField): UnitVar => `${slot}.${field}`

/** What else a stage's function is given, or a size of a stage reads. */
const STAGE = {
  /** Values of the operands of map and where, in order. */
  s: f32,
  t: f32,
  u: f32,
  /** The component of a vector, under map over rows. */
  channel: i32(0, LONGEST),
  /** A kept key's place among the keys that its row keeps, and their number. */
  rank: KEY,
  kept: i32(0, LONGEST),
  /** The greatest logit of a row in the tile at hand, and the row's online softmax before that tile. */
  tileMax: f32,
  rowMax: f32,
  rowSum: f32,
  /** What an attend multiplies inner products with, unless a call says otherwise headDim^-0.5. */
  scale: f32,
  /** How many q units a chunk has, in the sizes of kernels that run chunk by chunk. */
  chunk: i32(1, LONGEST),
  batches: i32(1, MOST_HEADS),
  indexHeads: i32(1, MOST_HEADS),
  valueDim: i32(1, 4096),
} satisfies Readonly<Record<string, VarRow>>

/** `logit` is the scaled score that a score function changes. */
const PAIR = { ...INDEX, ...TILE, logit: f32 } satisfies Readonly<Record<string, VarRow>>

/** What masks, scores and tile tests read. */
export type PairVar = keyof typeof PAIR
export type StageVar = UnitVar | keyof typeof STAGE
export type VarName = PairVar | StageVar

const UNITS = Object.fromEntries(
  UNIT_SLOTS.flatMap((slot) => UNIT_FIELDS.map((field) => [unitVar(slot, field), UNIT[field]])),
) as Readonly<Record<UnitVar, VarRow>>

export const VARS: Readonly<Record<VarName, VarRow>> = { ...PAIR, ...STAGE, ...UNITS }

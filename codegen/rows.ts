/** Rows: how the query rows of a head become tiles. A frame and its cut in; a tile's rows out. */

import { readsHead, type KernelPlan } from '../compiler/plan.ts'
import type { ListInfo, Share } from './artifact.ts'
import type { Block } from './block.ts'
import type { Frame, Tile } from './frame.ts'
import {
  add,
  and,
  i32,
  le,
  lt,
  max,
  min,
  mul,
  op,
  quotient,
  remainder,
  sub,
  toU32,
  fromU32,
  u32,
  type Code,
} from './kernel.ts'
import type { SourceRow } from './stage.ts'

export interface Parts {
  /** In the order in which they own pairs: what an earlier one holds, a later one leaves out. */
  readonly lists: readonly ListInfo[]
  /** What holds of the pairs of lists: the pattern's mask without the ranges that are walked before them. */
  readonly listed: KernelPlan
  /** True if the plan's own ranges are attended too, before the lists. */
  readonly ranges: boolean
  /** Whose order the lists' keys stand in; null: their own. Masks are asked of original positions. */
  readonly kvOrder: Share | null
  /** The rows of a tile may have records of their own, and meet at the tiles of keys that any of these reaches. */
  readonly merged?: boolean
}

/** Tiles that follow units of the query axis, so that all rows of a tile read the same records of every list. */
export interface Cut {
  /** Tokens of a unit; units begin at position 0. */
  readonly unit: number
  /** The query heads of a kv head share tiles: nothing that a tile reads differs between them. */
  readonly packed: boolean
}

/** Tiles follow the smallest unit of the lists; heads share them where nothing tells heads apart. */
export function cutOf({ lists, listed, kvOrder, merged }: Parts, plan: KernelPlan, tile: Tile): Cut | null {
  const units = lists.flatMap((l) => (l.q === 'whole' ? [] : [l.q]))
  if (units.length === 0) return null
  const unit = merged ? tile.q : units.reduce(greatestDivisor)
  const expressions = [plan.mask, listed.mask, plan.score, plan.sinkLogit].filter((e) => e !== null)
  const apart =
    lists.some((l) => l.share === 'head') ||
    kvOrder === 'head' ||
    expressions.some((mask) => readsHead({ ...plan, mask }))
  return { unit, packed: !apart && (merged || unit < tile.q) }
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b))

/** Row `t` of a tile is a u32 below tile.q. */
export interface TileRows {
  /** The tensor's row, an i32. */
  readonly row: (t: Code) => Code
  readonly source: (t: Code, headStride: Code) => SourceRow
  /** True if the row is for this tile to write. */
  readonly owns: (row: Code) => Code
  /** The query head of a row, counted from the tile's first. */
  readonly head: (t: Code) => Code
}

/** The tiles of a head, and one of them once its number and the batch entry's lengths are known. */
export interface Tiling {
  /** Query heads that share a tile. */
  readonly packs: Code
  /** Tiles of these heads. */
  readonly count: Code
  readonly tile: (block: Block, qTile: Code, lengths: RowLengths) => RowTile
}

export interface RowLengths {
  readonly qRow: Code
  readonly qStart: Code
}

export interface RowTile {
  readonly firstRow: Code
  /** One past the last row of the tile. */
  readonly endRow: Code
  /** The position of the first row of the tile's unit; null if tiles follow none. */
  readonly unitStart: Code | null
  readonly rows: TileRows
}

/** Tiles one after another from the tensor's first row. */
export function plainTiling(frame: Frame, block: Block): Tiling {
  const size = frame.tile.q
  const qRows = frame.uniform('qRows')
  return {
    packs: u32(1),
    count: block.let('qTiles', quotient(add(toU32(qRows), u32(size - 1)), u32(size))),
    tile: (b, qTile) => {
      const firstRow = b.let('firstRow', mul(fromU32(qTile), i32(size)))
      return {
        firstRow,
        endRow: add(firstRow, i32(size)),
        unitStart: null,
        rows: {
          row: (t) => add(firstRow, fromU32(t)),
          source: (t) => {
            const index = add(toU32(firstRow), t)
            return { at: index, valid: lt(index, toU32(qRows)) }
          },
          owns: (row) => lt(row, qRows),
          head: () => u32(0),
        },
      }
    },
  }
}

/** Tiles within units: the last one of a unit may have fewer rows, and so has the unit that begins before the tensor. */
export function unitTiling(frame: Frame, block: Block, { unit, packed }: Cut): Tiling {
  const size = frame.tile.q
  const qRows = frame.uniform('qRows')
  const group = toU32(quotient(frame.uniform('qHeads'), frame.uniform('kvHeads')))
  const packs = packed ? block.let('packs', min(group, toU32(frame.uniform('heads')))) : u32(1)
  const perUnit = packed
    ? block.let('tilesPerUnit', quotient(add(mul(u32(unit), packs), u32(size - 1)), u32(size)))
    : u32(Math.ceil(unit / size))
  // A unit may begin before the tensor does, and then another one ends behind it.
  const units = unit === 1 ? toU32(qRows) : add(quotient(add(toU32(qRows), u32(unit - 1)), u32(unit)), u32(1))
  return {
    packs,
    count: block.let('qTiles', mul(units, perUnit)),
    tile: (b, qTile, { qRow, qStart }) => {
      const firstPosition = b.let('firstPosition', sub(qStart, qRow))
      const first = op('i32', 'floorDiv', firstPosition, i32(unit))
      const index = b.let('unit', add(unit === 1 ? firstPosition : first, fromU32(quotient(qTile, perUnit))))
      const unitStart = b.let('unitStart', mul(index, i32(unit)))
      const unitRow = b.let('unitRow', sub(unitStart, firstPosition))
      // Rows of the unit, heads innermost: the tile has `size` of them from here on.
      const within = isOne(perUnit) ? u32(0) : mul(remainder(qTile, perUnit), u32(size))
      const begin = b.let('firstOfUnit', within)
      const token = (flat: Code) => fromU32(quotient(flat, packs))
      const firstRow = b.let('firstRow', add(unitRow, token(begin)))
      const lastFlat = add(begin, u32(size - 1))
      const endRow = b.let(
        'endRow',
        min(min(add(unitRow, i32(unit)), add(unitRow, add(token(lastFlat), i32(1)))), qRows),
      )
      const startRow = b.let('startRow', max(firstRow, i32(0)))
      const row = (t: Code) => add(unitRow, token(add(begin, t)))
      const owns = (r: Code) => and(le(startRow, r), lt(r, endRow))
      const head = (t: Code) => (packed ? remainder(add(begin, t), packs) : u32(0))
      return {
        firstRow,
        endRow,
        unitStart,
        rows: {
          row,
          source: (t, headStride) => ({
            at: toU32(row(t)),
            valid: owns(row(t)),
            beyond: mul(head(t), headStride),
          }),
          owns,
          head,
        },
      }
    },
  }
}

const isOne = (e: Code): boolean => e.kind === 'literal' && e.value === 1

/** Sums over few sharers by Hopper's warpgroup products: the statement of kernel.ts as a call of packed.cuh. */

import type { Helper, SharerProducts } from '../target.ts'
import { PANELS } from './panels.ts'
import { PRELUDE_HOPPER } from './product-hopper.ts'
import { givenOf, STRIPS } from './sharers.ts'
import { textOf } from './text.ts'
import { productText } from './wgmma.ts'

/** As packed.cuh has them: what a workgroup holds, and how wide a strip of columns is. */
const SHAPE = {
  PACK_GROUPS: 3,
  PACK_PANELS: 2,
  PACK_CHANNELS: 128,
  PACK_STRIP: 64,
  PACK_STRIPS: 32,
  PACK_STAGES: 4,
  PACK_BRINGING_REGISTERS: 56,
  PACK_ADDING_REGISTERS: 152,
} as const
const SHARERS = 16
const QUERIES = SHAPE.PACK_GROUPS * SHAPE.PACK_PANELS * (64 / SHARERS)

/** A column's channel is at most the sum of three numbers of eight bits. */
const COLUMN_PARTS = 3
const STRIP_BYTES = SHAPE.PACK_STAGES * COLUMN_PARTS * 2 * SHAPE.PACK_CHANNELS * SHAPE.PACK_STRIP
const BOOK_BYTES = 2048

/** Of fewer sharers most rows of a product are empty. */
const LEAST_SHARERS = 8

const HELPER: Helper = {
  name: 'packed',
  text: [
    ...Object.entries({ ...SHAPE, PACK_BOOK: BOOK_BYTES }).map(
      ([name, n]) => `constexpr int ${name} = ${n};`,
    ),
    '',
    productText(
      { name: 'productPack', columns: SHAPE.PACK_STRIP, a: 'registers', transposed: false, brains: true },
      'bf16',
    ),
    '',
    textOf('packed.cuh'),
  ].join('\n'),
  needs: [PRELUDE_HOPPER, PANELS, STRIPS],
}

export const PACKED_PRODUCTS: SharerProducts = {
  name: 'packed',
  columnParts: COLUMN_PARTS,
  tile: { q: QUERIES, kv: SHAPE.PACK_STRIP * SHAPE.PACK_STRIPS },
  strip: SHAPE.PACK_STRIP,
  threads: 128 * (1 + SHAPE.PACK_GROUPS),
  bytes: STRIP_BYTES + BOOK_BYTES,
  chunk: 64,
  sharers: { least: LEAST_SHARERS, most: SHARERS },
  // Pieces of sixteen bytes are there or not.
  channels: { most: SHAPE.PACK_CHANNELS, multiple: 8 },
  helper: HELPER,
  sums: (text) => {
    const { memory, sharers, channels, parts, scaled, y } = text
    const kinds = `${y.parts}, ${parts}, ${scaled === 'totals'}`
    return `sumPacked<${kinds}>((unsigned char*)${memory}, ${sharers}, ${channels}, ${givenOf(text)});`
  },
}

/** Sums over sharers by Hopper's warpgroup products: the statement of kernel.ts as a call of sharers.cuh. */

import type { Helper, PrintedLambda, PrintedSharerSums, SharerProducts } from '../target.ts'
import { PANELS, panelLambda } from './panels.ts'
import { PRELUDE_HOPPER } from './product-hopper.ts'
import { textOf } from './text.ts'
import { productText } from './wgmma.ts'

/** As sharers.cuh has them: what a workgroup holds, and how wide a strip of columns is. */
const SHAPE = {
  SHARER_ROWS: 64,
  SHARER_CHANNELS: 128,
  SHARER_GROUPS: 3,
  SHARER_QUERIES: 9,
  STRIP: 128,
  STRIPS: 16,
  STRIP_STAGES: 2,
} as const

/** The panels, and behind them what warps tell each other. */
const PANEL_BYTES =
  2 * SHAPE.SHARER_CHANNELS * (SHAPE.SHARER_QUERIES * SHAPE.SHARER_ROWS + SHAPE.STRIP_STAGES * SHAPE.STRIP)
const BOOK_BYTES = 14 * 1024

/** Of fewer sharers most rows of a product are empty: by then a product for each of them costs less. */
const LEAST_SHARERS = 16

/** What it shares with other sums over sharers. */
export const STRIPS: Helper = { name: 'strips', text: textOf('strips.cuh') }

const HELPER: Helper = {
  name: 'sharers',
  text: [
    ...Object.entries({ ...SHAPE, SHARER_BOOK: BOOK_BYTES }).map(
      ([name, n]) => `constexpr int ${name} = ${n};`,
    ),
    '',
    productText(
      { name: 'productStrip', columns: SHAPE.STRIP, a: 'shared', transposed: false, brains: true },
      'bf16',
    ),
    '',
    textOf('sharers.cuh'),
  ].join('\n'),
  needs: [PRELUDE_HOPPER, PANELS, STRIPS],
}

/** One that is handed out keeps copies: what it was made from is gone by then. */
const lambda = ({ parameters, body, value }: PrintedLambda, keeps: '&' | '='): string => {
  const made = typeof value === 'string' || value === null ? value : lambda(value, '=')
  return `[${keeps}](${parameters.join(', ')}) {\n${body}${made === null ? '' : `  return ${made};\n`}}`
}

/** What a call of the text is given. */
export const givenOf = ({ channels, query, x, y, functions }: PrintedSharerSums): string => {
  const panels = [panelLambda(x, channels, [query]), panelLambda(y, channels)]
  return [...panels, ...functions.map((f) => lambda(f, '&'))].join(', ')
}

export const SHARER_PRODUCTS: SharerProducts = {
  name: 'sharers',
  columnParts: 1,
  tile: { q: SHAPE.SHARER_QUERIES, kv: SHAPE.STRIP * SHAPE.STRIPS },
  strip: SHAPE.STRIP,
  threads: 128 * (1 + SHAPE.SHARER_GROUPS),
  bytes: PANEL_BYTES + BOOK_BYTES,
  chunk: 64,
  sharers: { least: LEAST_SHARERS, most: SHAPE.SHARER_ROWS },
  // Pieces of sixteen bytes are there or not.
  channels: { most: SHAPE.SHARER_CHANNELS, multiple: 8 },
  helper: HELPER,
  sums: (text) => {
    const { memory, sharers, channels, parts, scaled } = text
    return `sumSharers<${parts}, ${scaled === 'totals'}>((unsigned char*)${memory}, ${sharers}, ${channels}, ${givenOf(text)});`
  },
}

/** Panels of a product as CUDA text: functions that say where eight channels lie, or make them, for panels.cuh. */

import type { Helper, PrintedPanel, Products } from '../target.ts'
import { textOf } from './text.ts'

export const PANELS: Helper = { name: 'panels', text: textOf('panels.cuh') }

/** True where halves of the storage go in as they are; else the parts are brain floats, whatever the storage is. */
export const areStored = (x: PrintedPanel, y: PrintedPanel): boolean =>
  x.from.kind === 'halves' && y.from.kind === 'halves'

/** The functions of both panels, as arguments. */
export const lambdas = (x: PrintedPanel, y: PrintedPanel, channels: string): string =>
  [x, y].map((p) => panelLambda(p, channels)).join(', ')

/** @param before parameters that come before a panel's own */
export function panelLambda(
  { row, first, channel, body, there, from }: PrintedPanel,
  channels: string,
  before: readonly string[] = [],
): string {
  const parameters = [...before, row, first, channel].map((n) => `int ${n}`).join(', ')
  const made =
    from.kind === 'values'
      ? `  PanelValues panelMade;
  int panelHas = ${there} ? ${channels} - ${channel} : 0;
#pragma unroll
  for (int panelAt = 0; panelAt < 8; panelAt++) {
    int ${from.at} = ${channel} + panelAt;
    panelMade.x[panelAt] = panelAt < panelHas ? ${from.value} : 0.0f;
  }
  return panelMade;`
      : `  return ${from.kind === 'floats' ? 'panelFloats' : 'panelHalves'}(${from.buffer}.data, ${from.index}, ${there}, ${channels} - ${channel});`
  return `[&](${parameters}) {\n${body}${made}\n}`
}

/** Of blocks whose columns lanes one beside the other have. */
export const BLOCK_WIDTHS = [4, 8, 16, 32] as const

/** As cells.cuh has them. */
const STRIP_COLUMNS = 32

/** What is the same of all tiles: registers of sums, the loop over a thread's cells, bits of cells. */
export const cellsOf = (
  product: Helper,
  warpRows: number,
): Pick<Products, 'helper' | 'sums' | 'cells' | 'strips' | 'bits' | 'widths' | 'lses'> => ({
  helper: { name: 'cells', text: textOf('cells.cuh'), needs: [product] },
  sums: (name: string) => `float ${name}[PANEL_CELLS / 4][4] = {};`,
  cells: (cell, row, column, strip) => ({
    head: `#pragma unroll\nfor (int ${cell} = 0; ${cell} < PANEL_CELLS; ${cell}++)`,
    first:
      (strip === null ? '' : `if (stripOfCell(${cell}) != ${strip}) continue;\n`) +
      `int ${row} = rowOfCell(${cell}), ${column} = columnOfCell(${cell});`,
  }),
  strips: {
    q: warpRows,
    kv: STRIP_COLUMNS,
    text: (strip, row, column) => ({
      head: `#pragma unroll\nfor (int ${strip} = 0; ${strip} < PANEL_STRIPS; ${strip}++)`,
      first: `int ${row} = panelRow(), ${column} = panelColumn() + ${strip} * PANEL_STRIP;`,
    }),
  },
  widths: BLOCK_WIDTHS,
  lses: ({ sums, width, row, block, value, body }) =>
    `blockLses<${width}>(${sums}, [&](int ${row}, int ${block}, float ${value}) {\n${body}});`,
  bits: (sums: string, words: string, each: number) => `gatherBits<${each}>(${sums}, ${words});`,
})

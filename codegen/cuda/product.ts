/** Products of panels on the matrix units: the statements of kernel.ts as calls of product.cuh. */

import type { Helper, PrintedPanel, Products } from '../target.ts'
import { textOf } from './text.ts'

const TILE = 128
/** As PanelShape has them: channels of a chunk, and chunks that are under way. */
const shapeOf = (parts: number) => (parts === 2 ? { channels: 64, stages: 3 } : { channels: 32, stages: 2 })

const PRODUCT: Helper = { name: 'product', text: textOf('product.cuh') }

/** A lambda that says where eight channels lie, or makes them. */
function lambda({ row, channel, body, there, from }: PrintedPanel, channels: string): string {
  const count = `panelCount(${there}, ${channel}, ${channels})`
  const made =
    from.kind === 'values'
      ? `  PanelValues panelMade;
  int panelHas = ${count};
#pragma unroll
  for (int panelAt = 0; panelAt < 8; panelAt++) {
    int ${from.at} = ${channel} + panelAt;
    panelMade.x[panelAt] = panelAt < panelHas ? ${from.value} : 0.0f;
  }
  return panelMade;`
      : `  return ${from.kind === 'floats' ? 'panelFloats' : 'panelHalves'}(${from.buffer}.data, ${from.index}, ${count});`
  return `[&](int ${row}, int ${channel}) {\n${body}${made}\n}`
}

/** @param bf16 what words of two halves hold */
export const panelProducts = (bf16: boolean): Products => ({
  tile: TILE,
  threads: 256,
  halfParts: bf16 ? 1 : 2,
  bytes: (x, y) => {
    const { channels, stages } = shapeOf(x + y)
    return stages * (x + y) * TILE * channels * 2
  },
  // What every device from sm_80 on gives a block that asks for it.
  most: 99 * 1024,
  helper: PRODUCT,
  sums: (name) => `float ${name}[PANEL_CELLS / 4][4] = {};`,
  product: (sums, memory, x, y, channels) => {
    const stored = x.from.kind === 'halves' && y.from.kind === 'halves'
    const kinds = `${!stored}, ${x.parts}, ${y.parts}`
    const panels = [x, y].map((p) => lambda(p, channels)).join(', ')
    return `multiplyPanels<${kinds}>(${sums}, (unsigned char*)${memory}, ${channels}, ${panels});`
  },
  cells: (cell, row, column) => ({
    head: `#pragma unroll\nfor (int ${cell} = 0; ${cell} < PANEL_CELLS; ${cell}++)`,
    first: `int ${row} = rowOfCell(${cell}), ${column} = columnOfCell(${cell});`,
  }),
})

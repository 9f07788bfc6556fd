/** Products of panels on the matrix units: the statements of kernel.ts as calls of product.cuh. */

import type { Helper, Products } from '../target.ts'
import { areStored, cellsOf, lambdas, PANELS } from './panels.ts'
import { textOf } from './text.ts'

const TILE = 128
const WARP_ROWS = 32
/** As PanelShape has them: channels of a chunk, and chunks that are under way. */
const shapeOf = (parts: number) => (parts === 2 ? { channels: 64, stages: 3 } : { channels: 32, stages: 2 })

const PRODUCT: Helper = { name: 'product', text: textOf('product.cuh'), needs: [PANELS] }

/** @param bf16 what words of two halves hold */
export const panelProducts = (bf16: boolean): Products => ({
  ...cellsOf(PRODUCT, WARP_ROWS),
  tile: { q: TILE, kv: TILE },
  threads: 256,
  chunk: 64,
  halfParts: bf16 ? 1 : 2,
  bytes: (x, y) => {
    const { channels, stages } = shapeOf(x + y)
    return stages * (x + y) * TILE * channels * 2
  },
  // What every device from sm_80 on gives a block that asks for it.
  most: 99 * 1024,
  product: (sums, memory, x, y, channels) => {
    const kinds = `${!areStored(x, y)}, ${x.parts}, ${y.parts}`
    return `multiplyPanels<${kinds}>(${sums}, (unsigned char*)${memory}, ${channels}, ${lambdas(x, y, channels)});`
  },
})

/** Products of panels by Hopper's warpgroup products: the statements of kernel.ts as calls of product-hopper.cuh. */

import type { Helper, Products } from '../target.ts'
import { areStored, cellsOf, lambdas, PANELS } from './panels.ts'
import { textOf } from './text.ts'
import { productText } from './wgmma.ts'

const ROWS = 128
/** A thread has half as many sums as a tile has columns: with as many totals, or without. */
const COLUMNS = { alone: 256, totals: 128 } as const
/** Of a block's shared memory, what is left for the kernel's own. */
const MOST = 227 * 1024
const OWN = 8 * 1024
const MOST_STAGES = 4

/** Stages of the pipeline: as many as there is room for, since a stage is filled while another is read and a third may be. */
function memoryOf(
  columns: number,
  x: number,
  y: number,
): { readonly stages: number; readonly bytes: number } {
  const pitch = x + y === 2 ? 128 : 64
  const stage = (x * ROWS + y * columns) * pitch
  const stages = Math.min(MOST_STAGES, Math.floor((MOST - OWN) / stage))
  return { stages, bytes: stages * stage }
}

export const PRELUDE_HOPPER: Helper = { name: 'prelude-hopper', text: textOf('prelude-hopper.cuh') }

function helperOf(columns: number, bf16: boolean): Helper {
  const shape = { columns, a: 'shared', transposed: false } as const
  const text = [
    `constexpr int PANEL_COLUMNS = ${columns};`,
    productText({ ...shape, name: 'productHalves' }, bf16 ? 'bf16' : 'f16'),
    bf16
      ? `DEVICE void productBrains(float (&d)[${columns / 2}], u64 a, u64 b, int keep) { productHalves(d, a, b, keep); }`
      : productText({ ...shape, name: 'productBrains', brains: true }, 'f16'),
    textOf('product-hopper.cuh'),
  ]
  return { name: 'product-hopper', text: text.join('\n\n'), needs: [PRELUDE_HOPPER, PANELS] }
}

const productsOf = (bf16: boolean, columns: number): Products => ({
  ...cellsOf(helperOf(columns, bf16)),
  tile: { q: ROWS, kv: columns },
  threads: 256,
  chunk: 64,
  halfParts: bf16 ? 1 : 2,
  bytes: (x, y) => memoryOf(columns, x, y).bytes,
  most: MOST,
  product: (sums, memory, x, y, channels) => {
    const kinds = `${!areStored(x, y)}, ${x.parts}, ${y.parts}, ${memoryOf(columns, x.parts, y.parts).stages}`
    return `multiplyPanels<${kinds}>(${sums}, (unsigned char*)${memory}, ${channels}, ${lambdas(x, y, channels)});`
  },
})

/** @param bf16 what words of two halves hold */
export const groupProducts = (bf16: boolean): Products => ({
  ...productsOf(bf16, COLUMNS.alone),
  totals: productsOf(bf16, COLUMNS.totals),
})

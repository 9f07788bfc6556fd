/** Products of panels by Hopper's warpgroup products: the statements of kernel.ts as calls of product-hopper.cuh. */

import type { Helper, Products } from '../target.ts'
import { areStored, cellsOf, lambdas, PANELS } from './panels.ts'
import { textOf } from './text.ts'
import { productText } from './wgmma.ts'

const ROWS = 128
const WARP_ROWS = 16

/** Columns of a tile, of which a thread has half as many sums, and how many blocks share a multiprocessor. */
interface Shape {
  readonly columns: 128 | 256
  readonly blocks: 1 | 2
}
const ALONE: Shape = { columns: 256, blocks: 1 }
/** As many totals as sums. */
const TOTALS: Shape = { columns: 128, blocks: 1 }
/** A product that is over before its first panels were late: another block multiplies while this one waits and writes. */
const SHORT: Shape = { columns: 128, blocks: 2 }
const SHORT_CHANNELS = 192

/** Of shared memory, what blocks can have, and what is left for a kernel's own. */
const MOST = { 1: 227 * 1024, 2: 113 * 1024 } as const
const OWN = 8 * 1024
const MOST_STAGES = 4

interface Pipeline {
  readonly stages: number
  readonly bytes: number
  /** Every chunk has a stage of its own. */
  readonly all: boolean
}

/** As many stages as there is room for, since one is filled while another is read and a third may be; or as there are chunks. */
function pipelineOf({ columns, blocks }: Shape, x: number, y: number, channels: number | null): Pipeline {
  const pitch = x + y === 2 ? 128 : 64
  const stage = (x * ROWS + y * columns) * pitch
  const fit = Math.min(MOST_STAGES, Math.floor((MOST[blocks] - OWN) / stage))
  const chunks = channels === null ? Infinity : Math.ceil(channels / (pitch / 2))
  const stages = Math.min(fit, chunks)
  return { stages, bytes: stages * stage, all: chunks <= fit }
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

const productsOf = (bf16: boolean, shape: Shape): Products => ({
  ...cellsOf(helperOf(shape.columns, bf16), WARP_ROWS),
  tile: { q: ROWS, kv: shape.columns },
  blocks: shape.blocks,
  threads: 256,
  chunk: 64,
  halfParts: bf16 ? 1 : 2,
  bytes: (x, y, channels) => pipelineOf(shape, x, y, channels).bytes,
  most: MOST[shape.blocks],
  product: (sums, memory, x, y, channels) => {
    const known = /^\d+$/.test(channels) ? Number(channels) : null
    const { stages, all } = pipelineOf(shape, x.parts, y.parts, known)
    const kinds = `${!areStored(x, y)}, ${x.parts}, ${y.parts}, ${stages}, ${all}`
    return `multiplyPanels<${kinds}>(${sums}, (unsigned char*)${memory}, ${channels}, ${lambdas(x, y, channels)});`
  },
})

/** @param bf16 what words of two halves hold */
export const groupProducts = (bf16: boolean): Products => ({
  ...productsOf(bf16, ALONE),
  totals: productsOf(bf16, TOTALS),
  short: { most: SHORT_CHANNELS, products: productsOf(bf16, SHORT) },
})

/** Tensors as they may lie in a caller's memory: rows with something between them, keys and values in pages; NaN elsewhere. */

import { extentOf, stridesOf, viewOf, type Layout, type Shape, type Strides, type Tensor } from '../tensor.ts'
import { seededRandom } from './draw.ts'

/** NaN as a half float and as a brain float. */
const NAN_BITS = 0x7fff

const blank = ({ data }: Tensor, count: number): Float32Array | Uint16Array =>
  data instanceof Float32Array
    ? new Float32Array(count).fill(Number.NaN)
    : new Uint16Array(count).fill(NAN_BITS)

/** Copies every row of a tensor to where `place` says. */
function copyRows(
  tensor: Tensor,
  to: Float32Array | Uint16Array,
  place: (b: number, h: number, r: number) => number,
): void {
  const { data, shape, strides } = viewOf('tensor', tensor)
  const [batch, heads, rows, dim] = shape
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let r = 0; r < rows; r++) {
        const from = b * strides[0] + h * strides[1] + r * strides[2]
        to.set(data.subarray(from, from + dim), place(b, h, r))
      }
    }
  }
}

const retyped = (tensor: Tensor, data: Float32Array | Uint16Array): Pick<Tensor, 'data' | 'dtype'> =>
  tensor.dtype === undefined ? { data } : { data, dtype: tensor.dtype }

/** The same tensor with `pad` elements after each row. */
export function padRows(tensor: Tensor, pad: number, layout: Layout = tensor.layout ?? 'bhld'): Tensor {
  const { shape } = tensor
  const strides = stridesOf(shape, layout, shape[3] + pad)
  const data = blank(tensor, extentOf(shape, strides))
  copyRows(tensor, data, (b, h, r) => b * strides[0] + h * strides[1] + r * strides[2])
  return { ...retyped(tensor, data), shape, strides }
}

export interface PageChoice {
  readonly pageSize: number
  /** Pages that no sequence has. */
  readonly spare: number
  readonly layout: Layout
  readonly seed: number
}

export interface Paged {
  readonly k: Tensor
  readonly v: Tensor
  readonly table: Int32Array
  /** Entries of a batch entry. */
  readonly perSequence: number
}

/** k and v, [batch, heads, rows, dim], as pages in no order; slots behind the last row hold NaN. */
export function toPages(k: Tensor, v: Tensor, { pageSize, spare, layout, seed }: PageChoice): Paged {
  const [batch, heads, rows] = k.shape
  const perSequence = Math.max(1, Math.ceil(rows / pageSize))
  const count = batch * perSequence + spare
  const random = seededRandom(seed)
  const order = Int32Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const table = order.slice(0, batch * perSequence)
  const put = (tensor: Tensor): Tensor => {
    const shape: Shape = [count, heads, pageSize, tensor.shape[3]]
    const strides: Strides = stridesOf(shape, layout)
    const data = blank(tensor, count * heads * pageSize * tensor.shape[3])
    copyRows(tensor, data, (b, h, r) => {
      const page = table[b * perSequence + Math.floor(r / pageSize)]!
      return page * strides[0] + h * strides[1] + (r % pageSize) * strides[2]
    })
    return { ...retyped(tensor, data), shape, layout }
  }
  return { k: put(k), v: put(v), table, perSequence }
}

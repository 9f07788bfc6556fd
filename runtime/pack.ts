/** Views and packed buffers: part of a tensor in, contiguous rows as a kernel may load them out, and back again. */

import type { Slice } from './meta.ts'
import { extentOf, stridesOf, type Shape, type Strides, type View } from './tensor.ts'

export interface Packed {
  readonly data: Float32Array | Uint16Array
  readonly strides: Strides
}

/**
 * Batch entries and heads of a view with strides that are multiples of `align`: as they lie if they lie so and close
 * together, else a copy.
 */
export function packView(
  view: View,
  batchBase: number,
  batch: number,
  headBase: number,
  heads: number,
  align: number,
): Packed {
  const { data, shape, strides } = view
  const part: Shape = [batch, heads, shape[2], shape[3]]
  const start = batchBase * strides[0] + headBase * strides[1]
  const extent = extentOf(part, strides)
  const dense = batch * heads * shape[2] * shape[3]
  if (extent <= dense && strides.every((s) => s % align === 0)) {
    return { data: data.subarray(start, start + extent), strides }
  }
  const row = Math.ceil(shape[3] / align) * align
  const packed = stridesOf(part, 'bhld', row)
  const copy =
    data instanceof Float32Array ? new Float32Array(batch * packed[0]) : new Uint16Array(batch * packed[0])
  eachRow(part, (b, h, r) => {
    const from = start + b * strides[0] + h * strides[1] + r * strides[2]
    copy.set(data.subarray(from, from + shape[3]), b * packed[0] + h * packed[1] + r * packed[2])
  })
  return { data: copy, strides: packed }
}

/** Puts a slice's packed rows into their places in the whole tensor. */
export function scatter(
  to: View,
  { batchBase, batch, headBase, heads }: Slice,
  bytes: ArrayBuffer,
  row: number,
): void {
  const { data, shape, strides } = to
  const part: Shape = [batch, heads, shape[2], shape[3]]
  const packed = stridesOf(part, 'bhld', row)
  const from = data instanceof Float32Array ? new Float32Array(bytes) : new Uint16Array(bytes)
  const start = batchBase * strides[0] + headBase * strides[1]
  // Row by row takes a second for millions of rows.
  if (row === shape[3] && packed.every((s, i) => s === strides[i] || part[i] === 1)) {
    data.set(from.subarray(0, extentOf(part, packed)), start)
    return
  }
  eachRow(part, (b, h, r) => {
    const at = b * packed[0] + h * packed[1] + r * packed[2]
    data.set(from.subarray(at, at + shape[3]), start + b * strides[0] + h * strides[1] + r * strides[2])
  })
}

function eachRow([batch, heads, len]: Shape, f: (b: number, h: number, r: number) => void): void {
  for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let r = 0; r < len; r++) f(b, h, r)
}

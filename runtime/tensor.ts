/** Tensors on the host: what a caller passes in, checked views with strides and read access out. */
/// <reference lib="esnext.float16" preserve="true" />

import type { Dtype } from '../codegen/artifact.ts'
import { fromBfloat } from './bfloat.ts'
import { fromHalf, isHalfArray, nativeHalfArray } from './half.ts'
import { HeddleError } from './messages.ts'

/** How the dimensions lie in memory: `bhld` is [batch, heads, len, dim], `blhd` is [batch, len, heads, dim]. */
export type Layout = 'bhld' | 'blhd'

/** [batch, heads, len, dim], whatever the layout. */
export type Shape = readonly [batch: number, heads: number, len: number, dim: number]

/** Elements from one batch entry, head and row to the next; the elements of a row are always neighbours. */
export type Strides = readonly [batch: number, head: number, row: number]

/** f16 data is a Float16Array where the platform has one, or the bits in a Uint16Array. */
export type FloatData = Float32Array | Uint16Array | Float16Array

/** What tensors may hold; WGSL kernels have f32 and f16, CUDA kernels f16 and bf16. */
export type StorageDtype = Dtype | 'bf16'

export interface Tensor {
  readonly data: FloatData
  /** Of a Uint16Array alone: which numbers its bits are, half floats ('f16') unless it says 'bf16'. */
  readonly dtype?: 'f16' | 'bf16'
  /** Always logical: [batch, heads, len, dim]. */
  readonly shape: Shape
  readonly layout?: Layout
  /** Overrides the layout: views of larger buffers, padded rows, broadcast heads (stride 0). */
  readonly strides?: Strides
}

/** A checked tensor: bits or floats, and where each row starts. */
export interface View {
  readonly name: string
  readonly dtype: StorageDtype
  readonly data: Float32Array | Uint16Array
  readonly shape: Shape
  readonly strides: Strides
}

/** What the compiler's bounds on index expressions rely on. */
export const LIMITS = { length: 2 ** 22, heads: 2 ** 16, batch: 2 ** 16, dim: 4096 } as const

const STRIDE_LIMIT = 2 ** 32 - 1

const isCount = (x: unknown, least: number, most: number): x is number =>
  typeof x === 'number' && Number.isInteger(x) && x >= least && x <= most

export function stridesOf(shape: Shape, layout: Layout, rowLength: number = shape[3]): Strides {
  const [, heads, len] = shape
  return layout === 'bhld'
    ? [heads * len * rowLength, len * rowLength, rowLength]
    : [len * heads * rowLength, rowLength, heads * rowLength]
}

/** The elements from the first to one past the last that strides reach. */
export function extentOf([batch, heads, len, dim]: Shape, [b, h, r]: Strides): number {
  return batch * heads * len * dim === 0 ? 0 : (batch - 1) * b + (heads - 1) * h + (len - 1) * r + dim
}

export function checkShape(name: string, shape: unknown): asserts shape is Shape {
  const axes = ['batch', 'heads', 'len', 'dim']
  if (!Array.isArray(shape) || shape.length !== 4) {
    const got: readonly (number | string)[] = Array.isArray(shape) ? shape.map(String) : [String(shape)]
    throw new HeddleError('shape', { tensor: name, axes, expected: ['batch', 'heads', 'len', 'dim'], got })
  }
  const bounds: readonly (readonly [number, number])[] = [
    [1, LIMITS.batch],
    [1, LIMITS.heads],
    [0, LIMITS.length],
    [1, LIMITS.dim],
  ]
  bounds.forEach(([least, most], i) => {
    const got: unknown = shape[i]
    if (!isCount(got, least, most)) {
      throw new HeddleError('shape-value', { tensor: name, axis: axes[i]!, least, most, got })
    }
  })
}

export function checkLayout(name: string, layout: unknown): asserts layout is Layout {
  if (layout !== 'bhld' && layout !== 'blhd') throw new HeddleError('layout', { tensor: name, got: layout })
}

export function checkStrides(name: string, strides: unknown): asserts strides is Strides {
  const good =
    Array.isArray(strides) && strides.length === 3 && strides.every((s) => isCount(s, 0, STRIDE_LIMIT))
  if (!good) throw new HeddleError('strides', { tensor: name, got: strides })
}

const nameOf = (x: unknown): string =>
  typeof x === 'object' && x !== null ? (x.constructor?.name ?? 'an object') : x === null ? 'null' : typeof x

/** Checks shape, layout, strides and size; `layout` is the call's, for tensors that name none. */
export function viewOf(name: string, tensor: Tensor, layout: Layout = 'bhld'): View {
  const given: unknown = tensor
  if (typeof given !== 'object' || given === null) {
    throw new HeddleError('dtype', { tensor: name, expected: '{ data, shape }', got: nameOf(given) })
  }
  const { data, dtype } = dataOf(name, tensor.data, tensor.dtype)
  checkShape(name, tensor.shape)
  const own = tensor.layout ?? layout
  checkLayout(name, own)
  if (tensor.strides !== undefined) checkStrides(name, tensor.strides)
  const strides = tensor.strides ?? stridesOf(tensor.shape, own)
  const needed = extentOf(tensor.shape, strides)
  const exact = tensor.strides === undefined
  if (exact ? data.length !== needed : data.length < needed) {
    throw new HeddleError('tensor-size', { tensor: name, needed, got: data.length, unit: 'elements' })
  }
  return { name, dtype, data, shape: tensor.shape, strides }
}

function dataOf(
  name: string,
  data: unknown,
  tag: unknown,
): { data: Float32Array | Uint16Array; dtype: StorageDtype } {
  if (data instanceof Uint16Array && (tag === undefined || tag === 'f16' || tag === 'bf16'))
    return { data, dtype: tag ?? 'f16' }
  if (tag !== undefined && (tag !== 'f16' || !isHalfArray(data)))
    throw new HeddleError('dtype', {
      tensor: name,
      expected: "a Uint16Array where dtype is given, 'f16' or 'bf16'",
      got: `${nameOf(data)} with dtype ${String(tag)}`,
    })
  if (data instanceof Float32Array) return { data, dtype: 'f32' }
  if (isHalfArray(data))
    return { data: new Uint16Array(data.buffer, data.byteOffset, data.length), dtype: 'f16' }
  throw new HeddleError('dtype', {
    tensor: name,
    expected: 'a Float32Array, a Float16Array or a Uint16Array of half-float bits',
    got: nameOf(data),
  })
}

/** The three inputs of one call fit each other; gives the sizes that all else is checked against. */
export interface Sizes {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qRows: number
  readonly kvRows: number
  readonly headDim: number
  readonly valueDim: number
  /** Heads of a learned scorer, where the call has one. */
  readonly indexHeads?: number
}

export function sizesOf(q: Shape, k: Shape, v: Shape): Sizes {
  const [batch, qHeads, qRows, headDim] = q
  const same = (
    tensor: string,
    axes: readonly string[],
    expected: readonly (number | string)[],
    got: Shape,
  ) => {
    if (expected.some((e, i) => typeof e === 'number' && e !== got[i])) {
      throw new HeddleError('shape', { tensor, axes, expected, got })
    }
  }
  // Where k does not fit q, v says what heads and length were meant; else k says it and v has to follow.
  same(
    'k',
    ['batch', 'kvHeads', 'kvLen', 'headDim'],
    [batch, v[1], v[2], headDim].map((e, i) => (k[0] === batch && k[3] === headDim ? k[i]! : e)),
    k,
  )
  same('v', ['batch', 'kvHeads', 'kvLen', 'valueDim'], [batch, k[1], k[2], v[3]], v)
  if (qHeads % k[1] !== 0) throw new HeddleError('heads-group', { qHeads, kvHeads: k[1] })
  return { batch, qHeads, kvHeads: k[1], qRows, kvRows: k[2], headDim, valueDim: v[3] }
}

export function checkDtypes(q: View, others: readonly View[]): StorageDtype {
  for (const { name, dtype } of others) {
    if (dtype !== q.dtype)
      throw new HeddleError('dtype', { tensor: name, expected: `${q.dtype} as q`, got: dtype })
  }
  return q.dtype
}

/** A view's elements as numbers, contiguous [batch, heads, len, dim]. */
export function readView({ data, dtype, shape, strides }: View): Float64Array {
  const [batch, heads, len, dim] = shape
  const out = new Float64Array(batch * heads * len * dim)
  const decode = dtype === 'f16' ? fromHalf : dtype === 'bf16' ? fromBfloat : (x: number) => x
  let to = 0
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let r = 0; r < len; r++) {
        const from = b * strides[0] + h * strides[1] + r * strides[2]
        for (let i = 0; i < dim; i++) out[to++] = decode(data[from + i]!)
      }
    }
  }
  return out
}

/** A tensor of zeros of the type that `like` has: bits stay bits, a Float16Array stays one. */
export function emptyLike(like: FloatData, shape: Shape, layout: Layout): Tensor & { layout: Layout } {
  const count = shape[0] * shape[1] * shape[2] * shape[3]
  if (like instanceof Float32Array) return { data: new Float32Array(count), shape, layout }
  const Half = nativeHalfArray()
  return {
    data: Half !== null && like instanceof Half ? new Half(count) : new Uint16Array(count),
    shape,
    layout,
  }
}

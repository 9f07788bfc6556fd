/** Tensors that lie on the device: what a caller says of one in, a checked view with its alignment out. */

import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { HeddleError } from '../messages.ts'
import { checkLayout, checkShape, stridesOf, type Layout, type Shape, type Strides } from '../tensor.ts'
import type { Address } from './driver.ts'

export interface DeviceTensor {
  readonly address: Address
  /** [batch, heads, len, dim], whatever the layout; of paged k and v: [pages, heads, page size, dim]. */
  readonly shape: Shape
  readonly dtype: CudaDtype
  readonly layout?: Layout
  /** In elements: batch (or page), head, row; a fourth one, of columns, has to be 1. Overrides the layout. */
  readonly strides?: readonly number[]
}

export interface DeviceView {
  readonly name: TensorName
  readonly address: Address
  readonly shape: Shape
  readonly strides: Strides
  readonly dtype: CudaDtype
}

export type TensorName = 'q' | 'k' | 'v' | 'out'

/** What tensor maps can hold. */
const STRIDE_LIMIT = 2 ** 39
const BYTES = 2
/** A whole vector load, in bytes. */
export const VECTOR = 16

export function deviceView(name: TensorName, tensor: DeviceTensor, layout: Layout = 'bhld'): DeviceView {
  const { address, shape, dtype } = tensor
  if (dtype !== 'bf16' && dtype !== 'f16')
    throw new HeddleError('dtype', { tensor: name, expected: "'bf16' or 'f16'", got: String(dtype) })
  checkShape(name, shape)
  const own = tensor.layout ?? layout
  checkLayout(name, own)
  if (typeof address !== 'bigint' || address < 0n || address % BigInt(BYTES) !== 0n) {
    const got = Number(address)
    throw new HeddleError('alignment', { tensor: name, what: 'its address', multiple: BYTES, got })
  }
  return { name, address, shape, dtype, strides: stridesGiven(name, tensor.strides) ?? stridesOf(shape, own) }
}

function stridesGiven(name: string, strides: readonly number[] | undefined): Strides | null {
  if (strides === undefined) return null
  const whole =
    Array.isArray(strides) && strides.every((s) => Number.isInteger(s) && s >= 0 && s <= STRIDE_LIMIT)
  if (!whole || strides.length < 3 || strides.length > 4)
    throw new HeddleError('strides', { tensor: name, got: strides })
  if (strides.length === 4 && strides[3] !== 1)
    throw new HeddleError('inner-stride', { tensor: name, got: strides[3] })
  return [strides[0]!, strides[1]!, strides[2]!]
}

export interface Misaligned {
  readonly tensor: TensorName
  readonly what: string
  readonly multiple: number
  readonly got: number
}

/** The first thing that keeps whole vectors from being loaded, in bytes; strides of dimensions of one do not matter. */
export function misalignment(views: readonly DeviceView[]): Misaligned | null {
  for (const { name, address, shape, strides } of views) {
    const rest = Number(address % BigInt(VECTOR))
    if (rest !== 0) return { tensor: name, what: 'its address', multiple: VECTOR, got: Number(address) }
    for (const [i, axis] of (['batch', 'head', 'row'] as const).entries()) {
      const bytes = strides[i]! * BYTES
      if (shape[i]! > 1 && bytes % VECTOR !== 0)
        return { tensor: name, what: `its ${axis} stride in bytes`, multiple: VECTOR, got: bytes }
    }
  }
  return null
}

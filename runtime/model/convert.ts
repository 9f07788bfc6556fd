/** Stored elements in, elements as the device's buffers hold them out: f32, or halves by their bits. */

import type { Dtype } from '../../codegen/artifact.ts'
import { fromBfloat } from '../bfloat.ts'
import { fromHalf, HALF_MAX, toHalf } from '../half.ts'
import { HeddleError } from '../messages.ts'
import type { WeightDtype } from './tensors.ts'

type Stored = Uint8Array<ArrayBuffer>
type Converted = Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>
type Convert = (bytes: Stored, tensor: string) => Converted

export const STORED_BYTES: Readonly<Record<WeightDtype, number>> = { F32: 4, F16: 2, BF16: 2 }

const words = (bytes: Stored) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2)
const floats = (bytes: Stored) => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)

/** Beyond it there is no half float; what rounds down to the largest is one. */
const halfOf = (value: number, tensor: string): number => {
  if (Math.abs(value) >= HALF_MAX + 16) throw new HeddleError('weight-range', { tensor, value })
  return toHalf(value)
}

/** The half of every brain float; those that have none are asked for one by one. */
let halves: Uint16Array | null = null
const NONE = 0xfe00

function bfloatHalves(): Uint16Array {
  if (halves) return halves
  halves = Uint16Array.from({ length: 1 << 16 }, (_, bits) => {
    const value = fromBfloat(bits)
    return Math.abs(value) < HALF_MAX + 16 ? toHalf(value) : NONE
  })
  return halves
}

/** One row for what is stored, one column for what it becomes. */
const CONVERSIONS: Readonly<Record<WeightDtype, Readonly<Record<Dtype, Convert>>>> = {
  F32: {
    f32: floats,
    f16: (bytes, tensor) => Uint16Array.from(floats(bytes), (x) => halfOf(x, tensor)),
  },
  F16: {
    f32: (bytes) => Float32Array.from(words(bytes), fromHalf),
    f16: words,
  },
  BF16: {
    f32: (bytes) => {
      const from = words(bytes)
      const to = new Uint32Array(from.length)
      for (let i = 0; i < from.length; i++) to[i] = from[i]! << 16
      return new Float32Array(to.buffer)
    },
    f16: (bytes, tensor) => {
      const [from, table] = [words(bytes), bfloatHalves()]
      const to = new Uint16Array(from.length)
      for (let i = 0; i < from.length; i++) {
        const bits = table[from[i]!]!
        to[i] = bits === NONE ? halfOf(fromBfloat(from[i]!), tensor) : bits
      }
      return to
    },
  },
}

export const convert = (bytes: Stored, from: WeightDtype, to: Dtype, tensor: string): Converted =>
  CONVERSIONS[from][to](bytes, tensor)

/** Tensor maps of the emulation: a spec in; 128 bytes that boxes.h reads, or what a driver would refuse, out. */

import type { TensorMapSpec } from '../driver.ts'

/** 'TnsorMap', as boxes.h spells it. */
const MAGIC = 0x70614d726f736e54n
const BYTES = 128
const UNIT = 16
const MOST_RANK = 5

/** What the CUDA driver demands of a map with these fields; null: nothing is wrong. */
export function mapFault({ address, sizes, strides, box, swizzle }: TensorMapSpec): string | null {
  if (address === 0n || address % BigInt(UNIT) !== 0n) return `an address of ${address}`
  const size = sizes.find((n) => !Number.isInteger(n) || n < 1 || n > 2 ** 32)
  if (size !== undefined) return `a size of ${size}`
  const stride = strides.find((n) => !Number.isInteger(n) || n % UNIT !== 0 || n < 0 || n >= 2 ** 40)
  if (stride !== undefined) return `a stride of ${stride} bytes`
  const edge = box.find((n) => !Number.isInteger(n) || n < 1 || n > 256)
  if (edge !== undefined) return `a box of ${edge} elements`
  const row = 2 * box[0]
  return row % UNIT !== 0 || row > swizzle ? `a box row of ${row} bytes under a swizzle of ${swizzle}` : null
}

export function mapBytes({ address, sizes, strides, box, swizzle }: TensorMapSpec): Uint8Array {
  const bytes = new Uint8Array(BYTES)
  const view = new DataView(bytes.buffer)
  const padded = (numbers: readonly number[], count: number) =>
    Array.from({ length: count }, (_, i) => BigInt(numbers[i] ?? 0))
  const long = [MAGIC, address, ...padded(sizes, MOST_RANK), ...padded(strides, MOST_RANK - 1)]
  long.forEach((x, i) => view.setBigUint64(8 * i, x, true))
  const short = [...box, swizzle, sizes.length]
  short.forEach((x, i) => view.setUint32(8 * long.length + 4 * i, x, true))
  return bytes
}

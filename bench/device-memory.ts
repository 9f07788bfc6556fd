/** A CUDA driver in; memory filled with random numbers, all of it given back at once, out. */

import type { Address, CudaDriver } from '../runtime/cuda.ts'
import { toBfloat } from '../runtime/bfloat.ts'

/** Elements that are made on the host at a time. */
const PIECE = 1 << 22

/** Four bytes added up: a bell of variance 1 around 0, of which there are only so many values. */
const SUMS = 4 * 255 + 1
const DEVIATION = Math.sqrt((4 * (256 ** 2 - 1)) / 12)
const BELL = Float32Array.from({ length: SUMS }, (_, sum) => (sum - 2 * 255) / DEVIATION)
const BELL16 = Uint16Array.from(BELL, toBfloat)

/** Xorshift: the same on every machine, and as fast as memory is written. */
function* pieces(
  count: number,
  seed: number,
): Generator<{ readonly at: number; readonly sums: Uint16Array }> {
  let x = Math.imul(seed, 0x9e3779b9) | 1
  const sums = new Uint16Array(Math.min(PIECE, count))
  for (let at = 0; at < count; at += PIECE) {
    const some = sums.subarray(0, Math.min(PIECE, count - at))
    for (let i = 0; i < some.length; i++) {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      some[i] = (x & 255) + ((x >>> 8) & 255) + ((x >>> 16) & 255) + (x >>> 24)
    }
    yield { at, sums: some }
  }
}

export class DeviceMemory {
  readonly #driver: CudaDriver
  readonly #held: Address[] = []

  constructor(driver: CudaDriver) {
    this.#driver = driver
  }

  blank(bytes: number): Address {
    const address = this.#driver.alloc(Math.max(16, bytes))
    this.#held.push(address)
    return address
  }

  /** Brain floats. */
  bell16(count: number, seed: number): Address {
    return this.#filled(count, seed, new Uint16Array(Math.min(PIECE, count)), BELL16)
  }

  /** f32, of a deviation. */
  bell32(count: number, deviation: number, seed: number): Address {
    const values = BELL.map((x) => deviation * x)
    return this.#filled(count, seed, new Float32Array(Math.min(PIECE, count)), values)
  }

  /** Piece by piece through `piece`; `values` has what each sum stands for. */
  #filled<T extends Uint16Array | Float32Array>(count: number, seed: number, piece: T, values: T): Address {
    const size = piece.BYTES_PER_ELEMENT
    const address = this.blank(size * count)
    for (const { at, sums } of pieces(count, seed)) {
      // A loop, not a map: rows of an indexer are a thousand million numbers.
      for (let i = 0; i < sums.length; i++) piece[i] = values[sums[i]!]!
      this.#driver.copyIn(address + BigInt(size * at), new Uint8Array(piece.buffer, 0, size * sums.length))
    }
    return address
  }

  free(): void {
    for (const address of this.#held.splice(0)) this.#driver.free(address)
  }
}

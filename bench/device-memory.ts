/** A CUDA driver in; memory filled with random numbers, all of it given back at once, out. */

import type { Address, CudaDriver } from '../runtime/cuda.ts'
import { toBfloat } from '../runtime/bfloat.ts'
import { BELL, bells } from './bell.ts'

const BELL16 = Uint16Array.from(BELL, toBfloat)

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
    return this.#filled(2 * count, bells(count, seed, BELL16))
  }

  /** f32, of a deviation. */
  bell32(count: number, deviation: number, seed: number): Address {
    const values = BELL.map((x) => deviation * x)
    return this.#filled(4 * count, bells(count, seed, values))
  }

  #filled(bytes: number, pieces: ReturnType<typeof bells>): Address {
    const address = this.blank(bytes)
    for (const { at, bytes: piece } of pieces) this.#driver.copyIn(address + BigInt(at), piece)
    return address
  }

  free(): void {
    for (const address of this.#held.splice(0)) this.#driver.free(address)
  }
}

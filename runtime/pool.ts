/** GPU buffers of one device: taken from and given back to a pool, so that calls in a row allocate nothing. */

/** WebGPU's flags; the globals that name them are missing in Node. */
export const USAGE = {
  storage: 0x80 | 0x08 | 0x04,
  uniform: 0x40 | 0x08,
  readBack: 0x01 | 0x08,
  resolve: 0x200 | 0x04,
} as const

/** Free buffers beyond this many bytes are destroyed: large tensors must not be held twice. */
const FREE_BYTES = 128 * 2 ** 20

export class BufferPool {
  readonly #device: GPUDevice
  #free: GPUBuffer[] = []
  #freeBytes = 0
  created = 0
  destroyed = 0
  /** False while nobody is there to take a buffer again: what comes back is destroyed. */
  open = true

  constructor(device: GPUDevice) {
    this.#device = device
  }

  /** At least `bytes` long; its content is whatever it last held. */
  take(bytes: number, usage: number): GPUBuffer {
    let best = -1
    // What was given back last is most often what is asked for next: a step of a model takes the same few sizes again.
    for (let i = this.#free.length - 1; i >= 0; i--) {
      const buffer = this.#free[i]!
      const fits = buffer.usage === usage && buffer.size >= bytes && buffer.size <= 2 * bytes
      if (fits && (best < 0 || buffer.size < this.#free[best]!.size)) best = i
      if (fits && buffer.size === bytes) break
    }
    if (best >= 0) {
      const [buffer] = this.#free.splice(best, 1)
      this.#freeBytes -= buffer!.size
      return buffer!
    }
    const buffer = this.#device.createBuffer({ size: bytes, usage })
    this.created++
    return buffer
  }

  give(buffer: GPUBuffer): void {
    if (!this.open) return this.drop(buffer)
    this.#free.push(buffer)
    this.#freeBytes += buffer.size
    while (this.#freeBytes > FREE_BYTES) {
      const oldest = this.#free.shift()!
      this.#freeBytes -= oldest.size
      this.drop(oldest)
    }
  }

  drop(buffer: GPUBuffer): void {
    buffer.destroy()
    this.destroyed++
  }

  /** Destroys what nobody holds, and from here on what is given back. */
  close(): void {
    this.open = false
    const free = this.#free
    this.#free = []
    this.#freeBytes = 0
    free.forEach((buffer) => this.drop(buffer))
  }
}

/** The buffers of one call: all go back to the pool at its end, or are destroyed if it failed. */
export class Lease {
  readonly #pool: BufferPool
  #held: GPUBuffer[] = []
  bytes = 0

  constructor(pool: BufferPool) {
    this.#pool = pool
  }

  take(bytes: number, usage: number): GPUBuffer {
    const buffer = this.#pool.take(bytes, usage)
    this.#held.push(buffer)
    this.bytes += bytes
    return buffer
  }

  end(outcome: 'keep' | 'destroy'): void {
    const held = this.#held
    this.#held = []
    held.forEach((buffer) => (outcome === 'keep' ? this.#pool.give(buffer) : this.#pool.drop(buffer)))
  }
}

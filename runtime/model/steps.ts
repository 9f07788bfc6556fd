/** Steps of a model: tokens through its layers, in submissions of a size that a device likes; what they leave, read back. */

import { HeddleError } from '../messages.ts'
import { Lease } from '../pool.ts'
import { readBack } from '../read-back.ts'
import type { Gpu } from '../webgpu.ts'
import type { AttentionKernel } from './attention.ts'
import type { Network } from './network.ts'
import { Recorder, Timer, type KernelTime } from './recorder.ts'

/** Tokens of a step and where the first one stands; `length` is that of the whole, as far as it is known. */
export interface Chunk {
  readonly tokens: readonly number[]
  readonly position: number
  readonly length: number
}

export class Steps {
  readonly #gpu: Gpu
  readonly #network: Network
  /** Throws where nothing may run any more. */
  readonly #check: () => void
  #timer: Timer | null = null
  attention: AttentionKernel

  constructor(gpu: Gpu, network: Network, attention: AttentionKernel, check: () => void) {
    this.#gpu = gpu
    this.#network = network
    this.attention = attention
    this.#check = check
  }

  /** Tokens from `start` on. Steps end where a whole prompt's would: units of a pattern are cut alike whatever was cached. */
  *chunks(tokens: readonly number[], start: number): Generator<Chunk> {
    const { chunk } = this.#network.sizes
    const length = tokens.length
    for (let position = start; position < length;) {
      const rows = Math.min(length - position, chunk - (position % chunk))
      yield { tokens: tokens.slice(position, position + rows), position, length }
      position += rows
    }
  }

  /** One step through the first `layers` layers. A prefill submits layer by layer: what they work in is used again. */
  async run(
    { tokens, position, length }: Chunk,
    layers: number,
    signal: AbortSignal | undefined,
    last: (recorder: Recorder) => void = () => {},
  ): Promise<void> {
    const network = this.#network
    const rows = tokens.length
    const layer = (recorder: Recorder, n: number) =>
      network.layer(recorder, n, rows, position, this.attention)
    signal?.throwIfAborted()
    this.#check()
    network.place(tokens, position, length)
    if (rows === 1) {
      await this.submit((recorder) => {
        network.embed(recorder, rows)
        for (let n = 0; n < layers; n++) layer(recorder, n)
        last(recorder)
      })
      return
    }
    await this.submit((recorder) => network.embed(recorder, rows))
    for (let n = 0; n < layers; n++) await this.submit((recorder) => layer(recorder, n))
    await this.submit(last)
    await this.#wait(this.#gpu.device.queue.onSubmittedWorkDone(), signal)
  }

  async submit(record: (recorder: Recorder) => void): Promise<void> {
    this.#check()
    await this.#gpu.scoped(
      'step',
      () => 0,
      () => {
        const recorder = new Recorder(this.#gpu, this.#timer)
        record(recorder)
        recorder.submit()
      },
    )
  }

  async read(buffer: GPUBuffer, size: number, signal: AbortSignal | undefined): Promise<Float32Array> {
    const lease = new Lease(this.#gpu.pool)
    const reading = readBack(this.#gpu, lease, [{ buffer, offset: 0, size }])
    // Whoever stops waiting leaves a buffer that is still being mapped.
    const ended = reading.finally(() => lease.end('keep'))
    ended.catch(() => {})
    const [bytes] = await this.#wait(ended, signal)
    await this.#timer?.collect()
    return new Float32Array(bytes!)
  }

  /** The promise, or the signal's abortion or the device's loss if they come first. */
  #wait<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const guarded = this.#gpu.guard(promise)
    if (!signal) return guarded
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason)
      if (signal.aborted) abort()
      signal.addEventListener('abort', abort, { once: true })
      guarded.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
    })
  }

  /** Starts or ends timing; what was measured before is forgotten. */
  time(on: boolean): void {
    if (on && !this.#gpu.device.features.has('timestamp-query')) throw new HeddleError('no-timestamps', {})
    this.#timer?.release()
    // The most of one submission: a whole step, with parts of embedding and head.
    this.#timer = on ? new Timer(this.#gpu, Math.min(2048, 8 * this.#network.config.layers + 64)) : null
  }

  times(): readonly KernelTime[] {
    return this.#timer?.times() ?? []
  }

  release(): void {
    this.#timer?.release()
    this.attention.release()
  }
}

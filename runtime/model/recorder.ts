/** Dispatches of a step in, one submission out; where a timer is on, each in a pass of its own between two timestamps. */

import { USAGE } from '../pool.ts'
import { readBack } from '../read-back.ts'
import { Lease } from '../pool.ts'
import type { Resource } from '../call.ts'
import type { Gpu } from '../webgpu.ts'

export interface KernelTime {
  readonly kernel: string
  readonly count: number
  readonly ms: number
}

/** Sums of what kernels took on the GPU's own clock, by their names. */
export class Timer {
  readonly #gpu: Gpu
  readonly #set: GPUQuerySet
  readonly #capacity: number
  readonly #lease: Lease
  #waiting: { readonly names: readonly string[]; readonly ticks: Resource }[] = []
  #totals = new Map<string, { count: number; ms: number }>()

  /** @param passes the most of one submission */
  constructor(gpu: Gpu, passes: number) {
    this.#gpu = gpu
    this.#capacity = 2 * passes
    this.#set = gpu.device.createQuerySet({ type: 'timestamp', count: this.#capacity })
    this.#lease = new Lease(gpu.pool)
  }

  /** For the n-th pass of a submission. */
  writes(n: number): GPUComputePassTimestampWrites {
    return { querySet: this.#set, beginningOfPassWriteIndex: 2 * n, endOfPassWriteIndex: 2 * n + 1 }
  }

  resolve(encoder: GPUCommandEncoder, names: readonly string[]): void {
    const size = 16 * names.length
    const buffer = this.#lease.take(size, USAGE.resolve)
    encoder.resolveQuerySet(this.#set, 0, 2 * names.length, buffer, 0)
    this.#waiting.push({ names, ticks: { buffer, offset: 0, size } })
  }

  /** Adds up what has been submitted. */
  async collect(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length === 0) return
    const bytes = await readBack(
      this.#gpu,
      this.#lease,
      waiting.map((w) => w.ticks),
    )
    waiting.forEach(({ names }, i) => {
      const ticks = new BigUint64Array(bytes[i]!)
      names.forEach((name, n) => {
        const total = this.#totals.get(name) ?? { count: 0, ms: 0 }
        // A clock that was set back between the two says nothing.
        const ms = Math.max(0, Number(ticks[2 * n + 1]! - ticks[2 * n]!) / 1e6)
        this.#totals.set(name, { count: total.count + 1, ms: total.ms + ms })
      })
    })
    this.#lease.end('keep')
  }

  times(): KernelTime[] {
    return [...this.#totals].map(([kernel, total]) => ({ kernel, ...total }))
  }

  release(): void {
    this.#set.destroy()
    this.#lease.end('destroy')
  }
}

export class Recorder {
  readonly #gpu: Gpu
  readonly #timer: Timer | null
  readonly #encoder: GPUCommandEncoder
  readonly #names: string[] = []
  readonly #held: { release(): void }[] = []
  #pass: GPUComputePassEncoder | null = null

  constructor(gpu: Gpu, timer: Timer | null) {
    this.#gpu = gpu
    this.#timer = timer
    this.#encoder = gpu.device.createCommandEncoder()
  }

  record(name: string, into: (pass: GPUComputePassEncoder) => void): void {
    if (this.#timer) {
      const pass = this.#encoder.beginComputePass({ timestampWrites: this.#timer.writes(this.#names.length) })
      this.#names.push(name)
      into(pass)
      pass.end()
      return
    }
    this.#pass ??= this.#encoder.beginComputePass()
    into(this.#pass)
  }

  /** Is released after the submission. */
  hold(held: { release(): void }): void {
    this.#held.push(held)
  }

  copy(from: GPUBuffer, to: GPUBuffer, bytes: number): void {
    this.#end()
    this.#encoder.copyBufferToBuffer(from, 0, to, 0, bytes)
  }

  submit(): void {
    this.#end()
    if (this.#timer && this.#names.length > 0) this.#timer.resolve(this.#encoder, this.#names)
    this.#gpu.device.queue.submit([this.#encoder.finish()])
    for (const held of this.#held) held.release()
  }

  #end(): void {
    this.#pass?.end()
    this.#pass = null
  }
}

/** A kernel and a call's sizes in; its tensors made on a WebGPU device once, and what a run takes by the device's clock, out. */

import { halfArray } from '../runtime/half.ts'
import type { Kernel } from '../runtime/index.ts'
import type { ParamValues } from '../runtime/params.ts'
import { USAGE } from '../runtime/pool.ts'
import type { Shape } from '../runtime/tensor.ts'
import { BELL, bells } from './bell.ts'
import { TimedPasses } from './timed-passes.ts'
import type { KernelTime } from './traced.ts'

const READ = 1
const HALVES = halfArray(BELL)

export interface GpuCallSizes {
  readonly qHeads: number
  readonly kvHeads: number
  readonly length: number
  readonly headDim: number
}

/** Self-attention on f16; nothing is read back but the clock. */
export class GpuCall implements Disposable {
  readonly #device: GPUDevice
  readonly #kernel: Kernel
  readonly #params: ParamValues
  readonly #sizes: GpuCallSizes
  readonly #held: GPUBuffer[] = []
  readonly #tensors: Readonly<Record<'q' | 'k' | 'v' | 'out' | 'lse', GPUBuffer>>
  readonly #clock: { readonly set: GPUQuerySet; readonly ticks: GPUBuffer; readonly copy: GPUBuffer }

  constructor(kernel: Kernel, params: ParamValues, sizes: GpuCallSizes) {
    this.#kernel = kernel
    this.#device = kernel.device
    this.#params = params
    this.#sizes = sizes
    const { qHeads, kvHeads, length, headDim } = sizes
    const [q, kv] = [qHeads, kvHeads].map((heads) => heads * length * headDim) as [number, number]
    this.#tensors = {
      q: this.#random(q, 1),
      k: this.#random(kv, 2),
      v: this.#random(kv, 3),
      out: this.#buffer(2 * q, USAGE.storage),
      lse: this.#buffer(4 * qHeads * length, USAGE.storage),
    }
    this.#clock = {
      set: this.#device.createQuerySet({ type: 'timestamp', count: 2 }),
      ticks: this.#buffer(16, USAGE.resolve),
      copy: this.#buffer(16, USAGE.readBack),
    }
  }

  /** Milliseconds of all that the call dispatches, and the variant that ran. */
  async run(): Promise<{ readonly ms: number; readonly variant: string }> {
    const { set, ticks, copy } = this.#clock
    const encoder = this.#device.createCommandEncoder()
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet: set, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    })
    const encoded = this.#encode(pass)
    pass.end()
    encoder.resolveQuerySet(set, 0, 2, ticks, 0)
    encoder.copyBufferToBuffer(ticks, 0, copy, 0, 16)
    this.#device.queue.submit([encoder.finish()])
    encoded.release()
    await copy.mapAsync(READ)
    const [begin, end] = new BigUint64Array(copy.getMappedRange().slice(0))
    copy.unmap()
    return { ms: Number(end! - begin!) / 1e6, variant: encoded.variant }
  }

  /** Milliseconds of each dispatch by itself. */
  async kernels(): Promise<readonly KernelTime[]> {
    using passes = new TimedPasses(this.#device)
    const encoded = this.#encode(passes.pass)
    const times = await passes.times()
    encoded.release()
    return times
  }

  #encode(pass: GPUComputePassEncoder): ReturnType<Kernel['encode']> {
    const { qHeads, kvHeads, length, headDim } = this.#sizes
    const shape = (heads: number): Shape => [1, heads, length, headDim]
    return this.#kernel.encode(pass, {
      ...this.#tensors,
      dtype: 'f16',
      shapes: { q: shape(qHeads), k: shape(kvHeads), v: shape(kvHeads) },
      params: this.#params,
    })
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#held.splice(0)) buffer.destroy()
    this.#clock.set.destroy()
  }

  #buffer(size: number, usage: number): GPUBuffer {
    const buffer = this.#device.createBuffer({ size, usage })
    this.#held.push(buffer)
    return buffer
  }

  #random(count: number, seed: number): GPUBuffer {
    const buffer = this.#buffer(2 * count, USAGE.storage)
    for (const { at, bytes } of bells(count, seed, HALVES)) this.#device.queue.writeBuffer(buffer, at, bytes)
    return buffer
  }
}

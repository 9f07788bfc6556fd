/** A kernel and a case in; its time on the device, its time with transfers, and the device memory it takes, out. */

import type { Dtype } from '../codegen/artifact.ts'
import { attention, type Kernel } from '../runtime/index.ts'
import type { Shape, Tensor } from '../runtime/tensor.ts'
import { randomTensor } from '../runtime/testing/cases.ts'
import { median } from './results.ts'

export interface Workload {
  readonly length: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly dtype: Dtype
  readonly params: Readonly<Record<string, number>>
  /** The variant's id; the runtime's own choice if it is left out. */
  readonly variant?: string
}

/** WebGPU's flags; the globals that name them are missing in Node. */
const STORAGE = 0x80 | 0x08 | 0x04
const RESOLVE = 0x200 | 0x04
const READ_BACK = 0x01 | 0x08
const MAP_READ = 1

const shapesOf = ({ length, qHeads, kvHeads, headDim }: Workload) => {
  const q: Shape = [1, qHeads, length, headDim]
  const kv: Shape = [1, kvHeads, length, headDim]
  return { q, k: kv, v: kv }
}

const bytesOf = (shape: Shape, dtype: Dtype): number =>
  shape.reduce((a, b) => a * b, 1) * (dtype === 'f16' ? 2 : 4)

/** Buffers of one case, filled with a block of random numbers that repeats: what they hold does not change the time. */
export class Bench {
  readonly device: GPUDevice
  readonly #kernel: Kernel
  readonly #load: Workload
  readonly #buffers: Record<'q' | 'k' | 'v' | 'out' | 'lse', GPUBuffer>
  readonly #stamps: GPUQuerySet
  readonly #resolved: GPUBuffer
  readonly #read: GPUBuffer
  #pending = 0

  constructor(kernel: Kernel, load: Workload) {
    const { device } = kernel
    if (!device.features.has('timestamp-query'))
      throw new Error('the device was opened without timestamp-query')
    this.device = device
    this.#kernel = kernel
    this.#load = load
    const { q, k, v } = shapesOf(load)
    const filled = (shape: Shape, seed: number) =>
      filledBuffer(device, bytesOf(shape, load.dtype), load.dtype, seed)
    const empty = (size: number) => device.createBuffer({ size, usage: STORAGE })
    const [out, lse] = [empty(bytesOf(q, load.dtype)), empty(load.qHeads * load.length * 4)]
    this.#buffers = { q: filled(q, 1), k: filled(k, 2), v: filled(v, 3), out, lse }
    this.#stamps = device.createQuerySet({ type: 'timestamp', count: 2 })
    this.#resolved = device.createBuffer({ size: 16, usage: RESOLVE })
    this.#read = device.createBuffer({ size: 16, usage: READ_BACK })
  }

  #encode(pass: GPUComputePassEncoder) {
    const load = this.#load
    return this.#kernel.encode(pass, {
      ...this.#buffers,
      dtype: load.dtype,
      shapes: shapesOf(load),
      params: load.params,
      ...(load.variant === undefined ? {} : { variant: load.variant }),
    })
  }

  /** Milliseconds of one pass between two timestamps of the device. */
  async once(): Promise<number> {
    const { device } = this
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass({
      timestampWrites: { querySet: this.#stamps, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
    })
    const encoded = this.#encode(pass)
    pass.end()
    encoder.resolveQuerySet(this.#stamps, 0, 2, this.#resolved, 0)
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#read, 0, 16)
    device.queue.submit([encoder.finish()])
    encoded.release()
    await this.#read.mapAsync(MAP_READ)
    const [from, to] = new BigInt64Array(this.#read.getMappedRange())
    this.#pending = Number(to! - from!) / 1e6
    this.#read.unmap()
    return this.#pending
  }

  /** What the host does before the device may start: checks, uniforms, bind groups, commands. */
  preparation(): number {
    const encoder = this.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    const began = performance.now()
    const encoded = this.#encode(pass)
    const ms = performance.now() - began
    pass.end()
    encoder.finish()
    encoded.release()
    return ms
  }

  destroy(): void {
    for (const buffer of [...Object.values(this.#buffers), this.#resolved, this.#read]) buffer.destroy()
    this.#stamps.destroy()
  }
}

function filledBuffer(device: GPUDevice, bytes: number, dtype: Dtype, seed: number): GPUBuffer {
  const buffer = device.createBuffer({ size: bytes, usage: STORAGE })
  const block = randomTensor([1, 1, 1024, 128], dtype, seed).data
  const raw = new Uint8Array(block.buffer as ArrayBuffer, block.byteOffset, block.byteLength)
  for (let at = 0; at < bytes; at += raw.length) {
    device.queue.writeBuffer(buffer, at, raw, 0, Math.min(raw.length, bytes - at))
  }
  return buffer
}

/** A GPU that has idled runs at a low clock: short kernels after a pause took three times their time. */
const WARM_MS = 400
const MOST_WARM_RUNS = 100

/** The median of some runs, after as many as it takes to raise the device's clock. */
export async function timeOnDevice(kernel: Kernel, load: Workload, runs: number): Promise<number> {
  const bench = new Bench(kernel, load)
  try {
    for (let warm = 0, n = 0; n < 2 || (warm < WARM_MS && n < MOST_WARM_RUNS); n++) warm += await bench.once()
    const times: number[] = []
    for (let i = 0; i < runs; i++) times.push(await bench.once())
    return median(times)
  } finally {
    bench.destroy()
  }
}

/** From arrays to arrays: upload, kernel, download. */
export async function timeWithTransfers(kernel: Kernel, load: Workload, runs: number): Promise<number> {
  const { q, k, v } = shapesOf(load)
  const of = (shape: Shape, seed: number): Tensor => repeated(shape, load.dtype, seed)
  const call = {
    q: of(q, 1),
    k: of(k, 2),
    v: of(v, 3),
    params: load.params,
    ...(load.variant === undefined ? {} : { variant: load.variant }),
  }
  const times: number[] = []
  for (let i = 0; i < runs + 1; i++) {
    const began = performance.now()
    await attention(kernel, call)
    times.push(performance.now() - began)
  }
  return median(times.slice(1))
}

/** Random rows, repeated: drawing tens of millions of numbers would take longer than the measurement. */
function repeated(shape: Shape, dtype: Dtype, seed: number): Tensor {
  const block = randomTensor([1, 1, 256, 128], dtype, seed).data
  const count = shape.reduce((a, b) => a * b, 1)
  const data = block instanceof Float32Array ? new Float32Array(count) : new Uint16Array(count)
  const source = block instanceof Float32Array ? block : new Uint16Array(block.buffer as ArrayBuffer)
  for (let at = 0; at < count; at += source.length)
    data.set(source.subarray(0, Math.min(source.length, count - at)), at)
  return { data, shape }
}

/** Megabytes of buffers alive at once while `work` runs. */
export async function peakMegabytes(device: GPUDevice, work: () => Promise<unknown>): Promise<number> {
  const own = device.createBuffer.bind(device)
  let alive = 0
  let peak = 0
  device.createBuffer = (descriptor) => {
    const buffer = own(descriptor)
    const destroy = buffer.destroy.bind(buffer)
    alive += descriptor.size
    peak = Math.max(peak, alive)
    buffer.destroy = () => {
      alive -= descriptor.size
      return destroy()
    }
    return buffer
  }
  try {
    await work()
  } finally {
    device.createBuffer = own
  }
  return peak / 1e6
}

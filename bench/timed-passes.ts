/** A WebGPU command encoder in; a compute pass that times each dispatch by itself, by the name of its pipeline, out. */

import { USAGE } from '../runtime/pool.ts'
import type { KernelTime } from './traced.ts'

const READ = 1
/** Of a query set: each dispatch has two. */
const MOST = 2048

/** Every dispatch is a pass of its own: a clock may be asked only where one begins or ends. */
export class TimedPasses implements Disposable {
  readonly #device: GPUDevice
  readonly #encoder: GPUCommandEncoder
  readonly #set: GPUQuerySet
  readonly #buffers: readonly [ticks: GPUBuffer, copy: GPUBuffer]
  readonly #names: string[] = []

  constructor(device: GPUDevice, encoder: GPUCommandEncoder) {
    this.#device = device
    this.#encoder = encoder
    this.#set = device.createQuerySet({ type: 'timestamp', count: 2 * MOST })
    const size = 2 * MOST * 8
    this.#buffers = [
      device.createBuffer({ size, usage: USAGE.resolve }),
      device.createBuffer({ size, usage: USAGE.readBack }),
    ]
  }

  /** What kernels are encoded into: of a pass the calls that they make. */
  get pass(): GPUComputePassEncoder {
    let pipeline: GPUComputePipeline | null = null
    let group: GPUBindGroup | null = null
    const own = {
      setPipeline: (given: GPUComputePipeline) => (pipeline = given),
      setBindGroup: (_: number, given: GPUBindGroup) => (group = given),
      dispatchWorkgroups: (x: number, y = 1) => this.#dispatch(pipeline!, group!, x, y),
    }
    return own as unknown as GPUComputePassEncoder
  }

  #dispatch(pipeline: GPUComputePipeline, group: GPUBindGroup, x: number, y: number): void {
    const n = this.#names.push(pipeline.label) - 1
    if (n >= MOST) throw new RangeError(`a call of more than ${MOST} dispatches`)
    const pass = this.#encoder.beginComputePass({
      timestampWrites: {
        querySet: this.#set,
        beginningOfPassWriteIndex: 2 * n,
        endOfPassWriteIndex: 2 * n + 1,
      },
    })
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(x, y)
    pass.end()
  }

  /** Submits what was encoded; those of one name together, in the order of the first. */
  async times(): Promise<KernelTime[]> {
    const count = 2 * this.#names.length
    const [ticks, copy] = this.#buffers
    this.#encoder.resolveQuerySet(this.#set, 0, count, ticks, 0)
    this.#encoder.copyBufferToBuffer(ticks, 0, copy, 0, count * 8)
    this.#device.queue.submit([this.#encoder.finish()])
    await copy.mapAsync(READ)
    const clock = new BigUint64Array(copy.getMappedRange().slice(0))
    copy.unmap()
    const times = new Map<string, KernelTime>()
    this.#names.forEach((name, n) => {
      const { ms, launches } = times.get(name) ?? { ms: 0, launches: 0 }
      const own = Number(clock[2 * n + 1]! - clock[2 * n]!) / 1e6
      times.set(name, { name, ms: ms + own, launches: launches + 1 })
    })
    return [...times.values()]
  }

  [Symbol.dispose](): void {
    for (const buffer of this.#buffers) buffer.destroy()
    this.#set.destroy()
  }
}

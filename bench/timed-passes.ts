/** A WebGPU device in; a compute pass that times each dispatch by itself, by the name of its pipeline, out. */

import { Recorder, Timer } from '../runtime/model/recorder.ts'
import { Gpu } from '../runtime/webgpu.ts'
import type { KernelTime } from './traced.ts'

/** Dispatches of a call: a query set has two numbers of each. */
const MOST = 2048

/** Every dispatch is a pass of its own: a clock may be asked only where one begins or ends. */
export class TimedPasses implements Disposable {
  readonly #timer: Timer
  readonly #recorder: Recorder
  #dispatches = 0

  constructor(device: GPUDevice) {
    const gpu = Gpu.of(device)
    this.#timer = new Timer(gpu, MOST)
    this.#recorder = new Recorder(gpu, this.#timer)
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
    if (++this.#dispatches > MOST) throw new RangeError(`a call of more than ${MOST} dispatches`)
    this.#recorder.record(pipeline.label, (pass) => {
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(x, y)
    })
  }

  /** Submits what was encoded; those of one name together, in the order of the first. */
  async times(): Promise<KernelTime[]> {
    this.#recorder.submit()
    await this.#timer.collect()
    return this.#timer.times().map(({ kernel, count, ms }) => ({ name: kernel, ms, launches: count }))
  }

  [Symbol.dispose](): void {
    this.#timer.release()
  }
}

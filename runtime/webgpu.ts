/** What the runtime keeps per GPUDevice: compiled kernels, the buffer pool, and word of the device's loss. */

import type { Binding } from '../codegen/artifact.ts'
import { HeddleError } from './messages.ts'
import { BufferPool } from './pool.ts'

export interface Compiled {
  readonly layout: GPUBindGroupLayout
  readonly attend: GPUComputePipeline
  readonly list: GPUComputePipeline | null
}

const TYPES: Readonly<Record<Binding['access'], GPUBufferBindingType>> = {
  uniform: 'uniform',
  read: 'read-only-storage',
  read_write: 'storage',
}
const COMPUTE_STAGE = 4

/** A text with its bindings and entry points. */
export interface Compilable {
  readonly id: string
  readonly code: string
  readonly bindings: readonly Pick<Binding, 'binding' | 'access'>[]
  readonly entries: { readonly attend: string; readonly list: string | null }
}

const devices = new WeakMap<GPUDevice, Gpu>()

export class Gpu {
  readonly device: GPUDevice
  readonly pool: BufferPool
  readonly #compiled = new Map<string, Compiled | Promise<Compiled>>()
  readonly #waiting = new Set<(error: HeddleError) => void>()
  #lost: HeddleError | null = null
  #kernels = 0

  /** One per device: kernels of several artefacts share it. */
  static of(device: GPUDevice): Gpu {
    let gpu = devices.get(device)
    if (!gpu) {
      gpu = new Gpu(device)
      devices.set(device, gpu)
    }
    return gpu
  }

  private constructor(device: GPUDevice) {
    this.device = device
    this.pool = new BufferPool(device)
    void this.#watch()
  }

  async #watch(): Promise<void> {
    const { reason, message } = await this.device.lost
    this.#lost = new HeddleError('device-lost', { reason, detail: message })
    this.#compiled.clear()
    this.pool.close()
    for (const reject of this.#waiting) reject(this.#lost)
    this.#waiting.clear()
  }

  throwIfLost(): void {
    if (this.#lost) throw this.#lost
  }

  /** The promise, or the device's loss if that comes first: what waits on a lost device may never settle. */
  guard<T>(promise: Promise<T>): Promise<T> {
    this.throwIfLost()
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject)
      promise.then(resolve, reject).finally(() => this.#waiting.delete(reject))
    })
  }

  /**
   * Runs `work`, which must not wait for anything, under error scopes of its own; scopes are a stack of the device, so
   * nothing else may come between.
   */
  async scoped<T>(step: string, bytes: () => number, work: () => T): Promise<T> {
    const { device } = this
    this.throwIfLost()
    device.pushErrorScope('internal')
    device.pushErrorScope('validation')
    device.pushErrorScope('out-of-memory')
    let value: T | undefined
    let thrown: unknown
    try {
      value = work()
    } catch (error) {
      thrown = error ?? new Error('nothing was thrown')
    }
    const popped = Promise.all([device.popErrorScope(), device.popErrorScope(), device.popErrorScope()])
    const [memory, invalid, internal] = await this.guard(popped)
    if (memory) throw new HeddleError('out-of-memory', { bytes: bytes() }, { cause: memory })
    if (thrown instanceof HeddleError) throw thrown
    const broken = invalid ?? internal
    if (thrown !== undefined || broken) {
      const detail = broken ? broken.message : thrown instanceof Error ? thrown.message : String(thrown)
      throw new HeddleError('gpu-error', { step, detail }, { cause: thrown ?? broken })
    }
    return value as T
  }

  /** Pipelines of a variant, made off the main thread where that pays; the same text is compiled once per device. */
  async compile(variant: Compilable): Promise<Compiled> {
    const known = this.#compiled.get(variant.code)
    if (known) return this.guard(Promise.resolve(known))
    const making = this.#make(variant)
    this.#compiled.set(variant.code, making)
    try {
      const made = await making
      this.#compiled.set(variant.code, made)
      return made
    } catch (error) {
      this.#compiled.delete(variant.code)
      throw error
    }
  }

  /** As `compile`, waiting for the driver: for callers that record commands and did not prepare. */
  compileNow(variant: Compilable): Compiled {
    this.throwIfLost()
    const known = this.#compiled.get(variant.code)
    if (known && !(known instanceof Promise)) return known
    const { device } = this
    const { layout, describe } = this.#describe(variant)
    const { attend, list } = variant.entries
    const made: Compiled = {
      layout,
      attend: device.createComputePipeline(describe(attend)),
      list: list === null ? null : device.createComputePipeline(describe(list)),
    }
    this.#compiled.set(variant.code, made)
    return made
  }

  async #make(variant: Compilable): Promise<Compiled> {
    const { device } = this
    const { attend, list } = variant.entries
    // Without a GPU the driver compiles on this machine's cores, and one of them would spin in Dawn's wait for it.
    if (device.adapterInfo?.isFallbackAdapter) {
      return this.scoped(
        `kernel ${variant.id}`,
        () => 0,
        () => this.compileNow(variant),
      )
    }
    const described = await this.scoped(
      `kernel ${variant.id}`,
      () => 0,
      () => this.#describe(variant),
    )
    const { layout, describe } = described
    const pipelines = Promise.all([
      device.createComputePipelineAsync(describe(attend)),
      list === null ? null : device.createComputePipelineAsync(describe(list)),
    ]).catch((cause: unknown) => {
      const detail = cause instanceof Error ? cause.message : String(cause)
      throw new HeddleError('gpu-error', { step: `kernel ${variant.id}`, detail }, { cause })
    })
    const [attendPipeline, listPipeline] = await this.guard(pipelines)
    return { layout, attend: attendPipeline, list: listPipeline }
  }

  #describe({ id, code, bindings }: Compilable) {
    const { device } = this
    const layout = device.createBindGroupLayout({
      label: id,
      entries: bindings.map(({ binding, access }) => ({
        binding,
        visibility: COMPUTE_STAGE,
        buffer: { type: TYPES[access] },
      })),
    })
    const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] })
    const module = device.createShaderModule({ label: id, code })
    const describe = (entryPoint: string): GPUComputePipelineDescriptor => ({
      label: `${id} ${entryPoint}`,
      layout: pipelineLayout,
      compute: { module, entryPoint },
    })
    return { layout, describe }
  }

  /** A kernel counts while it is loaded; when the last one goes, so do the pool and the pipelines. */
  retain(): void {
    this.#kernels++
    this.pool.open = this.#lost === null
  }

  release(): void {
    this.#kernels--
    if (this.#kernels > 0) return
    this.#compiled.clear()
    this.pool.close()
  }
}

/** The CUDA driver of a GPU: libcuda through a foreign-function package in, CudaDriver out. */

import { HeddleError } from '../messages.ts'
import { CudaApi, type CudaFunctionName } from './api.ts'
import { Compilers, type CompilerOptions } from './compile.ts'
import { cubinFor } from './cubin.ts'
import type {
  Address,
  CudaDriver,
  CudaEvent,
  CudaFunction,
  CudaModule,
  Launch,
  ModuleSource,
  Stream,
  TensorMapSpec,
} from './driver.ts'
import { loadNative, type Native, type NativeLibrary } from './native.ts'

export interface CudaOptions extends CompilerOptions {
  /** Which of the visible devices; 0 by default. */
  readonly ordinal?: number
  /** Loads libraries; the optional package koffi by default. */
  readonly native?: Native
}

const LIBRARIES: readonly string[] = ['libcuda.so.1', 'libcuda.so']
const ATTRIBUTE = { multiprocessors: 16, major: 75, minor: 76, sharedBytes: 97 } as const
const MAX_DYNAMIC_SHARED = 8
const OUT_OF_MEMORY = 2
/** CU_JIT_ERROR_LOG_BUFFER and its size. */
const JIT_OPTIONS = Int32Array.of(5, 6)
const LOG_BYTES = 16384
const ELEMENT = { f16: 6, bf16: 9 } as const
const SWIZZLE = { 64: 2, 128: 3 } as const
const PROMOTION_256 = 3
const ALIGNMENT = 64n

/**
 * Opens a GPU.
 * @throws HeddleError `no-cuda`, `cuda-capability`, `cuda-error`
 */
export async function openCuda(options: CudaOptions = {}): Promise<CudaDriver> {
  const native = options.native ?? (await loadNative())
  const api = new CudaApi(native, loadLibcuda(native))
  const status = api.status('cuInit', 0)
  if (status !== 0) {
    const { name, detail } = api.explain(status)
    throw new HeddleError('no-cuda', { detail: `libcuda does not start (${name}, ${detail})` })
  }
  const number = (name: CudaFunctionName, ...args: unknown[]): number => {
    const value = new Int32Array(1)
    api.do('question about the device', () => '', name, value, ...args)
    return value[0]!
  }
  const [count, ordinal] = [number('cuDeviceGetCount'), options.ordinal ?? 0]
  if (!(Number.isInteger(ordinal) && ordinal >= 0 && ordinal < count))
    throw new HeddleError('no-cuda', { detail: `device ${ordinal} is wanted, libcuda shows ${count}` })
  const device = number('cuDeviceGet', ordinal)
  const name = new Uint8Array(256)
  api.do('question about the device', () => '', 'cuDeviceGetName', name, name.length, device)
  const attribute = (key: keyof typeof ATTRIBUTE): number =>
    number('cuDeviceGetAttribute', ATTRIBUTE[key], device)
  const about = {
    name: cString(name),
    capability: { major: attribute('major'), minor: attribute('minor') },
    multiprocessors: attribute('multiprocessors'),
    maxSharedBytes: attribute('sharedBytes'),
  }
  const { major, minor } = about.capability
  if (major < 8)
    throw new HeddleError('cuda-capability', { name: about.name, capability: `${major}.${minor}` })
  const context = new BigUint64Array(1)
  api.do('context', () => '', 'cuDevicePrimaryCtxRetain', context, device)
  api.do('context', () => '', 'cuCtxSetCurrent', context[0])
  const version = number('cuDriverGetVersion')
  const driver = `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`
  return new GpuDriver(api, about, device, driver, new Compilers(native, options))
}

function loadLibcuda(native: Native): NativeLibrary {
  let cause: unknown
  for (const name of LIBRARIES) {
    try {
      return native.load(name)
    } catch (error) {
      cause ??= error
    }
  }
  const detail = `${LIBRARIES[0]} does not load: is there an NVIDIA driver on this machine?`
  throw new HeddleError('no-cuda', { detail }, { cause })
}

const cString = (bytes: Uint8Array): string => {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end))
}

type About = Pick<CudaDriver, 'name' | 'capability' | 'multiprocessors' | 'maxSharedBytes'>

interface Entry extends CudaFunction {
  readonly handle: bigint
}

interface Event extends CudaEvent {
  readonly handle: bigint
}

class GpuDriver implements CudaDriver {
  readonly kind = 'gpu'
  readonly name: string
  readonly capability: CudaDriver['capability']
  readonly multiprocessors: number
  readonly maxSharedBytes: number
  readonly #api: CudaApi
  readonly #device: number
  readonly #driverVersion: string
  readonly #compilers: Compilers
  /** A kernel's fault shows when the host waits: what was launched last is the likeliest cause. */
  #last: () => string = () => ''

  constructor(api: CudaApi, about: About, device: number, driverVersion: string, compilers: Compilers) {
    this.#api = api
    this.#device = device
    this.#driverVersion = driverVersion
    this.#compilers = compilers
    this.name = about.name
    this.capability = about.capability
    this.multiprocessors = about.multiprocessors
    this.maxSharedBytes = about.maxSharedBytes
  }

  get versions(): Readonly<Record<string, string>> {
    return { 'CUDA driver': this.#driverVersion, ...this.#compilers.versions }
  }

  #do(step: string, name: CudaFunctionName, ...args: unknown[]): void {
    this.#api.do(step, this.#last, name, ...args)
  }

  #handle(step: string, name: CudaFunctionName, ...args: unknown[]): bigint {
    const handle = new BigUint64Array(1)
    this.#do(step, name, handle, ...args)
    return handle[0]!
  }

  alloc(bytes: number): Address {
    const address = new BigUint64Array(1)
    const status = this.#api.status('cuMemAlloc_v2', address, Math.max(1, bytes))
    if (status === OUT_OF_MEMORY) throw new HeddleError('out-of-memory', { bytes })
    if (status !== 0) {
      const step = `allocation of ${bytes} bytes`
      throw new HeddleError('cuda-error', { step, ...this.#api.explain(status), call: this.#last() })
    }
    return address[0]!
  }

  free(address: Address): void {
    this.#do('release of memory', 'cuMemFree_v2', address)
  }

  copyIn(to: Address, from: Uint8Array, stream: Stream = 0n): void {
    if (from.length === 0) return
    if (stream === 0n) this.#do('copy to the device', 'cuMemcpyHtoD_v2', to, from, from.length)
    else this.#do('copy to the device', 'cuMemcpyHtoDAsync_v2', to, from, from.length, stream)
  }

  copyOut(to: Uint8Array, from: Address, stream: Stream = 0n): void {
    if (to.length === 0) return
    if (stream === 0n) this.#do('copy from the device', 'cuMemcpyDtoH_v2', to, from, to.length)
    else {
      this.#do('copy from the device', 'cuMemcpyDtoHAsync_v2', to, from, to.length, stream)
      this.synchronize(stream)
    }
  }

  memset(at: Address, byte: number, count: number, stream: Stream = 0n): void {
    if (count > 0) this.#do('memset', 'cuMemsetD8Async', at, byte, count, stream)
  }

  async loadModule(source: ModuleSource): Promise<CudaModule> {
    const bytes =
      cubinFor(source, this.capability) ?? (await this.#compilers.compile(source, this.capability))
    const log = new Uint8Array(LOG_BYTES)
    const values = BigUint64Array.of(this.#api.address(log), BigInt(log.length))
    const handle = new BigUint64Array(1)
    const about = () => `${source.pattern}, variant ${source.id}`
    const status = this.#api.status('cuModuleLoadDataEx', handle, bytes, 2, JIT_OPTIONS, values)
    if (status !== 0) {
      const { name, detail } = this.#api.explain(status)
      const said = [detail, cString(log).trim()].filter((s) => s !== '').join(': ')
      throw new HeddleError('cuda-error', { step: 'cubin', name, detail: said, call: about() })
    }
    const module = handle[0]!
    return {
      entry: (name, sharedBytes): Entry => {
        const f = this.#handle(`entry ${name}`, 'cuModuleGetFunction', module, name)
        this.#do(`shared memory of ${name}`, 'cuFuncSetAttribute', f, MAX_DYNAMIC_SHARED, sharedBytes)
        return { name, handle: f }
      },
      release: () => this.#do('release of a module', 'cuModuleUnload', module),
    }
  }

  launch({ entry, grid, threads, sharedBytes, params, stream = 0n, about }: Launch): void {
    this.#last = about
    const pointers = BigUint64Array.from(params, (p) => this.#api.address(p))
    const { handle } = entry as Entry
    const shape = [...grid, threads, 1, 1, sharedBytes]
    this.#do(`launch of ${entry.name}`, 'cuLaunchKernel', handle, ...shape, stream, pointers, null)
  }

  tensorMap({ address, dtype, sizes, strides, box, swizzle }: TensorMapSpec): Uint8Array {
    const memory = new Uint8Array(128 + Number(ALIGNMENT))
    const skip = Number((ALIGNMENT - (this.#api.address(memory) % ALIGNMENT)) % ALIGNMENT)
    const map = memory.subarray(skip, skip + 128)
    this.#do(
      `tensor map of sizes ${sizes.join(' x ')}, strides ${strides.join(', ')}`,
      'cuTensorMapEncodeTiled',
      map,
      ELEMENT[dtype],
      sizes.length,
      address,
      BigUint64Array.from(sizes, BigInt),
      BigUint64Array.from(strides, BigInt),
      Uint32Array.from(sizes, (_, i) => box[i] ?? 1),
      Uint32Array.from(sizes, () => 1),
      0,
      SWIZZLE[swizzle],
      PROMOTION_256,
      0,
    )
    return map
  }

  createStream(): Stream {
    return this.#handle('stream', 'cuStreamCreate', 0)
  }

  destroyStream(stream: Stream): void {
    this.#do('release of a stream', 'cuStreamDestroy_v2', stream)
  }

  synchronize(stream?: Stream): void {
    if (stream === undefined) this.#do('wait for the device', 'cuCtxSynchronize')
    else this.#do('wait for a stream', 'cuStreamSynchronize', stream)
  }

  createEvent(): CudaEvent {
    const handle = this.#handle('event', 'cuEventCreate', 0)
    const event: Event = {
      handle,
      record: (stream = 0n) => this.#do('event', 'cuEventRecord', handle, stream),
      release: () => this.#do('release of an event', 'cuEventDestroy_v2', handle),
    }
    return event
  }

  elapsed(from: CudaEvent, to: CudaEvent): number {
    const ms = new Float32Array(1)
    this.#do('wait for an event', 'cuEventSynchronize', (to as Event).handle)
    this.#do('clock', 'cuEventElapsedTime', ms, (from as Event).handle, (to as Event).handle)
    return ms[0]!
  }

  release(): void {
    this.#do('release of the context', 'cuDevicePrimaryCtxRelease_v2', this.#device)
  }
}

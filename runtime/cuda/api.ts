/** libcuda as a table of functions: names and C types in; calls that throw a HeddleError with the driver's own words out. */

import { HeddleError } from '../messages.ts'
import type { Native, NativeFunction, NativeLibrary } from './native.ts'

/** Result is always a CUresult; `void *` takes an address or a typed array. */
const SIGNATURES = {
  cuInit: ['uint'],
  cuDriverGetVersion: ['void *'],
  cuDeviceGetCount: ['void *'],
  cuDeviceGet: ['void *', 'int'],
  cuDeviceGetName: ['void *', 'int', 'int'],
  cuDeviceGetAttribute: ['void *', 'int', 'int'],
  cuDevicePrimaryCtxRetain: ['void *', 'int'],
  cuDevicePrimaryCtxRelease_v2: ['int'],
  cuCtxSetCurrent: ['void *'],
  cuCtxSynchronize: [],
  cuMemAlloc_v2: ['void *', 'size_t'],
  cuMemFree_v2: ['uint64'],
  cuMemcpyHtoD_v2: ['uint64', 'void *', 'size_t'],
  cuMemcpyHtoDAsync_v2: ['uint64', 'void *', 'size_t', 'void *'],
  cuMemcpyDtoH_v2: ['void *', 'uint64', 'size_t'],
  cuMemcpyDtoHAsync_v2: ['void *', 'uint64', 'size_t', 'void *'],
  cuMemsetD8Async: ['uint64', 'uint8', 'size_t', 'void *'],
  cuModuleLoadDataEx: ['void *', 'void *', 'uint', 'void *', 'void *'],
  cuModuleUnload: ['void *'],
  cuModuleGetFunction: ['void *', 'void *', 'str'],
  cuFuncSetAttribute: ['void *', 'int', 'int'],
  cuLaunchKernel: [
    'void *',
    'uint',
    'uint',
    'uint',
    'uint',
    'uint',
    'uint',
    'uint',
    'void *',
    'void *',
    'void *',
  ],
  cuTensorMapEncodeTiled: [
    'void *',
    'int',
    'uint',
    'uint64',
    'void *',
    'void *',
    'void *',
    'void *',
    'int',
    'int',
    'int',
    'int',
  ],
  cuStreamCreate: ['void *', 'uint'],
  cuStreamDestroy_v2: ['void *'],
  cuStreamSynchronize: ['void *'],
  cuEventCreate: ['void *', 'uint'],
  cuEventDestroy_v2: ['void *'],
  cuEventRecord: ['void *', 'void *'],
  cuEventSynchronize: ['void *'],
  cuEventElapsedTime: ['void *', 'void *', 'void *'],
  cuGetErrorName: ['int', 'void *'],
  cuGetErrorString: ['int', 'void *'],
} as const satisfies Record<string, readonly string[]>

export type CudaFunctionName = keyof typeof SIGNATURES

/** Bound when first called: an old driver may lack what a call never needs. */
export class CudaApi {
  readonly #native: Native
  readonly #library: NativeLibrary
  readonly #bound = new Map<CudaFunctionName, NativeFunction>()

  constructor(native: Native, library: NativeLibrary) {
    this.#native = native
    this.#library = library
  }

  /** The function's result; 0 is success. */
  status(name: CudaFunctionName, ...args: unknown[]): number {
    let f = this.#bound.get(name)
    if (f === undefined) {
      try {
        f = this.#library.func(name, 'int', [...SIGNATURES[name]])
      } catch (cause) {
        const detail = `this driver has no ${name}: install a newer one`
        throw new HeddleError('no-cuda', { detail }, { cause })
      }
      this.#bound.set(name, f)
    }
    return Number(f(...args))
  }

  /** @param step what was being done, in words; @param call asked for if it fails */
  do(step: string, call: () => string, name: CudaFunctionName, ...args: unknown[]): void {
    const status = this.status(name, ...args)
    if (status === 0) return
    throw new HeddleError('cuda-error', { step, ...this.explain(status), call: call() })
  }

  explain(status: number): { name: string; detail: string } {
    const words = (f: 'cuGetErrorName' | 'cuGetErrorString'): string => {
      const pointer = new BigUint64Array(1)
      return this.status(f, status, pointer) === 0 && pointer[0] !== 0n ? this.#native.text(pointer[0]!) : ''
    }
    return { name: words('cuGetErrorName') || `error ${status}`, detail: words('cuGetErrorString') }
  }

  address(data: ArrayBufferView): bigint {
    return this.#native.address(data)
  }
}

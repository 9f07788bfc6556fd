/** The GPU's driver over a libcuda that is made of JavaScript: what it passes on, and what it makes of refusals. */

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { openCuda, type CudaOptions } from '../../runtime/cuda/libcuda.ts'
import type { CudaDriver, Launch, ModuleSource } from '../../runtime/cuda/driver.ts'
import { loadNative } from '../../runtime/cuda/native.ts'
import { HeddleError } from '../../runtime/messages.ts'
import { arrayAt, fakeNative, pointerTo, type Functions } from './fake-native.ts'

interface Call {
  readonly name: string
  readonly args: readonly unknown[]
}

/** A machine with one H100, all of whose calls succeed; `functions` says otherwise. */
function machine(functions: Functions = {}) {
  const calls: Call[] = []
  const attributes: Record<number, number> = { 16: 132, 75: 9, 76: 0, 97: 232_448 }
  const set = (to: Int32Array | BigUint64Array, value: number | bigint) => {
    to[0] = value as never
    return 0
  }
  const working: Functions = {
    cuInit: () => 0,
    cuDriverGetVersion: (to: Int32Array) => set(to, 13_000),
    cuDeviceGetCount: (to: Int32Array) => set(to, 1),
    cuDeviceGet: (to: Int32Array, i: number) => set(to, i),
    cuDeviceGetName: (to: Uint8Array) => {
      to.set(new TextEncoder().encode('NVIDIA H100\0'))
      return 0
    },
    cuDeviceGetAttribute: (to: Int32Array, key: number) => set(to, attributes[key]!),
    cuDevicePrimaryCtxRetain: (to: BigUint64Array) => set(to, 77n),
    cuMemAlloc_v2: (to: BigUint64Array) => set(to, 0x1000n),
    cuModuleLoadDataEx: (to: BigUint64Array) => set(to, 5n),
    cuModuleGetFunction: (to: BigUint64Array) => set(to, 6n),
    cuStreamCreate: (to: BigUint64Array) => set(to, 8n),
    cuEventCreate: (to: BigUint64Array) => set(to, 9n),
    cuEventElapsedTime: (to: Float32Array) => {
      to[0] = 2.5
      return 0
    },
    cuGetErrorName: (status: number, to: BigUint64Array) =>
      set(to, pointerTo(status === 2 ? 'CUDA_ERROR_OUT_OF_MEMORY' : 'CUDA_ERROR_ILLEGAL_ADDRESS')),
    cuGetErrorString: (_: number, to: BigUint64Array) => set(to, pointerTo('an illegal access')),
    ...Object.fromEntries(
      [
        'cuCtxSetCurrent',
        'cuCtxSynchronize',
        'cuDevicePrimaryCtxRelease_v2',
        'cuMemFree_v2',
        'cuMemcpyHtoD_v2',
        'cuMemcpyHtoDAsync_v2',
        'cuMemcpyDtoH_v2',
        'cuMemcpyDtoHAsync_v2',
        'cuMemsetD8Async',
        'cuModuleUnload',
        'cuFuncSetAttribute',
        'cuLaunchKernel',
        'cuTensorMapEncodeTiled',
        'cuStreamDestroy_v2',
        'cuStreamSynchronize',
        'cuEventDestroy_v2',
        'cuEventRecord',
        'cuEventSynchronize',
      ].map((name) => [name, () => 0]),
    ),
    ...functions,
  }
  const recorded = Object.fromEntries(
    Object.entries(working).map(([name, f]) => [
      name,
      (...args: never[]) => {
        calls.push({ name, args })
        return f(...args)
      },
    ]),
  )
  const native = fakeNative({ 'libcuda.so.1': recorded })
  const argsOf = (name: string) => calls.find((c) => c.name === name)?.args
  return { native, calls, argsOf, open: (options: CudaOptions = {}) => openCuda({ native, ...options }) }
}

const refusal = async (promise: Promise<unknown>): Promise<HeddleError> => {
  const error: unknown = await promise.then(
    () => new Error('it was accepted'),
    (e: unknown) => e,
  )
  if (error instanceof HeddleError) return error
  throw error
}
const thrown = (f: () => unknown): Promise<HeddleError> => refusal((async () => f())())

const cubin = Uint8Array.of(1, 2, 3)
const source: ModuleSource = {
  pattern: 'causal',
  id: 'd64-bf16-hopper',
  code: '',
  hash: 'aa',
  suffix: 'a',
  entries: [],
  cubins: [
    {
      arch: 'sm_90a',
      file: 'a.cubin',
      sha256: createHash('sha256').update(cubin).digest('hex'),
      resources: [],
    },
  ],
  readCubin: () => cubin,
}

async function launchOn(driver: CudaDriver, more: Partial<Launch> = {}): Promise<void> {
  const entry = (await driver.loadModule(source)).entry('attend', 90_000)
  driver.launch({
    ...{
      entry,
      grid: [7, 3, 2],
      threads: 384,
      sharedBytes: 90_000,
      params: [Uint8Array.of(1, 2), new Uint8Array(128)],
    },
    ...{ stream: 8n, about: () => 'causal, q [1, 2, 3, 4]' },
    ...more,
  })
}

describe('opening', () => {
  test('gives the device as libcuda describes it', async () => {
    const driver = await machine().open()
    expect(driver).toMatchObject({
      kind: 'gpu',
      name: 'NVIDIA H100',
      capability: { major: 9, minor: 0 },
      multiprocessors: 132,
      maxSharedBytes: 232_448,
      versions: { 'CUDA driver': '13.0' },
    })
  })

  test('without libcuda is refused in words', async () => {
    const error = await refusal(openCuda({ native: fakeNative({}) }))
    expect(error.code).toBe('no-cuda')
    expect(error.message).toContain('libcuda.so.1 does not load: is there an NVIDIA driver')
  })

  test('a libcuda that does not start is refused with its own words', async () => {
    const error = await refusal(machine({ cuInit: () => 100 }).open())
    expect(error.code).toBe('no-cuda')
    expect(error.message).toContain('an illegal access')
  })

  test('a device that is not there is refused', async () => {
    const error = await refusal(machine().open({ ordinal: 1 }))
    expect(error.message).toContain('device 1 is wanted, libcuda shows 1')
  })

  test('a GPU older than Ampere is refused', async () => {
    const older = machine({
      cuDeviceGetAttribute: (to: Int32Array, key: number) => {
        to[0] = { 75: 7, 76: 5 }[key] ?? 40
        return 0
      },
    })
    const error = await refusal(older.open())
    expect(error.code).toBe('cuda-capability')
    expect(error.message).toContain('NVIDIA H100 has compute capability 7.5')
  })

  test('a driver that lacks a function says so', async () => {
    const native = machine().native
    const load = (path: string) => {
      const library = native.load(path)
      return {
        func: (name: string, ...types: [string, string[]]) =>
          library.func(name === 'cuEventCreate' ? 'missing' : name, ...types),
      }
    }
    const driver = await openCuda({ native: { ...native, load } })
    const error = await thrown(() => driver.createEvent())
    expect(error.code).toBe('no-cuda')
    expect(error.message).toContain('this driver has no cuEventCreate')
  })
})

describe('calls', () => {
  test('a launch has its grid, its block and pointers to its parameters', async () => {
    const { open, argsOf } = machine()
    await launchOn(await open())
    expect(argsOf('cuFuncSetAttribute')).toEqual([6n, 8, 90_000])
    const [f, ...rest] = argsOf('cuLaunchKernel')!
    expect(f).toBe(6n)
    expect(rest.slice(0, 8)).toEqual([7, 3, 2, 384, 1, 1, 90_000, 8n])
    const pointers = rest[8] as BigUint64Array
    expect([...pointers].map((p) => arrayAt(p).length)).toEqual([2, 128])
    expect(arrayAt(pointers[0]!)).toEqual(Uint8Array.of(1, 2))
  })

  test('a tensor map is encoded with its innermost dimension first, at a multiple of 64 bytes', async () => {
    const { open, argsOf } = machine({
      cuTensorMapEncodeTiled: (map: Uint8Array) => {
        map.fill(9)
        return 0
      },
    })
    const made = (await open()).tensorMap({
      address: 0x2000n,
      dtype: 'bf16',
      sizes: [128, 40, 4, 2],
      strides: [256, 10_240, 40_960],
      box: [64, 128],
      swizzle: 128,
    })
    expect(made).toEqual(new Uint8Array(128).fill(9))
    // The fake's arrays lie 16 bytes beyond a multiple of 64.
    expect(made.byteOffset).toBe(48)
    const [, type, rank, address, sizes, strides, box, steps, ...modes] = argsOf('cuTensorMapEncodeTiled')!
    expect([type, rank, address]).toEqual([9, 4, 0x2000n])
    expect([sizes, strides]).toEqual([
      BigUint64Array.of(128n, 40n, 4n, 2n),
      BigUint64Array.of(256n, 10_240n, 40_960n),
    ])
    expect([box, steps]).toEqual([Uint32Array.of(64, 128, 1, 1), Uint32Array.of(1, 1, 1, 1)])
    expect(modes).toEqual([0, 3, 3, 0])
  })

  test('copies, memory and events go to the stream they are meant for', async () => {
    const { open, calls } = machine()
    const driver = await open()
    const stream = driver.createStream()
    const data = Uint8Array.of(1, 2, 3)
    driver.copyIn(driver.alloc(3), data)
    driver.copyIn(0x1000n, data, stream)
    driver.memset(0x1000n, 255, 3, stream)
    driver.copyOut(data, 0x1000n, stream)
    driver.copyIn(0x1000n, new Uint8Array(0))
    const event = driver.createEvent()
    event.record(stream)
    expect(driver.elapsed(event, event)).toBe(2.5)
    event.release()
    driver.destroyStream(stream)
    driver.free(0x1000n)
    driver.release()
    const seen = calls.slice(calls.findIndex((c) => c.name === 'cuStreamCreate') + 1)
    expect(seen.map(({ name, args }) => [name, ...args.filter((a) => typeof a !== 'object')])).toEqual([
      ['cuMemAlloc_v2', 3],
      ['cuMemcpyHtoD_v2', 0x1000n, 3],
      ['cuMemcpyHtoDAsync_v2', 0x1000n, 3, 8n],
      ['cuMemsetD8Async', 0x1000n, 255, 3, 8n],
      ['cuMemcpyDtoHAsync_v2', 0x1000n, 3, 8n],
      ['cuStreamSynchronize', 8n],
      ['cuEventCreate', 0],
      ['cuEventRecord', 9n, 8n],
      ['cuEventSynchronize', 9n],
      ['cuEventElapsedTime', 9n, 9n],
      ['cuEventDestroy_v2', 9n],
      ['cuStreamDestroy_v2', 8n],
      ['cuMemFree_v2', 0x1000n],
      ['cuDevicePrimaryCtxRelease_v2', 0],
    ])
  })
})

describe('refusals', () => {
  test('of memory say how much was wanted', async () => {
    const driver = await machine({ cuMemAlloc_v2: () => 2 }).open()
    const error = await thrown(() => driver.alloc(12_345))
    expect(error.code).toBe('out-of-memory')
    expect(error.message).toContain('12345 bytes')
    const broken = await machine({ cuMemAlloc_v2: () => 700 }).open()
    expect((await thrown(() => broken.alloc(1))).code).toBe('cuda-error')
  })

  test('of a launch say which, why, and with which shapes', async () => {
    const driver = await machine({ cuLaunchKernel: () => 700 }).open()
    const error = await refusal(launchOn(driver))
    expect(error.code).toBe('cuda-error')
    expect(error.message).toBe(
      'the CUDA driver refused the launch of attend: CUDA_ERROR_ILLEGAL_ADDRESS, an illegal access (causal, q [1, 2, 3, 4])',
    )
  })

  test('that show only when the host waits name the launch before', async () => {
    const driver = await machine({ cuCtxSynchronize: () => 700, cuMemcpyDtoH_v2: () => 700 }).open()
    await launchOn(driver)
    for (const wait of [() => driver.synchronize(), () => driver.copyOut(new Uint8Array(4), 0x1000n)])
      expect((await thrown(wait)).message).toContain(
        'CUDA_ERROR_ILLEGAL_ADDRESS, an illegal access (causal, q [1, 2, 3, 4])',
      )
  })

  test('of a cubin give the loader its log', async () => {
    const driver = await machine({
      cuModuleLoadDataEx: (
        _: unknown,
        __: unknown,
        count: number,
        keys: Int32Array,
        values: BigUint64Array,
      ) => {
        expect([count, ...keys, values[1]]).toEqual([2, 5, 6, 16_384n])
        arrayAt(values[0]!).set(new TextEncoder().encode('no kernel image for this device'))
        return 209
      },
    }).open()
    const error = await refusal(driver.loadModule(source))
    expect(error.message).toContain('no kernel image for this device (causal, variant d64-bf16-hopper)')
  })

  test('of a cubin that is not the one that was built', async () => {
    const driver = await machine().open()
    const error = await refusal(driver.loadModule({ ...source, readCubin: () => Uint8Array.of(9) }))
    expect(error.code).toBe('cubin-hash')
    expect(error.message).toContain('a.cubin')
  })
})

test('koffi reads and writes the memory of this process', async () => {
  const native = await loadNative()
  const libc = native.load('libc.so.6')
  const data = Uint8Array.of(104, 105, 0, 7)
  expect(native.text(native.address(data))).toBe('hi')
  const copy = new Uint8Array(4)
  libc.func('memcpy', 'void *', ['void *', 'uint64', 'size_t'])(copy, native.address(data), 4)
  expect(copy).toEqual(data)
  // Parts of arrays begin where they begin.
  const part = data.subarray(1, 3)
  expect(native.address(part)).toBe(native.address(data) + 1n)
  libc.func('memcpy', 'void *', ['void *', 'void *', 'size_t'])(copy.subarray(2), part, 2)
  expect(copy).toEqual(Uint8Array.of(104, 105, 105, 0))
})

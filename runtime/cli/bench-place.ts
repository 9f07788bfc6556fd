/** Where `heddle bench` times kernels: a target's flags in; a place that compiles, runs and times a pattern there out. */

import { emit } from '../../codegen/index.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { StorageDtype } from '../tensor.ts'
import { openAdapter, type ADAPTER_FLAG } from './adapter.ts'
import type { Options } from './args.ts'
import { openGpu } from './cuda-device.ts'
import type { Io } from './io.ts'
import { timeKernel, type TimedCall } from './timer.ts'

export type BenchCall = Omit<TimedCall, 'dtype'> & { readonly dtype: StorageDtype }

export interface BenchTime {
  readonly ms: number
  readonly runs: number
  /** What measured. */
  readonly by: string
  readonly variant: { readonly id: string; readonly tile: { readonly q: number; readonly kv: number } }
}

export interface BenchPlace {
  readonly name: string
  readonly driver: string
  time(
    pattern: CompiledPattern,
    call: BenchCall,
    limits: { readonly runs: number; readonly budgetMs: number },
  ): Promise<BenchTime>
  close(): void
}

export interface BenchTarget {
  /** The first is the default. */
  readonly dtypes: readonly StorageDtype[]
  readonly open: (io: Io, options: Options<typeof ADAPTER_FLAG>) => Promise<BenchPlace>
}

const openWebgpu: BenchTarget['open'] = async (io, options) => {
  const opened = await openAdapter(io, options)
  const { loadKernel } = await import('../index.ts')
  return {
    name: opened.name,
    driver: opened.driver,
    close: () => opened.close(),
    time: async (pattern, call, limits) => {
      const { headDim, valueDim } = call
      const dtype = call.dtype === 'f16' ? 'f16' : 'f32'
      const built = { target: 'wgsl', headDims: [headDim], valueDims: [valueDim], dtypes: [dtype] } as const
      using kernel = loadKernel(emit(pattern, built), opened.device)
      const time = await timeKernel(kernel, { ...call, dtype }, limits)
      return { ...time, variant: kernel.variantFor({ headDim, valueDim, dtype }) }
    },
  }
}

const openCuda: BenchTarget['open'] = async (io) => {
  const { emitCuda } = await import('../../codegen/cuda/emit.ts')
  const { loadCudaKernel } = await import('../cuda.ts')
  const { timeCudaKernel } = await import('./cuda-timer.ts')
  const opened = await openGpu(io, 'heddle bench --target cuda')
  return {
    name: opened.name,
    driver: opened.versions,
    close: () => opened.close(),
    time: async (pattern, call, limits) => {
      const { headDim, valueDim } = call
      const dtype = call.dtype === 'f16' ? 'f16' : 'bf16'
      const artifact = emitCuda(pattern, { headDims: [headDim], valueDims: [valueDim], dtypes: [dtype] })
      const kernel = loadCudaKernel(artifact, opened.driver)
      try {
        const { ms, runs, variant } = await timeCudaKernel(kernel, { ...call, dtype }, limits)
        return { ms, runs, by: 'events', variant: artifact.variants.find((v) => v.id === variant)! }
      } finally {
        kernel.release()
      }
    },
  }
}

export const BENCH_TARGETS = {
  wgsl: { dtypes: ['f32', 'f16'], open: openWebgpu },
  cuda: { dtypes: ['bf16', 'f16'], open: openCuda },
} as const satisfies Record<string, BenchTarget>
export const BENCH_TARGET_NAMES = Object.keys(BENCH_TARGETS) as (keyof typeof BENCH_TARGETS)[]

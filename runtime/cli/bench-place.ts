/** Where `heddle bench` times kernels: a target's flags in; a place that compiles, runs and times a pattern there out. */

import { emitWhereAble, type CudaDtype, type Dtype } from '../../codegen/index.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import type { StorageDtype } from '../tensor.ts'
import { chooseVariant, powersOf } from '../variant.ts'
import { openAdapter, type ADAPTER_FLAG } from './adapter.ts'
import type { Options } from './args.ts'
import { openGpu } from './cuda-device.ts'
import type { Io } from './io.ts'
import { generated } from './stage-texts.ts'
import { timeKernel, type TimedCall } from './timer.ts'

export type BenchCall = Omit<TimedCall, 'dtype'> & { readonly dtype: StorageDtype }

export interface BenchTime {
  readonly ms: number
  readonly runs: number
  /** What measured. */
  readonly by: string
  readonly id: string
  /** Of a mask's kernel; null of a program's, which are several. */
  readonly tile: { readonly q: number; readonly kv: number } | null
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
      const dtype: Dtype = call.dtype === 'f16' ? 'f16' : 'f32'
      const built = { target: 'wgsl', headDims: [headDim], valueDims: [valueDim], dtypes: [dtype] } as const
      const artifact = generated(pattern, 'wgsl', () => emitWhereAble(pattern, built))
      using kernel = loadKernel(artifact, opened.device)
      const time = await timeKernel(kernel, { ...call, dtype }, limits)
      const wanted = { headDim, valueDim, dtype } as const
      if (!artifact.stages) {
        const { id, tile } = kernel.variantFor(wanted)
        return { ...time, id, tile }
      }
      const { id } = chooseVariant(artifact.stages, wanted, powersOf(opened.device))
      return { ...time, id, tile: null }
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
      const dtype: CudaDtype = call.dtype === 'f16' ? 'f16' : 'bf16'
      const options = { headDims: [headDim], valueDims: [valueDim], dtypes: [dtype] }
      const artifact = generated(pattern, 'cuda', () => emitCuda(pattern, options))
      const kernel = loadCudaKernel(artifact, opened.driver)
      try {
        const { ms, runs, variant } = await timeCudaKernel(kernel, { ...call, dtype }, limits)
        const tile = artifact.variants.find((v) => v.id === variant)?.tile ?? null
        return { ms, runs, by: 'events', id: variant, tile }
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

/** A CUDA driver in, of a GPU or of the emulation; a runner of CUDA kernels on it out. */

import { emitCuda, SKELETONS } from '../../codegen/cuda/emit.ts'
import type { CudaDtype, CudaVariant, Skeleton } from '../../codegen/cuda/manifest.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver } from '../cuda.ts'
import { plain16 } from '../reference.ts'
import { pickerOf, type Runner } from './runner.ts'

/** Those of texts, and others that run padded in them. */
const HEAD_DIMS = [8, 32, 59, 64, 64, 64, 80, 96, 100, 128, 128, 192, 256] as const
/** On the CPU a large one takes seconds a case. */
const EMULATED_HEAD_DIMS = [8, 32, 59, 64, 64, 80, 96, 100, 128] as const
/** Enough for every buffer of a pipeline to be filled twice; for split keys, enough to split. */
const KEY_TILES = 5
const SPLIT_KEY_TILES = 20
/** Of the attention of programs, of which no two kernels have the same. */
const PROGRAM_TILE = { q: 64, kv: 64 }

export interface CudaRunnerOptions {
  /** By default those of any mask that the device runs. */
  readonly skeletons?: readonly Skeleton[]
}

export function cudaRunner(driver: CudaDriver, { skeletons }: CudaRunnerOptions = {}): Runner {
  const device = 10 * driver.capability.major + driver.capability.minor
  const kinds = SKELETONS.filter(
    ({ name, capability, walks }) =>
      capability.min <= device && device <= capability.max && (skeletons?.includes(name) ?? walks === 'mask'),
  )
  const dims = driver.kind === 'emulated' ? EMULATED_HEAD_DIMS : HEAD_DIMS
  return {
    target: 'cuda',
    choose: (seed, dtype) => {
      const { pick, chance } = pickerOf(seed)
      const { name, needs } = pick(kinds)
      const possible = dims.filter((d) => !needs.vectors || d % 8 === 0)
      const headDim = pick(possible)
      const valueDim = chance() < 0.25 ? pick(possible) : headDim
      const drawn: CudaDtype = chance() < 0.35 ? 'f16' : 'bf16'
      return { headDim, valueDim, dtype: dtype ?? drawn, kind: name }
    },
    build: async (pattern, { headDim, valueDim, dtype: wanted, kind }) => {
      const dtype: CudaDtype = wanted === 'f16' ? 'f16' : 'bf16'
      const artifact = emitCuda(pattern, {
        headDims: [headDim],
        valueDims: [valueDim],
        dtypes: [dtype],
        skeletons: kinds.filter((k) => k.name === kind).map((k) => k.name),
      })
      const kernel = loadCudaKernel(artifact, driver)
      const [program] = artifact.stages?.variants ?? []
      const [mask] = artifact.variants
      const { id } = (program ?? mask)!
      const own = mask ? { tile: mask.tile, ...reachOf(mask.needs) } : { tile: PROGRAM_TILE }
      return {
        // The call's own dims: smaller ones than the text's are padded inside the kernel.
        variant: { id, headDim, valueDim, dtype, ...own },
        plain: plain16,
        answer: (call) => cudaAttention(kernel, program ? call : { ...call, variant: id }),
        release: () => kernel.release(),
      }
    },
  }
}

const reachOf = ({ qRows }: CudaVariant['needs']) =>
  qRows === null ? { keyTiles: KEY_TILES } : { keyTiles: SPLIT_KEY_TILES, fewRows: qRows }

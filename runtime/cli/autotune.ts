/** `--autotune`: a pattern and what is to be built of it in; of each kernel the tile shape that is fastest on this GPU out. */

import { emitCuda, type EmitCudaOptions, type ShapeChoice } from '../../codegen/cuda/emit.ts'
import type { CudaArtifact, CudaVariant } from '../../codegen/cuda/manifest.ts'
import type { Request, Shape, SkeletonSpec } from '../../codegen/cuda/skeleton.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { loadCudaKernel, type CudaDriver } from '../cuda.ts'
import { HeddleError } from '../messages.ts'
import { openGpu } from './cuda-device.ts'
import { timeCudaKernel } from './cuda-timer.ts'
import { inputsOf } from './inputs.ts'
import { progressOn, type Io } from './io.ts'
import { note } from './messages.ts'

type Wish = Omit<EmitCudaOptions, 'shapes'>

export interface Tuner {
  /** Of the GPU and its driver: another one may choose otherwise. */
  readonly name: string
  readonly shapesFor: (pattern: CompiledPattern, wish: Wish) => Promise<ShapeChoice>
  readonly close: () => void
}

/** Long enough for a GPU to be full, short enough to be tried dozens of times. */
const PREFILL = { batch: 1, qLen: 8192, kvLen: 8192 } as const
const DECODE = { batch: 8, qLen: 1, kvLen: 32768 } as const
const HEADS = { qHeads: 32, kvHeads: 8 } as const
const LIMITS = { runs: 20, budgetMs: 2000 } as const

/** What a shape that this GPU has no room for ends with. */
const REFUSALS: readonly string[] = ['cuda-variant', 'cuda-error', 'cuda-compile']

/** What a later alternative has to be better by: the table's order says which one is right where they are alike. */
export const LEAST_GAIN = 0.02

/** The index of the alternative to take; null: none of them runs. */
export function fastest(times: readonly number[]): number | null {
  let best: number | null = null
  times.forEach((ms, i) => {
    if (Number.isFinite(ms) && (best === null || ms < times[best]! * (1 - LEAST_GAIN))) best = i
  })
  return best
}

/** @throws CliError `no-gpu` */
export async function openTuner(io: Io): Promise<Tuner> {
  const opened = await openGpu(io, '--autotune')
  return {
    name: [opened.name, opened.versions].join(', '),
    shapesFor: (pattern, wish) => shapesFor(opened.driver, io, pattern, wish),
    close: () => opened.close(),
  }
}

/** The kernel of one variant in each shape that its skeleton has for it. */
interface Contest {
  readonly capability: CudaVariant['capability']
  readonly shapes: readonly Shape[]
  readonly alone: (shape: Shape) => CudaArtifact
}

export async function shapesFor(
  driver: CudaDriver,
  io: Io,
  pattern: CompiledPattern,
  wish: Wish,
): Promise<ShapeChoice> {
  const progress = progressOn(io)
  const winners = new Map<string, Shape>()
  const device = 10 * driver.capability.major + driver.capability.minor
  for (const [key, { capability, shapes, alone }] of contestsOf(pattern, wish)) {
    // A kernel for other GPUs keeps the table's order.
    if (device < capability.min || device > capability.max || shapes.length === 1) continue
    const alternatives = shapes.map(alone)
    const times: number[] = []
    for (const artifact of alternatives) {
      progress.show(`${pattern.name} ${key}: trying shape ${times.length + 1} of ${shapes.length}`)
      times.push(await timeOf(driver, pattern, artifact))
    }
    progress.clear()
    const best = fastest(times)
    if (best === null) continue
    winners.set(key, shapes[best]!)
    const tried = times.map(
      (ms, i) =>
        `${nameOf(alternatives[i]!)}: ${Number.isFinite(ms) ? `${ms.toFixed(3)} ms` : 'does not run'}`,
    )
    const shape = nameOf(alternatives[best]!)
    io.err(`${note('tuned', { kernel: `${pattern.name} ${key}`, shape, tried })}\n`)
  }
  return (spec, request, shapes) => winners.get(keyOf(spec, request)) ?? shapes[0]!
}

const keyOf = (spec: SkeletonSpec, { headDim, valueDim, dtype }: Request): string =>
  `d${headDim}${valueDim === headDim ? '' : `x${valueDim}`}-${dtype}-${spec.name}`

function contestsOf(pattern: CompiledPattern, wish: Wish): Map<string, Contest> {
  const contests = new Map<string, Contest>()
  emitCuda(pattern, {
    ...wish,
    shapes: (spec, request, shapes) => {
      const { headDim, valueDim, dtype } = request
      const alone = (shape: Shape) =>
        emitCuda(pattern, {
          headDims: [headDim],
          valueDims: [valueDim],
          dtypes: [dtype],
          skeletons: [spec.name],
          debug: wish.debug === true,
          shapes: () => shape,
        })
      contests.set(keyOf(spec, request), { capability: spec.capability, shapes, alone })
      return shapes[0]!
    },
  })
  return contests
}

function nameOf({ variants }: CudaArtifact): string {
  const { tile, entries } = variants[0]!
  const { threads, sharedBytes } = entries.find((e) => e.name === 'attend') ?? entries[0]!
  return `${tile.q} x ${tile.kv} by ${threads} threads in ${Math.ceil(sharedBytes / 1024)} KiB`
}

/** Milliseconds of a call that the variant is made for; infinite where the GPU refuses the shape. */
async function timeOf(driver: CudaDriver, pattern: CompiledPattern, artifact: CudaArtifact): Promise<number> {
  const { headDim, valueDim, dtype, needs } = artifact.variants[0]!
  const { batch, ...lengths } = needs.qRows === null ? PREFILL : DECODE
  const sizes = { ...lengths, ...HEADS, headDim, seed: 1 }
  const inputs = inputsOf(pattern.plan, sizes, batch)
  const kernel = loadCudaKernel(artifact, driver)
  try {
    return (await timeCudaKernel(kernel, { ...sizes, ...inputs, batch, valueDim, dtype }, LIMITS)).ms
  } catch (error) {
    // Too much shared memory or too many registers for this GPU: the others may run.
    if (error instanceof HeddleError && REFUSALS.includes(error.code)) return Infinity
    throw error
  } finally {
    kernel.release()
  }
}

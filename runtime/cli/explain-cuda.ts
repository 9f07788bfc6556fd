/** `heddle explain --target cuda`: a pattern in; its kernels, their tile shapes, why those, and what nvcc made of them, out. */

import * as path from 'node:path'
import * as fs from 'node:fs'
import type { CudaVariant } from '../../codegen/cuda/manifest.ts'
import type { Shape } from '../../codegen/cuda/skeleton.ts'
import type { CompiledPattern } from '../../compiler/index.ts'
import { HeddleError } from '../messages.ts'

export interface KernelLine {
  readonly variant: string
  readonly tile: { readonly q: number; readonly kv: number }
  readonly threads: number
  readonly sharedBytes: number
  readonly reason: string
  /** Compute capability times ten. */
  readonly capability: CudaVariant['capability']
  /** How many shapes --autotune would try. */
  readonly shapes: number
  /** Of the build that was pointed at; empty without one, or if its text is another. */
  readonly cubins: readonly {
    readonly arch: string
    readonly entry: string
    readonly registers: number
    readonly spillBytes: number
  }[]
}

export interface KernelWish {
  readonly headDim: number
  readonly valueDim: number
  /** A folder that `heddle build --target cuda` wrote; null: registers are not known. */
  readonly built: string | null
}

export async function kernelsOf(
  p: CompiledPattern,
  { headDim, valueDim, built }: KernelWish,
): Promise<KernelLine[]> {
  const { emitCuda } = await import('../../codegen/cuda/emit.ts')
  const chosen: { readonly shape: Shape; readonly count: number }[] = []
  const { variants } = emitCuda(p, {
    headDims: [headDim],
    valueDims: [valueDim],
    dtypes: ['bf16'],
    shapes: (_spec, _request, shapes) => {
      chosen.push({ shape: shapes[0]!, count: shapes.length })
      return shapes[0]!
    },
  })
  const made = built === null ? [] : await builtVariants(built, p.name)
  return variants.map(({ id, tile, hash, capability }, i) => {
    const { shape, count } = chosen[i]!
    const cubins = made.find((v) => v.id === id && v.hash === hash)?.cubins ?? []
    return {
      variant: id,
      tile,
      threads: shape.threads,
      sharedBytes: shape.sharedBytes,
      reason: shape.reason,
      capability,
      shapes: count,
      cubins: cubins.flatMap(({ arch, resources }) => resources.map((r) => ({ arch, ...r }))),
    }
  })
}

/** @throws HeddleError for a manifest that is damaged or of another version */
async function builtVariants(folder: string, pattern: string): Promise<readonly CudaVariant[]> {
  const { parseCudaArtifact } = await import('../cuda.ts')
  const file = path.join(folder, `${pattern}.cuda.json`)
  let text: string
  try {
    text = fs.readFileSync(file, 'utf8')
  } catch {
    throw new HeddleError('not-an-artifact', {
      what: `${file} is not there; heddle build --target cuda writes it`,
    })
  }
  return parseCudaArtifact(text).variants
}

export function* kernelText(kernels: readonly KernelLine[]): Generator<string> {
  for (const k of kernels) {
    const { min, max } = k.capability
    const on = `capability ${(min / 10).toFixed(1)}${min === max ? '' : ' and later'}`
    yield `  ${k.variant}: tiles of ${k.tile.q} x ${k.tile.kv}, ${k.threads} threads, ${Math.ceil(k.sharedBytes / 1024)} KiB of shared memory, ${on}`
    yield `    ${k.reason}${k.shapes > 1 ? `; one of ${k.shapes} shapes that --autotune tries` : ''}`
    for (const { arch, entry, registers, spillBytes } of k.cubins)
      yield `    ${arch} ${entry}: ${registers} registers, ${spillBytes === 0 ? 'none spilled' : `${spillBytes} bytes spilled`}`
  }
}

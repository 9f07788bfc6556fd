/** What tests on a device share: the device or the reason for skipping, kernels that are given back, plain results. */

import type { Artifact, Dtype, ListInfo } from '../codegen/artifact.ts'
import { emit, type CapabilityName, type Emitted } from '../codegen/index.ts'
import { createCompiler, type CompiledPattern } from '../compiler/index.ts'
import type { Pattern } from '../dsl/index.ts'
import { fileURLToPath } from 'node:url'
import { openDevice } from '../runtime/device-node.ts'
import { attention, loadKernel, type Kernel } from '../runtime/index.ts'
import { readView, viewOf, type Tensor } from '../runtime/tensor.ts'
import { compilePattern } from '../runtime/testing/subject.ts'
import { runProgram } from './run-program.ts'

export type OpenDevice = Awaited<ReturnType<typeof openDevice>>

/** A device, or null with its reason on stderr; where CI is set a missing device is a failure. */
export async function openTestDevice(): Promise<OpenDevice | null> {
  try {
    return await openDevice()
  } catch (error) {
    if (process.env.CI) throw error
    process.stderr.write(
      `tests on a device are skipped: ${error instanceof Error ? error.message : String(error)}\n`,
    )
    return null
  }
}

const compiler = createCompiler()
/** Where generated files would stand; nothing is written there. */
const GENERATED = fileURLToPath(new URL('./generated.ts', import.meta.url))
export const DSL = '../dsl/index.ts'

export interface Program {
  readonly text: string
  readonly pattern: Pattern
  readonly compiled: CompiledPattern
}

/** A pattern file's text, which imports the DSL alone: run as JavaScript, and compiled. */
export function program(text: string): Program {
  const pattern = runProgram(text)
  return { text, pattern, compiled: compilePattern(pattern, { file: GENERATED, text, compiler }) }
}

export const compiled = (pattern: Pattern): CompiledPattern => compilePattern(pattern, { compiler })

export interface KernelChoice {
  readonly headDim?: number
  readonly valueDim?: number
  readonly dtype?: Dtype
  readonly capabilities?: readonly CapabilityName[]
  readonly lists?: readonly ListInfo[]
}

export type AttentionCall = Parameters<typeof attention>[1]

export interface Result {
  /** Contiguous [batch, heads, qLen, valueDim]. */
  readonly out: Float64Array
  readonly lse: Float32Array
}

/** Kernels of one test file, all given back at its end. */
export class Bench {
  readonly opened: OpenDevice
  readonly #kernels = new Set<Kernel>()

  constructor(opened: OpenDevice) {
    this.opened = opened
  }

  artifact(from: Emitted, choice: KernelChoice = {}): Artifact {
    const { headDim = 8, valueDim = headDim, dtype = 'f32', capabilities, lists } = choice
    return emit(from, {
      target: 'wgsl',
      headDims: [headDim],
      valueDims: [valueDim],
      dtypes: [dtype],
      ...(capabilities ? { capabilities } : {}),
      ...(lists ? { lists } : {}),
    })
  }

  kernel(from: Emitted, choice: KernelChoice = {}): Kernel {
    const kernel = loadKernel(this.artifact(from, choice), this.opened.device)
    this.#kernels.add(kernel)
    return kernel
  }

  async run(kernel: Kernel, call: AttentionCall): Promise<Result> {
    const { out, lse } = await attention(kernel, call)
    return { out: elements(out), lse: lse.data }
  }

  close(): void {
    for (const kernel of this.#kernels) kernel.release()
    this.opened.close()
  }
}

/** A tensor's numbers, contiguous [batch, heads, len, dim], whatever its layout. */
export const elements = (tensor: Tensor): Float64Array => readView(viewOf('tensor', tensor))

export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity
  let most = 0
  for (let i = 0; i < a.length; i++) {
    // Two infinities of one sign do not differ.
    if (a[i] !== b[i]) most = Math.max(most, Number.isNaN(a[i]! - b[i]!) ? Infinity : Math.abs(a[i]! - b[i]!))
  }
  return most
}

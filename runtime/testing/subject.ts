/** A pattern, its file and a device in; its kernels, each built when a case first needs it, out. */

import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import type { Artifact, Dtype, Variant } from '../../codegen/artifact.ts'
import { emit, type CapabilityName } from '../../codegen/index.ts'
import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import { createCompiler, type CompiledPattern, type Compiler } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { Pattern } from '../../dsl/index.ts'
import { PATTERNS } from '../../patterns/index.ts'
import { loadKernel, type Kernel } from '../index.ts'
import { seededRandom } from './draw.ts'
import { CheckError } from './messages.ts'

/** What a run needs of a kernel. */
export interface VariantChoice {
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: Dtype
}

export interface Source {
  /** The file that exports the pattern; not needed for patterns of the library. */
  readonly file?: string | URL | undefined
  /** Source text instead of the file's. */
  readonly text?: string | undefined
  /** Overrides of the pattern's consts, by name. */
  readonly consts?: Readonly<Record<string, number>> | undefined
  /** A warm compiler; by default one that all checks of a process share. */
  readonly compiler?: Compiler | undefined
}

let shared: Compiler | null = null

/** The compiled form of a pattern that was imported: found by its name in its file. */
export function compilePattern(
  pattern: Pattern,
  { file, text, consts, compiler }: Source = {},
): CompiledPattern {
  const path = file === undefined ? libraryFile(pattern) : pathOf(file)
  const warm = compiler ?? (shared ??= createCompiler())
  const { diagnostics, patterns } = warm.compile(path, {
    ...(text === undefined ? {} : { text }),
    ...(consts === undefined ? {} : { consts }),
  })
  const errors = diagnostics.filter((d) => d.severity !== 'note')
  if (errors.length > 0) {
    const texts = errors.map((d) => formatDiagnostic(d)).join('\n\n')
    throw new CheckError('not-compiled', { pattern: pattern.name, diagnostics: texts })
  }
  const found = patterns.find((p) => p.name === pattern.name)
  if (found) return found
  throw new CheckError('not-in-file', {
    pattern: pattern.name,
    file: path,
    present: patterns.map((p) => p.name),
  })
}

const pathOf = (file: string | URL): string => {
  const text = String(file)
  return text.startsWith('file:') ? fileURLToPath(text) : text
}

function libraryFile(pattern: Pattern): string {
  const entry = PATTERNS.find((p) => p.pattern === pattern)
  if (!entry) throw new CheckError('no-source', { pattern: pattern.name })
  return join(PACKAGE_ROOT, entry.file)
}

/** Head dims that kernels meet in practice, and odd ones; the small ones come often because their cases are cheap. */
const HEAD_DIMS = [8, 16, 16, 32, 32, 59, 64, 80, 96, 100, 128] as const

/** Runs that share one kernel: building it costs as much as some twenty cases. */
export const RUNS_PER_VARIANT = 24

/** A run's variant, from its seed alone, so that one run can be repeated on its own. */
export function variantOf(seed: number, dtype?: Dtype): VariantChoice {
  const random = seededRandom(Math.floor(seed / RUNS_PER_VARIANT) + 0x5eed)
  random()
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  const headDim = pick(HEAD_DIMS)
  const valueDim = random() < 0.25 ? pick(HEAD_DIMS) : headDim
  return { headDim, valueDim, dtype: dtype ?? (random() < 0.35 ? 'f16' : 'f32') }
}

export interface Built {
  readonly artifact: Artifact
  readonly kernel: Kernel
  readonly variant: Variant
}

/** Holds one kernel at a time: neighbouring runs share it. */
export class Subject {
  readonly compiled: CompiledPattern
  readonly #device: GPUDevice
  readonly #capabilities: readonly CapabilityName[] | undefined
  #built: { readonly key: string; readonly built: Built } | null = null

  /** @param capabilities those of the target to choose among; by default those that are built by default */
  constructor(compiled: CompiledPattern, device: GPUDevice, capabilities?: readonly CapabilityName[]) {
    this.compiled = compiled
    this.#device = device
    this.#capabilities = capabilities
  }

  build(choice: VariantChoice): Built {
    const key = JSON.stringify(choice)
    if (this.#built?.key === key) return this.#built.built
    this.release()
    const { headDim, valueDim, dtype } = choice
    const artifact = emit(this.compiled, {
      target: 'wgsl',
      headDims: [headDim],
      valueDims: [valueDim],
      dtypes: [dtype],
      ...(this.#capabilities ? { capabilities: this.#capabilities } : {}),
    })
    const kernel = loadKernel(artifact, this.#device)
    const built: Built = { artifact, kernel, variant: kernel.variantFor({ headDim, valueDim, dtype }) }
    this.#built = { key, built }
    return built
  }

  release(): void {
    this.#built?.built.kernel.release()
    this.#built = null
  }
}

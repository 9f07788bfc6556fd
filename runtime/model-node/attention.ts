/** Compiled patterns in; attention for a model out, with kernels built for its head dim and storage when it is loaded. */

import { emit, Unsupported, type CapabilityName } from '../../codegen/index.ts'
import type { Artifact, Dtype } from '../../codegen/artifact.ts'
import { createCompiler, type CompiledPattern, type Compiler } from '../../compiler/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { join } from 'node:path'
import { patternAttention, type Attention, type ByLayer, type PatternChoice } from '../model/attention.ts'
import type { ModelConfig } from '../model/config.ts'
import { HeddleError } from '../messages.ts'

/** A compiled pattern and what its calls say. */
export interface CompiledChoice extends Omit<PatternChoice, 'artifact'> {
  readonly pattern: CompiledPattern
}

export interface CompiledOptions {
  readonly prefill: ByLayer<CompiledChoice>
  /** For steps of one token; by default what the prefill has. */
  readonly decode?: ByLayer<CompiledChoice>
}

const PREFILL: readonly CapabilityName[] = ['large48', 'unrolled', 'portable']
const DECODE: readonly CapabilityName[] = ['decode', 'decode-portable']

/** As `patternAttention`, for patterns that have not been built yet. */
export const compiledAttention =
  ({ prefill, decode = prefill }: CompiledOptions): Attention =>
  (device, shape) => {
    const built = new Map<CompiledPattern, Artifact>()
    const artifactOf = (pattern: CompiledPattern): Artifact => {
      const artifact = built.get(pattern) ?? buildFor(pattern, shape.headDim, shape.dtype)
      built.set(pattern, artifact)
      return artifact
    }
    const choiceOf =
      (choice: ByLayer<CompiledChoice>) =>
      (layer: number): PatternChoice => {
        const { pattern, ...rest } = typeof choice === 'function' ? choice(layer) : choice
        return { artifact: artifactOf(pattern), ...rest }
      }
    return patternAttention({ prefill: choiceOf(prefill), decode: choiceOf(decode) })(device, shape)
  }

function buildFor(pattern: CompiledPattern, headDim: number, dtype: Dtype): Artifact {
  const options = { target: 'wgsl', headDims: [headDim], dtypes: [dtype] } as const
  try {
    return emit(pattern, { ...options, capabilities: [...PREFILL, ...DECODE] })
  } catch (error) {
    // A program that fixes the size of its tiles has none of one row: its steps run in the tiles that it fixes.
    if (!(error instanceof Unsupported)) throw error
    return emit(pattern, { ...options, capabilities: PREFILL })
  }
}

/**
 * The library's own pattern of a name, compiled.
 *
 * @throws HeddleError `model-option` for a name that the library does not have
 */
export function libraryPattern(name: string, compiler: Compiler = createCompiler()): CompiledPattern {
  const { patterns } = compiler.compile(join(PACKAGE_ROOT, 'patterns', `${name}.ts`))
  const found = patterns.find((p) => p.name === name)
  if (found) return found
  const expected = 'the name of a pattern of the library'
  throw new HeddleError('model-option', { option: 'libraryPattern', expected, got: name })
}

/** What the configuration says: dense, or a window where a layer has one. */
export function configuredAttention({ windows }: Pick<ModelConfig, 'windows'>): Attention {
  const compiler = createCompiler()
  const causal = windows.includes(null) ? libraryPattern('causal', compiler) : null
  const window = windows.every((w) => w === null) ? null : libraryPattern('sliding-window', compiler)
  return compiledAttention({
    prefill: (layer) => {
      const size = windows[layer] ?? null
      return size === null ? { pattern: causal! } : { pattern: window!, params: { window: size } }
    },
  })
}

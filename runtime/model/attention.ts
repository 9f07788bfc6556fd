/**
 * AttentionKernel, the one seam of the executor: queries of a step and the cache in, attention's output out. Any pattern of
 * Heddle, with params of its own in each layer, is one; so is whatever else encodes itself into a pass.
 */

import type { Dtype } from '../../codegen/artifact.ts'
import { loadKernel, type Kernel } from '../kernel.ts'
import { HeddleError } from '../messages.ts'
import { resolveParams, type ParamValues } from '../params.ts'
import type { TableData } from '../tables.ts'
import type { Strides } from '../tensor.ts'
import { powersOf, unmetNeed } from '../variant.ts'

/** What is the same in all steps of a model. */
export interface AttentionShape {
  readonly layers: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly dtype: Dtype
}

/** One layer of one step: `rows` queries, which are the last of `length` tokens; their keys are in the cache already. */
export interface AttentionStep {
  readonly layer: number
  readonly rows: number
  readonly length: number
  readonly q: GPUBuffer
  readonly k: GPUBuffer
  readonly v: GPUBuffer
  readonly out: GPUBuffer
  /** f32 bits, [qHeads, rows]: kernels that write a log-sum-exp have a place for it. */
  readonly lse: GPUBuffer
  /** In elements; of q and out, and of k and v. */
  readonly strides: { readonly rows: Strides; readonly cache: Strides }
}

export interface AttentionKernel {
  readonly name: string
  /** Records the layer's attention; what is returned is released when the commands have been submitted. */
  encode(pass: GPUComputePassEncoder, step: AttentionStep): { release(): void }
  /** Gives back what it holds on the device. */
  release(): void
}

/** Makes a kernel for a model, with all that it needs compiled; the model releases it. */
export type Attention = (device: GPUDevice, shape: AttentionShape) => Promise<AttentionKernel>

/** A built pattern, as `heddle build --target wgsl` writes it, and what its calls say. */
export interface PatternChoice {
  /** The text of an artefact's JSON file, or the record. */
  readonly artifact: unknown
  readonly params?: ParamValues
  readonly tables?: (
    step: Pick<AttentionStep, 'layer' | 'rows' | 'length'>,
  ) => Readonly<Record<string, TableData>>
}

export type ByLayer<T> = T | ((layer: number) => T)

export interface PatternOptions {
  readonly prefill: ByLayer<PatternChoice>
  /** For steps of one token; by default what the prefill has. */
  readonly decode?: ByLayer<PatternChoice>
}

/**
 * Attention by Heddle's patterns: one for the prefill and one for decoding, for all layers or by layer.
 *
 * @example patternAttention({ prefill: { artifact: aShape, params: { window: 512 } }, decode: { artifact: causal } })
 * @example patternAttention({ prefill: (layer) => ({ artifact: minference, params: paramsOf(profile, layer, 32) }) })
 */
export const patternAttention =
  ({ prefill, decode = prefill }: PatternOptions): Attention =>
  async (device, shape) => {
    const layers = Array.from({ length: shape.layers }, (_, layer) => ({
      prefill: ofLayer(prefill, layer),
      decode: ofLayer(decode, layer),
    }))
    const kernels = new Map<unknown, Kernel>()
    const release = () => kernels.forEach((kernel) => kernel.release())
    try {
      for (const choice of layers.flatMap((l) => [l.prefill, l.decode])) {
        const kernel = kernels.get(choice.artifact) ?? loadKernel(choice.artifact, device)
        kernels.set(choice.artifact, kernel)
        checkChoice(kernel, choice, shape)
      }
      const wanted = { headDim: shape.headDim, valueDim: shape.headDim, dtype: shape.dtype }
      const steps = new Map([...kernels].map(([artifact, kernel]) => [artifact, rowVariant(kernel, shape)]))
      for (const [artifact, kernel] of kernels) {
        if (layers.some((l) => l.prefill.artifact === artifact)) await kernel.prepare(wanted)
        if (layers.some((l) => l.decode.artifact === artifact))
          await kernel.prepare(wanted, steps.get(artifact))
      }
      const named = [...kernels.values()].map((kernel) => kernel.artifact.pattern)
      return {
        name: named.join(', '),
        encode: (pass, step) => {
          const one = step.rows === 1
          const choice = layers[step.layer]![one ? 'decode' : 'prefill']
          const variant = one ? steps.get(choice.artifact) : undefined
          return encode(kernels.get(choice.artifact)!, shape, choice, variant, pass, step)
        },
        release,
      }
    } catch (error) {
      release()
      throw error
    }
  }

const ofLayer = (choice: ByLayer<PatternChoice>, layer: number): PatternChoice =>
  typeof choice === 'function' ? choice(layer) : choice

/** The variant with tiles of one row, where the artefact has one that the device runs. */
function rowVariant({ artifact, device }: Kernel, { headDim, dtype }: AttentionShape): string | undefined {
  const powers = powersOf(device)
  return (artifact.stages?.variants ?? artifact.variants).find(
    (v) =>
      v.capability.name.startsWith('decode') &&
      v.headDim === headDim &&
      v.valueDim === headDim &&
      v.dtype === dtype &&
      unmetNeed(v, powers) === null,
  )?.id
}

/** What a call would refuse is refused before weights are read. */
function checkChoice({ artifact }: Kernel, choice: PatternChoice, { qHeads }: AttentionShape): void {
  const { pattern, params } = artifact
  const rows = (artifact.stages?.rows ?? []).map((r) => r.name)
  if (rows.length > 0) throw new HeddleError('attention-rows', { pattern, rows })
  const tables = artifact.tables.map((t) => t.name)
  if (tables.length > 0 && !choice.tables) throw new HeddleError('attention-tables', { pattern, tables })
  resolveParams(params, choice.params, qHeads)
}

function encode(
  kernel: Kernel,
  { qHeads, kvHeads, headDim, dtype }: AttentionShape,
  { params, tables }: PatternChoice,
  variant: string | undefined,
  pass: GPUComputePassEncoder,
  step: AttentionStep,
): { release(): void } {
  const { rows, length, q, k, v, out, lse, strides } = step
  return kernel.encode(pass, {
    q,
    k,
    v,
    out,
    lse,
    dtype,
    shapes: {
      q: [1, qHeads, rows, headDim],
      k: [1, kvHeads, length, headDim],
      v: [1, kvHeads, length, headDim],
    },
    strides: { q: strides.rows, k: strides.cache, v: strides.cache, out: strides.rows },
    ...(params ? { params } : {}),
    ...(tables ? { tables: tables(step) } : {}),
    ...(variant === undefined ? {} : { variant }),
  })
}

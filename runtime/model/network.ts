/**
 * A model's weights and cache on a device as the operations of a step: the embedding, six dispatches and an attention a
 * layer, the head. Tokens and positions in; logits, hidden states and a longer cache out, all in buffers.
 */

import type { Dtype } from '../../codegen/artifact.ts'
import { HeddleError } from '../messages.ts'
import type { Gpu } from '../webgpu.ts'
import type { AttentionKernel, AttentionShape, AttentionStep } from './attention.ts'
import { ropeFrequencies, type ModelConfig, type RopeFrequencies } from './config.ts'
import { turnsOf } from './turns.ts'
import { rowsBlock } from './kernels/text.ts'
import type { Operation } from './operation.ts'
import type { Recorder } from './recorder.ts'

export interface NetworkSizes {
  /** Tokens that the cache has room for. */
  readonly length: number
  /** Tokens of a step. */
  readonly chunk: number
  /** Rows of logits that are made at once. */
  readonly outputs: number
  /** Of queries, keys, values and attention's output. */
  readonly cache: Dtype
}

const bytesOf = { f32: 4, f16: 2 } as const

/** Bytes of every buffer that a step works in. */
export function workBytes(config: ModelConfig, { chunk, outputs, cache }: NetworkSizes) {
  const { qHeads, kvHeads, headDim } = config
  return {
    tokens: 4 * chunk,
    turns: 4 * chunk * headDim,
    x: 4 * chunk * config.hiddenSize,
    projected: 4 * chunk * (qHeads + 2 * kvHeads) * headDim,
    q: bytesOf[cache] * chunk * qHeads * headDim,
    attended: bytesOf[cache] * chunk * qHeads * headDim,
    lse: 4 * chunk * qHeads,
    gated: 4 * chunk * config.intermediateSize,
    logits: 4 * outputs * config.vocabSize,
    targets: 4 * outputs,
    scores: 4 * outputs,
  } as const
}
export type WorkBuffer = keyof ReturnType<typeof workBytes>

/** Bytes of one layer's keys, and of its values. */
export const cacheBytes = ({ kvHeads, headDim }: ModelConfig, { length, cache }: NetworkSizes): number =>
  bytesOf[cache] * kvHeads * length * headDim

export const shapeOf = (config: ModelConfig, dtype: Dtype): AttentionShape => ({
  layers: config.layers,
  qHeads: config.qHeads,
  kvHeads: config.kvHeads,
  headDim: config.headDim,
  dtype,
})

export type WorkBuffers = Readonly<Record<WorkBuffer, GPUBuffer>>

/** A layer's cache, and what runs before and after its attention. */
export interface Layer {
  readonly k: GPUBuffer
  readonly v: GPUBuffer
  readonly before: readonly Operation[]
  readonly after: readonly Operation[]
}

export interface NetworkParts {
  readonly work: WorkBuffers
  /** The uniform blocks of all rows of a step, and of those whose logits are wanted. */
  readonly rows: GPUBuffer
  readonly outputRows: GPUBuffer
  readonly embed: Operation
  readonly layers: readonly Layer[]
  readonly head: Operation
  readonly scores: Operation
}

/** Sizes that the kernels read in vectors of four. */
export function checkSizes(config: ModelConfig): void {
  for (const what of ['hiddenSize', 'intermediateSize', 'headDim'] as const) {
    if (config[what] % 4 !== 0) throw new HeddleError('model-size', { what, multiple: 4, got: config[what] })
  }
}

export class Network {
  readonly config: ModelConfig
  readonly sizes: NetworkSizes
  readonly #gpu: Gpu
  readonly #parts: NetworkParts
  readonly #strides: AttentionStep['strides']
  #frequencies: { readonly length: number; readonly value: RopeFrequencies } | null = null

  constructor(gpu: Gpu, config: ModelConfig, sizes: NetworkSizes, parts: NetworkParts) {
    this.#gpu = gpu
    this.config = config
    this.sizes = sizes
    this.#parts = parts
    const { qHeads, kvHeads, headDim } = config
    this.#strides = {
      rows: [sizes.chunk * qHeads * headDim, headDim, qHeads * headDim],
      cache: [kvHeads * sizes.length * headDim, sizes.length * headDim, headDim],
    }
  }

  get work(): WorkBuffers {
    return this.#parts.work
  }

  /** A layer's cache of keys, [kvHeads, sizes.length, headDim]. */
  keys(layer: number): GPUBuffer {
    return this.#parts.layers[layer]!.k
  }

  /** Says which tokens the next step has, and where they stand; `length` is that of the sequence as far as it is known. */
  place(tokens: ArrayLike<number>, position: number, length: number): void {
    const { queue } = this.#gpu.device
    queue.writeBuffer(this.work.tokens, 0, Uint32Array.from(tokens))
    queue.writeBuffer(this.#parts.rows, 0, rowsBlock(0, tokens.length, position))
    queue.writeBuffer(this.work.turns, 0, turnsOf(this.#ropeAt(length), position, tokens.length))
  }

  embed(recorder: Recorder, rows: number): void {
    this.#parts.embed.run(recorder, rows)
  }

  layer(recorder: Recorder, n: number, rows: number, position: number, attention: AttentionKernel): void {
    const { k, v, before, after } = this.#parts.layers[n]!
    const { q, attended, lse } = this.work
    for (const { run } of before) run(recorder, rows)
    recorder.record('attention', (pass) => {
      const length = position + rows
      const step = { layer: n, rows, length, q, k, v, out: attended, lse, strides: this.#strides }
      recorder.hold(attention.encode(pass, step))
    })
    for (const { run } of after) run(recorder, rows)
  }

  /** Logits of `count` rows from `first` on. */
  head(recorder: Recorder, first: number, count: number): void {
    this.#gpu.device.queue.writeBuffer(this.#parts.outputRows, 0, rowsBlock(first, count, 0))
    this.#parts.head.run(recorder, count)
  }

  /** Logarithms of the probabilities of `targets` in the rows of logits. */
  scores(recorder: Recorder, targets: ArrayLike<number>): void {
    this.#gpu.device.queue.writeBuffer(this.work.targets, 0, Uint32Array.from(targets))
    this.#parts.scores.run(recorder, targets.length)
  }

  #ropeAt(length: number): RopeFrequencies {
    if (this.#frequencies?.length !== length) {
      this.#frequencies = { length, value: ropeFrequencies(this.config, length) }
    }
    return this.#frequencies.value
  }
}

/** The tokens whose keys and values are in a model's cache: tokens in; what of them is there already, and steps over the rest, out. */

import type { CallOptions } from './calls.ts'
import type { ModelConfig } from './config.ts'
import type { Network } from './network.ts'
import type { Recorder } from './recorder.ts'
import type { Chunk, Steps } from './steps.ts'

export class Context {
  readonly #config: ModelConfig
  readonly #network: Network
  readonly #steps: Steps
  #tokens: readonly number[] = []

  constructor(config: ModelConfig, network: Network, steps: Steps) {
    this.#config = config
    this.#network = network
    this.#steps = steps
  }

  get length(): number {
    return this.#tokens.length
  }

  /** Forgets what is behind the first `length` tokens. */
  keep(length: number): void {
    this.#tokens = this.#tokens.slice(0, length)
  }

  /** How many tokens of the cache are the prompt's; the last one is computed in any case, since its logits are wanted. */
  #reusable(tokens: readonly number[]): number {
    const { rope } = this.#config
    // Its frequencies hang on the length of the whole, so keys of another length are not those of this one.
    if (rope.kind === 'dynamic' && Math.max(tokens.length, this.length) > rope.originalPositions) return 0
    const most = Math.min(this.length, tokens.length - 1)
    let same = 0
    while (same < most && this.#tokens[same] === tokens[same]) same++
    return same
  }

  /** Goes on with what the prompt has in common with the cache. */
  resume(tokens: readonly number[]): void {
    this.keep(this.#reusable(tokens))
  }

  /** The logits behind the last token; those in the cache are the first of them. */
  async logitsBehind(tokens: readonly number[], { signal, onProgress }: CallOptions): Promise<Float32Array> {
    const total = tokens.length
    for (const chunk of this.#steps.chunks(tokens, this.length)) {
      const rows = chunk.tokens.length
      const done = chunk.position + rows
      const head = (recorder: Recorder) => this.#network.head(recorder, rows - 1, 1)
      await this.#steps.run(chunk, this.#config.layers, signal, done === total ? head : undefined)
      this.#tokens = tokens.slice(0, done)
      onProgress?.({ done, total })
    }
    return this.#steps.read(this.#network.work.logits, 4 * this.#config.vocabSize, signal)
  }

  /** All steps of a prompt anew through the first `layers` layers, each looked at when it has run. */
  async through(
    tokens: readonly number[],
    layers: number,
    { signal, onProgress }: CallOptions,
    look: (chunk: Chunk) => Promise<void>,
  ): Promise<void> {
    this.keep(0)
    for (const chunk of this.#steps.chunks(tokens, 0)) {
      const done = chunk.position + chunk.tokens.length
      await this.#steps.run(chunk, layers, signal)
      await look(chunk)
      // Of the layers behind them the cache has nothing.
      if (layers === this.#config.layers) this.#tokens = tokens.slice(0, done)
      onProgress?.({ done, total: tokens.length })
    }
  }
}

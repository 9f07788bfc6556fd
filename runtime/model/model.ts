/** A loaded model: prompts in, tokens, logits, hidden states and perplexities out. One call at a time; the cache stays between. */
/// <reference lib="esnext.disposable" preserve="true" />

import { HeddleError } from '../messages.ts'
import type { Gpu } from '../webgpu.ts'
import type { Attention, AttentionKernel } from './attention.ts'
import type { CallOptions, GenerateOptions, LoadableFiles, Token } from './calls.ts'
import {
  checkPositions,
  readKeys,
  readLogits,
  readLogProbability,
  readQueries,
  type QueriesAndKeys,
} from './capture.ts'
import type { ModelConfig } from './config.ts'
import { Context } from './context.ts'
import { shapeOf, type Network } from './network.ts'
import type { KernelTime } from './recorder.ts'
import { sampleToken, seededRandom } from './sampling.ts'
import { Steps } from './steps.ts'
import { stoppedStream } from './stops.ts'

export class Model implements Disposable {
  readonly config: ModelConfig
  readonly #gpu: Gpu
  readonly #files: LoadableFiles
  readonly #network: Network
  readonly #release: () => void
  readonly #steps: Steps
  readonly #context: Context
  #busy = false
  #closed = false

  /** @param release gives back the device's memory: `loadModel` made it */
  constructor(
    gpu: Gpu,
    files: LoadableFiles,
    network: Network,
    attention: AttentionKernel,
    release: () => void,
  ) {
    this.config = files.config
    this.#gpu = gpu
    this.#files = files
    this.#network = network
    this.#steps = new Steps(gpu, network, attention, () => this.#open())
    this.#context = new Context(files.config, network, this.#steps)
    this.#release = release
  }

  /** Tokens that the cache has room for. */
  get maxLength(): number {
    return this.#network.sizes.length
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#context.length
  }

  /** Forgets all tokens. */
  reset(): void {
    this.truncate(0)
  }

  /** Forgets the tokens behind the first `length`. */
  truncate(length: number): void {
    this.#open()
    if (this.#busy) throw new HeddleError('model-busy', {})
    const most = this.length
    if (!Number.isInteger(length) || length < 0 || length > most)
      throw new HeddleError('model-option', {
        option: 'truncate',
        expected: `a whole number from 0 to ${most}`,
        got: length,
      })
    this.#context.keep(length)
  }

  /** Takes another attention from the next call on. The cache, whose keys the old one made, starts anew. */
  async setAttention(attention: Attention): Promise<void> {
    await this.#alone(async () => {
      const { device } = this.#gpu
      const kernel = await attention(device, shapeOf(this.config, this.#network.sizes.cache))
      this.#steps.attention.release()
      this.#steps.attention = kernel
      this.#context.keep(0)
    })
  }

  get attention(): string {
    return this.#steps.attention.name
  }

  /**
   * Generates behind a prompt. What the prompt has in common with the tokens in the cache is not computed again, so the
   * next turn of a conversation costs what is new in it.
   *
   * @throws HeddleError `prompt-length` and others of the prompt, `model-busy`, `device-lost`; the signal's reason
   */
  async *generate(
    prompt: string | readonly number[],
    options: GenerateOptions = {},
  ): AsyncGenerator<Token, void> {
    this.#enter()
    try {
      yield* this.#generate(prompt, options)
    } finally {
      this.#busy = false
    }
  }

  async *#generate(given: string | readonly number[], options: GenerateOptions): AsyncGenerator<Token, void> {
    const { sampling = {}, seed = 0, stop = [], signal, text: wanted = typeof given === 'string' } = options
    const prompt = await this.#tokensOf(given)
    const room = this.maxLength - prompt.length
    const most = Math.min(checkCount('maxTokens', options.maxTokens ?? room + 1), room + 1)
    const random = seededRandom(seed)
    const ends = new Set([...this.#files.generation.eos, ...stop.filter((s) => typeof s === 'number')])
    const endings = texts(stop)
    const codec = wanted || endings.length > 0 ? await this.#files.tokenizer() : null
    const text = stoppedStream(codec?.stream({ after: prompt }) ?? null, endings)
    const tokens = [...prompt]
    this.#context.resume(tokens)
    let logits = await this.#context.logitsBehind(tokens, options)
    for (let n = 1; n <= most; n++) {
      signal?.throwIfAborted()
      const id = sampleToken(logits, sampling, tokens, random)
      if (ends.has(id)) {
        const rest = text.end()
        if (rest !== '') yield { id, text: rest }
        return
      }
      tokens.push(id)
      const added = text.push(id)
      if (n === most) yield { id, text: added.text + text.end() }
      else if (added.text !== '' || !added.ended) yield { id, text: added.text }
      if (added.ended || n === most) return
      logits = await this.#context.logitsBehind(tokens, { ...(signal ? { signal } : {}) })
    }
  }

  /** The logits behind the last of these tokens. */
  logits(prompt: string | readonly number[], options: CallOptions = {}): Promise<Float32Array> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      this.#context.resume(tokens)
      return this.#context.logitsBehind(tokens, options)
    })
  }

  /**
   * The logits behind the tokens at `positions`, which rise: a row of vocabSize numbers for each. The cache starts anew.
   */
  logitsAt(
    prompt: string | readonly number[],
    positions: readonly number[],
    options: CallOptions = {},
  ): Promise<Float32Array> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      checkPositions(positions, tokens.length)
      const { vocabSize, layers } = this.config
      const logits = new Float32Array(positions.length * vocabSize)
      await this.#context.through(tokens, layers, options, (chunk) =>
        readLogits(this.#steps, this.#network, chunk, positions, logits, options.signal),
      )
      return logits
    })
  }

  /** What a layer's attention meets: queries and keys after rotary embedding, [heads, tokens, headDim]. The cache starts anew. */
  queriesAndKeys(
    prompt: string | readonly number[],
    layer: number,
    options: CallOptions = {},
  ): Promise<QueriesAndKeys> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      const { layers, qHeads, headDim } = this.config
      if (!Number.isInteger(layer) || layer < 0 || layer >= layers)
        throw new HeddleError('model-layer', { layers: layers - 1, got: layer })
      const q = new Float32Array(qHeads * tokens.length * headDim)
      await this.#context.through(tokens, layer + 1, options, (chunk) =>
        readQueries(this.#steps, this.#network, chunk, q, options.signal),
      )
      return { q, k: await readKeys(this.#steps, this.#network, layer, tokens.length, options.signal) }
    })
  }

  /**
   * The residual stream behind the first `layer` layers (0: the embedding), before the norm: a row of hiddenSize numbers
   * for each token. The cache starts anew.
   */
  hiddenStates(
    prompt: string | readonly number[],
    layer: number,
    options: CallOptions = {},
  ): Promise<Float32Array> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      const { layers, hiddenSize } = this.config
      if (!Number.isInteger(layer) || layer < 0 || layer > layers)
        throw new HeddleError('model-layer', { layers, got: layer })
      const states = new Float32Array(tokens.length * hiddenSize)
      await this.#context.through(tokens, layer, options, async ({ tokens: own, position }) => {
        const part = await this.#steps.read(this.#network.work.x, 4 * own.length * hiddenSize, options.signal)
        states.set(part, position * hiddenSize)
      })
      return states
    })
  }

  /** exp of the mean of -log p(token | those before it), over all tokens but the first. The cache starts anew. */
  perplexity(prompt: string | readonly number[], options: CallOptions = {}): Promise<number> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      if (tokens.length < 2)
        throw new HeddleError('model-option', {
          option: 'perplexity',
          expected: 'at least two tokens',
          got: tokens.length,
        })
      let sum = 0
      await this.#context.through(tokens, this.config.layers, options, async (chunk) => {
        sum += await readLogProbability(this.#steps, this.#network, chunk, tokens, options.signal)
      })
      return Math.exp(-sum / (tokens.length - 1))
    })
  }

  /** Switches timing on or off; needs the feature timestamp-query. What was measured before is forgotten. */
  set timed(on: boolean) {
    this.#open()
    this.#steps.time(on)
  }

  /** What each kernel took since `timed` was set. */
  get times(): readonly KernelTime[] {
    return this.#steps.times()
  }

  /** Gives back all that the model holds on the device, even in the middle of a call, which then fails. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#steps.release()
    this.#release()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #open(): void {
    if (this.#closed) throw new HeddleError('model-closed', {})
    this.#gpu.throwIfLost()
  }

  #enter(): void {
    this.#open()
    if (this.#busy) throw new HeddleError('model-busy', {})
    this.#busy = true
  }

  async #alone<T>(work: () => Promise<T>): Promise<T> {
    this.#enter()
    try {
      return await work()
    } finally {
      this.#busy = false
    }
  }

  async #tokensOf(prompt: string | readonly number[]): Promise<readonly number[]> {
    const tokens = typeof prompt === 'string' ? (await this.#files.tokenizer()).encode(prompt) : prompt
    const { vocabSize } = this.config
    if (tokens.length === 0) throw new HeddleError('prompt-empty', {})
    const wrong = tokens.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize)
    if (wrong >= 0)
      throw new HeddleError('prompt-token', { at: wrong, vocabulary: vocabSize, got: tokens[wrong] })
    if (tokens.length > this.maxLength)
      throw new HeddleError('prompt-length', { tokens: tokens.length, room: this.maxLength })
    return tokens
  }
}

/** Of what stops a text, the texts; an empty one would stop every text at once. */
const texts = (stop: readonly (number | string)[]): string[] =>
  stop.filter((s): s is string => typeof s === 'string' && s !== '')

function checkCount(option: string, got: unknown): number {
  if (typeof got === 'number' && Number.isInteger(got) && got >= 1) return got
  throw new HeddleError('model-option', { option, expected: 'a whole number of at least 1', got })
}

/** A loaded model: prompts in, tokens, logits, hidden states and perplexities out. One call at a time; the cache stays between. */
/// <reference lib="esnext.disposable" preserve="true" />

import { HeddleError } from '../messages.ts'
import { Lease } from '../pool.ts'
import { readBack } from '../read-back.ts'
import type { Gpu } from '../webgpu.ts'
import type { Attention, AttentionKernel } from './attention.ts'
import type { ModelConfig } from './config.ts'
import type { ModelFiles } from './files.ts'
import { shapeOf, type Network } from './network.ts'
import { Recorder, Timer, type KernelTime } from './recorder.ts'
import { sampleToken, seededRandom, type Sampling } from './sampling.ts'
import { stoppedStream } from './stops.ts'
import type { TextStream } from './text-stream.ts'

/** What the executor asks of a tokenizer. */
export interface TextCodec {
  encode(text: string): readonly number[]
  stream(options?: { readonly after?: readonly number[] }): TextStream
}

/** What `openModel` gives, as far as running a model goes. */
export interface LoadableFiles extends Omit<ModelFiles, 'tokenizer'> {
  tokenizer(): Promise<TextCodec>
}

export interface Token {
  readonly id: number
  /** What the token adds to the text: nothing while a character is not whole, or the text may be about to stop. */
  readonly text: string
}

export interface StepProgress {
  /** Tokens of the prompt whose keys and values are in the cache. */
  readonly done: number
  readonly total: number
}

export interface GenerateOptions {
  /** Generation ends at the latest where the cache is full. */
  readonly maxTokens?: number
  /** Greedy unless it says otherwise. */
  readonly sampling?: Sampling
  /** Of the random numbers that sampling draws. */
  readonly seed?: number
  /** Whether tokens come with their text; by default if the prompt is one. The model's tokenizer is read for it. */
  readonly text?: boolean
  /** Token ids beside those that end a text in the model's own configuration, and texts; what ends it is not given. */
  readonly stop?: readonly (number | string)[]
  readonly signal?: AbortSignal
  /** While the prompt goes in. */
  readonly onProgress?: (progress: StepProgress) => void
}

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: StepProgress) => void
}

/** Tokens of a step and where the first one stands; `length` is that of the whole, as far as it is known. */
interface Chunk {
  readonly tokens: readonly number[]
  readonly position: number
  readonly length: number
}

export class Model implements Disposable {
  readonly config: ModelConfig
  readonly #gpu: Gpu
  readonly #files: LoadableFiles
  readonly #network: Network
  readonly #release: () => void
  #attention: AttentionKernel
  #timer: Timer | null = null
  /** The tokens whose keys and values are in the cache. */
  #cached: number[] = []
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
    this.#attention = attention
    this.#release = release
  }

  /** Tokens that the cache has room for. */
  get maxLength(): number {
    return this.#network.sizes.length
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#cached.length
  }

  /** Forgets all tokens. */
  reset(): void {
    this.truncate(0)
  }

  /** Forgets the tokens behind the first `length`. */
  truncate(length: number): void {
    this.#open()
    if (this.#busy) throw new HeddleError('model-busy', {})
    const most = this.#cached.length
    if (!Number.isInteger(length) || length < 0 || length > most)
      throw new HeddleError('model-option', {
        option: 'truncate',
        expected: `a whole number from 0 to ${most}`,
        got: length,
      })
    this.#cached.length = length
  }

  /** Takes another attention from the next call on. The cache, whose keys the old one made, starts anew. */
  async setAttention(attention: Attention): Promise<void> {
    await this.#alone(async () => {
      const { device } = this.#gpu
      const kernel = await attention(device, shapeOf(this.config, this.#network.sizes.cache))
      this.#attention.release()
      this.#attention = kernel
      this.#cached = []
    })
  }

  get attention(): string {
    return this.#attention.name
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
    this.#keep(this.#reusable(tokens))
    let logits = await this.#logitsBehind(tokens, options)
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
      logits = await this.#logitsBehind(tokens, { ...(signal ? { signal } : {}) })
    }
  }

  /** The logits behind the last of these tokens. */
  logits(prompt: string | readonly number[], options: CallOptions = {}): Promise<Float32Array> {
    return this.#alone(async () => {
      const tokens = await this.#tokensOf(prompt)
      this.#keep(this.#reusable(tokens))
      return this.#logitsBehind(tokens, options)
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
      this.#cached = []
      for (const { at, rows } of this.#chunks(0, tokens.length)) {
        const chunk = { tokens: tokens.slice(at, at + rows), position: at, length: tokens.length }
        await this.#step(chunk, layer, options.signal)
        const size = 4 * rows * hiddenSize
        states.set(await this.#read(this.#network.work.x, size, options.signal), at * hiddenSize)
        options.onProgress?.({ done: at + rows, total: tokens.length })
      }
      // Of the layers behind it the cache has nothing.
      if (layer === layers) this.#cached = [...tokens]
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
      const { outputs } = this.#network.sizes
      this.#cached = []
      let sum = 0
      for (const { at, rows } of this.#chunks(0, tokens.length)) {
        const chunk = { tokens: tokens.slice(at, at + rows), position: at, length: tokens.length }
        await this.#step(chunk, this.config.layers, options.signal)
        for (let first = 0; first < rows; first += outputs) {
          const targets = tokens.slice(at + first + 1, at + Math.min(rows, first + outputs) + 1)
          if (targets.length > 0) sum += await this.#logProbability(first, targets, options.signal)
        }
        this.#cached = tokens.slice(0, at + rows)
        options.onProgress?.({ done: at + rows, total: tokens.length })
      }
      return Math.exp(-sum / (tokens.length - 1))
    })
  }

  async #logProbability(first: number, targets: readonly number[], signal?: AbortSignal): Promise<number> {
    await this.#submit((recorder) => {
      this.#network.head(recorder, first, targets.length)
      this.#network.scores(recorder, targets)
    })
    const scores = await this.#read(this.#network.work.scores, 4 * targets.length, signal)
    return scores.reduce((a, b) => a + b, 0)
  }

  /** Switches timing on or off; needs the feature timestamp-query. What was measured before is forgotten. */
  set timed(on: boolean) {
    this.#open()
    if (on && !this.#gpu.device.features.has('timestamp-query')) throw new HeddleError('no-timestamps', {})
    this.#timer?.release()
    // The most of one submission: a whole step, with parts of embedding and head.
    this.#timer = on ? new Timer(this.#gpu, Math.min(2048, 8 * this.config.layers + 64)) : null
  }

  /** What each kernel took since `timed` was set. */
  get times(): readonly KernelTime[] {
    return this.#timer?.times() ?? []
  }

  /** Gives back all that the model holds on the device, even in the middle of a call, which then fails. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.release()
    this.#attention.release()
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

  *#chunks(start: number, end: number): Generator<{ readonly at: number; readonly rows: number }> {
    const { chunk } = this.#network.sizes
    // Steps end where a whole prompt's would, so that units of a pattern are cut alike whatever was in the cache.
    for (let at = start; at < end;) {
      const rows = Math.min(end - at, chunk - (at % chunk))
      yield { at, rows }
      at += rows
    }
  }

  /** The logits behind the last token; those in the cache are the first of them. */
  async #logitsBehind(tokens: readonly number[], { signal, onProgress }: CallOptions): Promise<Float32Array> {
    for (const { at, rows } of this.#chunks(this.#cached.length, tokens.length)) {
      const isLast = at + rows === tokens.length
      const head = (recorder: Recorder) => this.#network.head(recorder, rows - 1, 1)
      const chunk = { tokens: tokens.slice(at, at + rows), position: at, length: tokens.length }
      await this.#step(chunk, this.config.layers, signal, isLast ? head : undefined)
      this.#cached = tokens.slice(0, at + rows)
      onProgress?.({ done: at + rows, total: tokens.length })
    }
    return this.#read(this.#network.work.logits, 4 * this.config.vocabSize, signal)
  }

  /** How many tokens in the cache are the prompt's; the last one is computed in any case, since its logits are wanted. */
  #reusable(tokens: readonly number[]): number {
    const { rope } = this.config
    // Its frequencies hang on the length of the whole, so keys of another length are not those of this one.
    if (rope.kind === 'dynamic' && Math.max(tokens.length, this.length) > rope.originalPositions) return 0
    const most = Math.min(this.length, tokens.length - 1)
    let same = 0
    while (same < most && this.#cached[same] === tokens[same]) same++
    return same
  }

  #keep(length: number): void {
    this.#cached = this.#cached.slice(0, length)
  }

  /** One step through the first `layers` layers. A prefill submits layer by layer: what they work in is used again. */
  async #step(
    { tokens, position, length }: Chunk,
    layers: number,
    signal: AbortSignal | undefined,
    last: (recorder: Recorder) => void = () => {},
  ): Promise<void> {
    const network = this.#network
    const rows = tokens.length
    const layer = (recorder: Recorder, n: number) =>
      network.layer(recorder, n, rows, position, this.#attention)
    signal?.throwIfAborted()
    this.#open()
    network.place(tokens, position, length)
    if (rows === 1) {
      await this.#submit((recorder) => {
        network.embed(recorder, rows)
        for (let n = 0; n < layers; n++) layer(recorder, n)
        last(recorder)
      })
      return
    }
    await this.#submit((recorder) => network.embed(recorder, rows))
    for (let n = 0; n < layers; n++) await this.#submit((recorder) => layer(recorder, n))
    await this.#submit(last)
    await this.#wait(this.#gpu.device.queue.onSubmittedWorkDone(), signal)
  }

  async #submit(record: (recorder: Recorder) => void): Promise<void> {
    this.#open()
    await this.#gpu.scoped(
      'step',
      () => 0,
      () => {
        const recorder = new Recorder(this.#gpu, this.#timer)
        record(recorder)
        recorder.submit()
      },
    )
  }

  async #read(buffer: GPUBuffer, size: number, signal: AbortSignal | undefined): Promise<Float32Array> {
    const lease = new Lease(this.#gpu.pool)
    const reading = readBack(this.#gpu, lease, [{ buffer, offset: 0, size }])
    // Whoever stops waiting leaves a buffer that is still being mapped.
    const ended = reading.finally(() => lease.end('keep'))
    ended.catch(() => {})
    const [bytes] = await this.#wait(ended, signal)
    await this.#timer?.collect()
    return new Float32Array(bytes!)
  }

  /** The promise, or the signal's abortion or the device's loss if they come first. */
  #wait<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const guarded = this.#gpu.guard(promise)
    if (!signal) return guarded
    return new Promise((resolve, reject) => {
      const abort = () => reject(signal.reason)
      if (signal.aborted) abort()
      signal.addEventListener('abort', abort, { once: true })
      guarded.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
    })
  }
}

/** Of what stops a text, the texts; an empty one would stop every text at once. */
const texts = (stop: readonly (number | string)[]): string[] =>
  stop.filter((s): s is string => typeof s === 'string' && s !== '')

function checkCount(option: string, got: unknown): number {
  if (typeof got === 'number' && Number.isInteger(got) && got >= 1) return got
  throw new HeddleError('model-option', { option, expected: 'a whole number of at least 1', got })
}

/** What a model is loaded from, and what its calls take and give. */

import type { ModelFiles } from './files.ts'
import type { Sampling } from './sampling.ts'
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

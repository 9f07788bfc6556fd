/** One small model of random weights for each family that the executor runs, with the rotary scalings and types among them. */

import { readFileSync } from 'node:fs'
import { WORD_CLASSES } from '../../../bench/eval/tasks.ts'
import type { NeedleExample } from '../../../runtime/cli/start-model.ts'
import type { ModelConfig } from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import type { WeightDtype } from '../../../runtime/model/tensors.ts'
import { randomTokens } from './random-model.ts'

export const PROMPT = randomTokens(37, 7)

/** What the model has room for of it. */
export const promptOf = ({ maxPositions }: Pick<ModelConfig, 'maxPositions'>): number[] =>
  PROMPT.slice(0, Math.min(64, maxPositions))

export const NEEDLE = 'needle'

/** The example's text and its first question, word by word. */
export function needlePrompt(): number[] {
  const file = new URL('../../../models/needle/example.json', import.meta.url)
  const { text, questions } = JSON.parse(readFileSync(file, 'utf8')) as NeedleExample
  const words = Object.values(WORD_CLASSES).flat()
  return `<bos> ${text} ${questions[0]!.ask}`.split(' ').map((word) => words.indexOf(word))
}

export interface Family {
  readonly name: string
  readonly config: Json
  readonly dtype: WeightDtype
  readonly cache: 'f32' | 'f16'
  readonly window?: number
  /** Of the largest logit. */
  readonly error: number
}

export const FAMILIES: readonly Family[] = [
  {
    name: 'Llama, rope of Llama 3, weights in f32',
    config: {
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 64,
      },
    },
    dtype: 'F32',
    cache: 'f32',
    error: 1e-5,
  },
  {
    name: 'Llama with all biases, dynamic rope beyond its length',
    config: {
      attention_bias: true,
      mlp_bias: true,
      max_position_embeddings: 32,
      rope_scaling: { rope_type: 'dynamic', factor: 2 },
    },
    dtype: 'F32',
    cache: 'f32',
    error: 1e-5,
  },
  {
    name: 'Mistral, a window of 9 keys, linear rope, weights in f16',
    config: {
      architectures: ['MistralForCausalLM'],
      sliding_window: 9,
      rope_scaling: { rope_type: 'linear', factor: 2 },
    },
    dtype: 'F16',
    cache: 'f32',
    window: 9,
    error: 1e-5,
  },
  {
    name: 'Qwen2, biases of q, k and v, tied, yarn, weights in bf16',
    config: {
      architectures: ['Qwen2ForCausalLM'],
      tie_word_embeddings: true,
      rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 64 },
    },
    dtype: 'BF16',
    cache: 'f32',
    error: 1e-5,
  },
  {
    name: 'Qwen3, norms of q and k, one kv head, heads wider than the stream, a cache in f16',
    config: { architectures: ['Qwen3ForCausalLM'], num_key_value_heads: 1, head_dim: 32 },
    dtype: 'BF16',
    cache: 'f16',
    error: 1e-3,
  },
]

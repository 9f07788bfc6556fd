/** Small models of random weights: as files that the executor loads, and as numbers that the oracle reads. */

import { bfloatArray, fromBfloat } from '../../../runtime/bfloat.ts'
import { fromHalf, halfArray } from '../../../runtime/half.ts'
import { readConfig, type ModelConfig } from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import type { LoadableFiles } from '../../../runtime/model/calls.ts'
import { openSafetensors, SINGLE_FILE } from '../../../runtime/model/safetensors.ts'
import { memorySource } from '../../../runtime/model/source.ts'
import { checkWeights, neededWeights, type NeededWeight } from '../../../runtime/model/weights.ts'
import type { WeightDtype } from '../../../runtime/model/tensors.ts'
import { seededRandom } from '../../../runtime/model/sampling.ts'
import { safetensors, type TinyTensor } from './tiny.ts'
import type { Weights } from './transformer.ts'

export const SMALL: Json = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 128,
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 256,
}

export interface RandomModel {
  readonly config: ModelConfig
  readonly weights: Weights
  /** The file of its weights. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly files: LoadableFiles
}

/** One row a type: numbers to what a file holds, and what that is as numbers. */
const STORED: Readonly<
  Record<
    WeightDtype,
    { bytes: (x: Float64Array) => ArrayBuffer; values: (bytes: ArrayBuffer) => Float64Array }
  >
> = {
  F32: {
    bytes: (x) => Float32Array.from(x).buffer,
    values: (b) => Float64Array.from(new Float32Array(b)),
  },
  F16: { bytes: (x) => halfArray(x).buffer, values: (b) => Float64Array.from(new Uint16Array(b), fromHalf) },
  BF16: {
    bytes: (x) => bfloatArray(x).buffer,
    values: (b) => Float64Array.from(new Uint16Array(b), fromBfloat),
  },
}

/** Gains about 1, biases small, matrices of the scale that keeps activations near 1. */
function drawn({ role, shape }: NeededWeight, random: () => number): Float64Array {
  const size = shape.reduce((a, b) => a * b, 1)
  const unit = () => 2 * random() - 1
  if (shape.length === 1) {
    const center = role.toLowerCase().endsWith('norm') ? 1 : 0
    return Float64Array.from({ length: size }, () => center + 0.3 * unit())
  }
  const scale = role === 'embedding' ? 1 : 1.7 / Math.sqrt(shape[1]!)
  return Float64Array.from({ length: size }, () => scale * unit())
}

export async function randomModel(
  change: Json,
  dtype: WeightDtype = 'F32',
  seed = 1,
  adjust: (name: string, values: Float64Array) => void = () => {},
): Promise<RandomModel> {
  const config = readConfig({ ...SMALL, ...change })
  const random = seededRandom(seed)
  const weights = new Map<string, Float64Array>()
  const tensors: Record<string, TinyTensor> = {}
  for (const needed of neededWeights(config)) {
    const values = drawn(needed, random)
    adjust(needed.name, values)
    const stored = STORED[dtype].bytes(values)
    weights.set(needed.name, STORED[dtype].values(stored))
    tensors[needed.name] = { dtype, shape: needed.shape, data: new Uint8Array(stored) }
  }
  const bytes = safetensors(tensors)
  const checkpoint = await openSafetensors(memorySource({ [SINGLE_FILE]: bytes }))
  return {
    config,
    weights,
    bytes,
    files: {
      config,
      checkpoint: checkpoint!,
      weights: checkWeights(config, checkpoint!),
      tokenizer: () => Promise.reject(new Error('a random model has no tokenizer')),
      generation: { bos: null, eos: [], pad: null, sampling: {} },
    },
  }
}

export const randomTokens = (length: number, seed: number, vocabulary = 128): number[] => {
  const random = seededRandom(seed)
  return Array.from({ length }, () => Math.floor(random() * vocabulary))
}

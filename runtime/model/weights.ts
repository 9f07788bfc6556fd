/** Which tensors a configuration needs, and those of a checkpoint that are them: checked before a byte is uploaded. */

import { HeddleError } from '../messages.ts'
import type { ModelConfig } from './config.ts'
import { WEIGHT_DTYPES, type Checkpoint, type StoredTensor, type WeightDtype } from './tensors.ts'

interface WeightRow {
  /** The name in the checkpoint, `{}` for the layer. */
  readonly name: string
  readonly shape: (config: ModelConfig) => readonly number[]
  readonly when?: (config: ModelConfig) => boolean
}

const hidden = (c: ModelConfig) => [c.hiddenSize]
const head = (c: ModelConfig) => [c.headDim]
const wide = (c: ModelConfig) => [c.intermediateSize]
const q = (c: ModelConfig) => c.qHeads * c.headDim
const kv = (c: ModelConfig) => c.kvHeads * c.headDim
const vocabulary = (c: ModelConfig) => [c.vocabSize, c.hiddenSize]

/** A linear layer's weight is [out, in]: y = W x + b. */
export const MODEL_WEIGHTS = {
  embedding: { name: 'model.embed_tokens.weight', shape: vocabulary },
  norm: { name: 'model.norm.weight', shape: hidden },
  head: { name: 'lm_head.weight', shape: vocabulary, when: (c) => !c.tiedEmbeddings },
} as const satisfies Record<string, WeightRow>

export const LAYER_WEIGHTS = {
  attentionNorm: { name: 'model.layers.{}.input_layernorm.weight', shape: hidden },
  q: { name: 'model.layers.{}.self_attn.q_proj.weight', shape: (c) => [q(c), c.hiddenSize] },
  k: { name: 'model.layers.{}.self_attn.k_proj.weight', shape: (c) => [kv(c), c.hiddenSize] },
  v: { name: 'model.layers.{}.self_attn.v_proj.weight', shape: (c) => [kv(c), c.hiddenSize] },
  output: { name: 'model.layers.{}.self_attn.o_proj.weight', shape: (c) => [c.hiddenSize, q(c)] },
  qBias: { name: 'model.layers.{}.self_attn.q_proj.bias', shape: (c) => [q(c)], when: (c) => c.bias.qkv },
  kBias: { name: 'model.layers.{}.self_attn.k_proj.bias', shape: (c) => [kv(c)], when: (c) => c.bias.qkv },
  vBias: { name: 'model.layers.{}.self_attn.v_proj.bias', shape: (c) => [kv(c)], when: (c) => c.bias.qkv },
  outputBias: { name: 'model.layers.{}.self_attn.o_proj.bias', shape: hidden, when: (c) => c.bias.output },
  qNorm: { name: 'model.layers.{}.self_attn.q_norm.weight', shape: head, when: (c) => c.qkNorm },
  kNorm: { name: 'model.layers.{}.self_attn.k_norm.weight', shape: head, when: (c) => c.qkNorm },
  mlpNorm: { name: 'model.layers.{}.post_attention_layernorm.weight', shape: hidden },
  gate: { name: 'model.layers.{}.mlp.gate_proj.weight', shape: (c) => [c.intermediateSize, c.hiddenSize] },
  up: { name: 'model.layers.{}.mlp.up_proj.weight', shape: (c) => [c.intermediateSize, c.hiddenSize] },
  down: { name: 'model.layers.{}.mlp.down_proj.weight', shape: (c) => [c.hiddenSize, c.intermediateSize] },
  gateBias: { name: 'model.layers.{}.mlp.gate_proj.bias', shape: wide, when: (c) => c.bias.mlp },
  upBias: { name: 'model.layers.{}.mlp.up_proj.bias', shape: wide, when: (c) => c.bias.mlp },
  downBias: { name: 'model.layers.{}.mlp.down_proj.bias', shape: hidden, when: (c) => c.bias.mlp },
} as const satisfies Record<string, WeightRow>

export type ModelRole = keyof typeof MODEL_WEIGHTS
export type LayerRole = keyof typeof LAYER_WEIGHTS

export interface NeededWeight {
  readonly name: string
  readonly shape: readonly number[]
  readonly role: ModelRole | LayerRole
  /** Null for the weights that the model has once. */
  readonly layer: number | null
}

/** A needed weight and where it is. */
export interface Weight extends NeededWeight {
  readonly dtype: WeightDtype
  readonly tensor: StoredTensor
}

/** In the order in which a forward pass meets them. */
export function neededWeights(config: ModelConfig): NeededWeight[] {
  const rows = <R extends ModelRole | LayerRole>(
    table: Readonly<Record<R, WeightRow>>,
    layer: number | null,
  ): NeededWeight[] =>
    (Object.keys(table) as R[])
      .filter((role) => table[role].when?.(config) ?? true)
      .map((role) => ({
        name: table[role].name.replace('{}', String(layer)),
        shape: table[role].shape(config),
        role,
        layer,
      }))
  const { embedding, ...after } = MODEL_WEIGHTS
  return [
    ...rows({ embedding }, null),
    ...Array.from({ length: config.layers }, (_, layer) => rows(LAYER_WEIGHTS, layer)).flat(),
    ...rows(after, null),
  ]
}

/** The weights of a checkpoint that a configuration needs; what else it holds is left where it is. */
export function checkWeights(config: ModelConfig, checkpoint: Checkpoint): Weight[] {
  const files = [...new Set([...checkpoint.tensors.values()].map((tensor) => tensor.file))]
  return neededWeights(config).map((needed) => {
    const { name, shape } = needed
    const tensor = checkpoint.tensors.get(name)
    if (!tensor) throw new HeddleError('weight-missing', { tensor: name, shape, file: where(files) })
    const { file } = tensor
    if (shape.length !== tensor.shape.length || shape.some((size, i) => size !== tensor.shape[i])) {
      throw new HeddleError('weight-shape', { tensor: name, file, expected: shape, got: tensor.shape })
    }
    const dtype = WEIGHT_DTYPES.find((known) => known === tensor.dtype)
    if (!dtype) {
      throw new HeddleError('weight-dtype', {
        tensor: name,
        file,
        known: checkpoint.dtypes,
        got: tensor.dtype,
      })
    }
    return { ...needed, dtype, tensor }
  })
}

const where = (files: readonly string[]) =>
  files.length === 0
    ? 'the checkpoint, which is empty'
    : files.length === 1
      ? files[0]!
      : `one of the ${files.length} files of the checkpoint`

/** What a configuration needs of a checkpoint, for every family, and what is said of a checkpoint that does not have it. */

import { describe, expect, test } from 'vitest'
import {
  ARCHITECTURES,
  readConfig,
  type Architecture,
  type ModelConfig,
} from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import { openSafetensors } from '../../../runtime/model/safetensors.ts'
import { memorySource } from '../../../runtime/model/source.ts'
import type { Checkpoint } from '../../../runtime/model/tensors.ts'
import { checkWeights, neededWeights } from '../../../runtime/model/weights.ts'
import { floats, ofFamily, refusal, safetensors, tinyConfig, tinyWeights, type TinyTensor } from './tiny.ts'

const opened = async (tensors: Readonly<Record<string, TinyTensor>>): Promise<Checkpoint> =>
  (await openSafetensors(memorySource({ 'model.safetensors': safetensors(tensors) })))!

const ofLayer = (config: ModelConfig) =>
  neededWeights(config)
    .filter(({ layer }) => layer === 1)
    .map(({ name, shape }) => `${name.replace('model.layers.1.', '')} ${shape.join('x')}`)

describe('needed', () => {
  const linear = [
    'input_layernorm.weight 8',
    'self_attn.q_proj.weight 16x8',
    'self_attn.k_proj.weight 8x8',
    'self_attn.v_proj.weight 8x8',
    'self_attn.o_proj.weight 8x16',
  ]
  const mlp = [
    'post_attention_layernorm.weight 8',
    'mlp.gate_proj.weight 12x8',
    'mlp.up_proj.weight 12x8',
    'mlp.down_proj.weight 8x12',
  ]
  const biases = ['self_attn.q_proj.bias 16', 'self_attn.k_proj.bias 8', 'self_attn.v_proj.bias 8']

  test.each<[Architecture, Json, string[]]>([
    ['LlamaForCausalLM', {}, [...linear, ...mlp]],
    ['MistralForCausalLM', {}, [...linear, ...mlp]],
    ['Qwen2ForCausalLM', {}, [...linear, ...biases, ...mlp]],
    ['Qwen3ForCausalLM', {}, [...linear, 'self_attn.q_norm.weight 4', 'self_attn.k_norm.weight 4', ...mlp]],
    [
      'LlamaForCausalLM',
      { attention_bias: true, mlp_bias: true },
      [
        ...linear,
        ...biases,
        'self_attn.o_proj.bias 8',
        ...mlp,
        'mlp.gate_proj.bias 12',
        'mlp.up_proj.bias 12',
        'mlp.down_proj.bias 8',
      ],
    ],
  ])('a layer of %s with %j', (architecture, change, expected) => {
    expect(ofLayer(readConfig(ofFamily(architecture, change)))).toEqual(expected)
  })

  test('outside the layers: embedding, norm, and the head unless it is the embedding', () => {
    const outside = (change: Json) =>
      neededWeights(tinyConfig(change))
        .filter(({ layer }) => layer === null)
        .map(({ role, name, shape }) => `${role} ${name} ${shape.join('x')}`)
    const tied = ['embedding model.embed_tokens.weight 11x8', 'norm model.norm.weight 8']
    expect(outside({})).toEqual([...tied, 'head lm_head.weight 11x8'])
    expect(outside({ tie_word_embeddings: true })).toEqual(tied)
  })
})

describe('found', () => {
  test.each(Object.keys(ARCHITECTURES) as Architecture[])(
    'all that %s needs, and nothing else',
    async (name) => {
      const config = readConfig(ofFamily(name))
      const checkpoint = await opened({
        ...tinyWeights(config),
        'model.layers.0.self_attn.rotary_emb.inv_freq': { dtype: 'I64', shape: [1], data: new Uint8Array(8) },
      })
      const weights = checkWeights(config, checkpoint)
      expect(weights.map((w) => w.name)).toEqual(neededWeights(config).map((w) => w.name))
      expect(weights.every((w) => w.dtype === 'F32' && w.tensor.name === w.name)).toBe(true)
    },
  )
})

describe('refusals', () => {
  const config = tinyConfig()
  const weights = tinyWeights(config)
  const name = 'model.layers.1.self_attn.k_proj.weight'
  const check = async (tensors: Readonly<Record<string, TinyTensor>>) =>
    checkWeights(config, await opened(tensors))

  test('a tensor that is missing', async () => {
    const { [name]: _, ...rest } = weights
    expect(await refusal(() => check(rest))).toBe(
      `error[weight-missing]: ${name} is missing: expected it in model.safetensors, with shape [8, 8]`,
    )
    expect(await refusal(() => check({}))).toBe(
      'error[weight-missing]: model.embed_tokens.weight is missing: expected it in the checkpoint, which is empty, with shape [11, 8]',
    )
  })

  test('a tensor of another shape', async () => {
    expect(await refusal(() => check({ ...weights, [name]: floats(Array(64).fill(0), [64]) }))).toBe(
      `error[weight-shape]: ${name}: expected shape [8, 8], got [64] in model.safetensors`,
    )
  })

  test('a tensor of a type that no weight has', async () => {
    const bytes = { dtype: 'F8_E4M3', shape: [8, 8], data: new Uint8Array(64) }
    expect(await refusal(() => check({ ...weights, [name]: bytes }))).toBe(
      `error[weight-dtype]: ${name}: expected one of F32, F16, BF16, got F8_E4M3 in model.safetensors`,
    )
  })

  test('a head that is missing though the embedding is none', async () => {
    const { 'lm_head.weight': _, ...rest } = weights
    expect(await refusal(() => check(rest))).toMatch(/^error\[weight-missing\]: lm_head.weight/)
  })
})

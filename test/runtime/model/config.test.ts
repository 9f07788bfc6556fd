/** config.json on its way in: what the fields mean, what transformers takes for those that are absent, what is refused. */

import { describe, expect, test } from 'vitest'
import { readConfig } from '../../../runtime/model/config.ts'
import type { Json } from '../../../runtime/model/fields.ts'
import { ofFamily, refusal, TINY, tinyConfig } from './tiny.ts'

describe('fields', () => {
  test('a Llama', () => {
    expect(tinyConfig()).toEqual({
      architecture: 'LlamaForCausalLM',
      vocabSize: 11,
      hiddenSize: 8,
      intermediateSize: 12,
      layers: 2,
      qHeads: 4,
      kvHeads: 2,
      headDim: 4,
      normEps: 1e-6,
      activation: 'silu',
      tiedEmbeddings: false,
      bias: { qkv: false, output: false, mlp: false },
      qkNorm: false,
      rope: { kind: 'default', theta: 10_000 },
      maxPositions: 2048,
      windows: [null, null],
    })
  })

  test.each([
    ['LlamaForCausalLM', 4, 16],
    ['MistralForCausalLM', 8, 16],
    ['Qwen2ForCausalLM', 32, 16],
    ['Qwen3ForCausalLM', 32, 128],
  ] as const)('%s without key heads and head dim takes the family’s', (architecture, kvHeads, headDim) => {
    const qHeads = Math.max(4, kvHeads)
    const shared = Object.fromEntries(
      Object.entries(TINY).filter(([key]) => !['num_key_value_heads', 'head_dim'].includes(key)),
    )
    const record = {
      ...shared,
      architectures: [architecture],
      num_attention_heads: qHeads,
      hidden_size: qHeads * 16,
    }
    expect(readConfig(record)).toMatchObject({ kvHeads, headDim })
    // Null is none of the family's: every query head has its own, and heads share the hidden size.
    const none = { ...record, num_key_value_heads: null, head_dim: null }
    expect(readConfig(none)).toMatchObject({ kvHeads: qHeads, headDim: 16 })
  })

  test('biases', () => {
    const biases = (architecture: Parameters<typeof ofFamily>[0], change: Json) =>
      readConfig(ofFamily(architecture, change)).bias
    const all = { attention_bias: true, mlp_bias: true }
    expect(biases('LlamaForCausalLM', all)).toEqual({ qkv: true, output: true, mlp: true })
    expect(biases('MistralForCausalLM', all)).toEqual({ qkv: false, output: false, mlp: false })
    expect(biases('Qwen2ForCausalLM', {})).toEqual({ qkv: true, output: false, mlp: false })
    expect(biases('Qwen2ForCausalLM', { attention_bias: false })).toEqual({
      qkv: true,
      output: false,
      mlp: false,
    })
    expect(biases('Qwen3ForCausalLM', all)).toEqual({ qkv: true, output: true, mlp: false })
    expect(biases('Qwen3ForCausalLM', {})).toEqual({ qkv: false, output: false, mlp: false })
  })
})

describe('windows', () => {
  const windows = (architecture: Parameters<typeof ofFamily>[0], change: Json) =>
    readConfig(ofFamily(architecture, change)).windows

  test('of Mistral are every layer’s, 4096 where the file says nothing', () => {
    expect(windows('MistralForCausalLM', {})).toEqual([4096, 4096])
    expect(windows('MistralForCausalLM', { sliding_window: 32 })).toEqual([32, 32])
    expect(windows('MistralForCausalLM', { sliding_window: null })).toEqual([null, null])
  })

  test('of Qwen are in use where the file says so, from max_window_layers on or where layer_types say', () => {
    const on = { use_sliding_window: true, sliding_window: 32 }
    const types = ['sliding_attention', 'full_attention']
    for (const family of ['Qwen2ForCausalLM', 'Qwen3ForCausalLM'] as const) {
      expect(windows(family, { sliding_window: 32 })).toEqual([null, null])
      expect(windows(family, { ...on, max_window_layers: 1 })).toEqual([null, 32])
      expect(windows(family, on)).toEqual([null, null])
      expect(windows(family, { ...on, layer_types: types })).toEqual([32, null])
      expect(windows(family, { layer_types: ['full_attention', 'full_attention'] })).toEqual([null, null])
    }
  })
})

describe('refusals', () => {
  test.each<[string, Json, string]>([
    [
      'an architecture that is not known',
      { architectures: ['GPT2LMHeadModel'] },
      'error[unknown-architecture]: config.json: expected an architecture among LlamaForCausalLM, MistralForCausalLM, ' +
        'Qwen2ForCausalLM, Qwen3ForCausalLM, got "GPT2LMHeadModel"',
    ],
    [
      'no architecture',
      { architectures: null },
      'error[unknown-architecture]: config.json: expected an architecture among LlamaForCausalLM, MistralForCausalLM, ' +
        'Qwen2ForCausalLM, Qwen3ForCausalLM, got nothing',
    ],
    [
      'an activation',
      { hidden_act: 'gelu' },
      'error[unknown-activation]: config.json: expected an activation among silu, got "gelu"',
    ],
    [
      'weights of fewer bits',
      { quantization_config: { quant_method: 'gptq' } },
      'error[quantized-checkpoint]: config.json: the checkpoint is quantized ("gptq"); expected weights in F32, F16 ' +
        'or BF16, or a GGUF file',
    ],
    [
      'a size that is missing',
      { hidden_size: null },
      'error[model-field]: config.json: expected hidden_size to be a whole number from 1 to 16777216, got null',
    ],
    [
      'a size that is no number',
      { vocab_size: '32000' },
      'error[model-field]: config.json: expected vocab_size to be a whole number from 1 to 16777216, got "32000"',
    ],
    [
      'a million layers',
      { num_hidden_layers: 1e6 },
      'error[model-field]: config.json: expected num_hidden_layers to be a whole number from 1 to 4096, got 1000000',
    ],
    [
      'heads that do not share',
      { num_key_value_heads: 3 },
      'error[model-field]: config.json: expected num_key_value_heads to be a divisor of the 4 query heads, got 3',
    ],
    [
      'an odd head dim',
      { head_dim: 5 },
      'error[model-field]: config.json: expected head_dim to be an even number from 4 (it is 5), got 5',
    ],
    [
      'a flag that is no flag',
      { tie_word_embeddings: 1 },
      'error[model-field]: config.json: expected tie_word_embeddings to be true or false, got 1',
    ],
    [
      'layers that slide where the family has none',
      { layer_types: ['sliding_attention', 'full_attention'] },
      'error[model-field]: config.json: expected layer_types to be what sliding_window says of every layer, got ' +
        '["sliding_attention","full_attention"]',
    ],
    [
      'types of other layers',
      { layer_types: ['linear_attention', 'full_attention'] },
      "error[model-field]: config.json: expected layer_types to be 2 times 'full_attention' or 'sliding_attention', " +
        'got ["linear_attention","full_attention"]',
    ],
    [
      'layers that slide without a window',
      ofFamily('Qwen3ForCausalLM', { layer_types: ['sliding_attention', 'full_attention'] }),
      'error[model-field]: config.json: expected sliding_window to be a window, in use, since layer_types has layers ' +
        'that slide, got null',
    ],
  ])('%s', async (_, change, text) => {
    expect(await refusal(() => tinyConfig(change))).toBe(text)
  })
})

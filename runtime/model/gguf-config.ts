/** What a GGUF file says of its model, in llama.cpp's words; the same in Hugging Face's, for the readers of their files. */

import { HeddleError } from '../messages.ts'
import { readConfig, type Architecture, type ModelConfig } from './config.ts'
import { fieldsOf, type Fields, type Json } from './fields.ts'
import type { Generation } from './generation.ts'

/** llama.cpp's name of an architecture: Hugging Face's, and whether pairs of q and k that turn together are neighbours. */
const FAMILIES: Readonly<Record<string, { architecture: Architecture; neighbours: boolean }>> = {
  llama: { architecture: 'LlamaForCausalLM', neighbours: true },
  mistral: { architecture: 'MistralForCausalLM', neighbours: true },
  qwen2: { architecture: 'Qwen2ForCausalLM', neighbours: false },
  qwen3: { architecture: 'Qwen3ForCausalLM', neighbours: false },
}

/** One row a tensor, `{}` for the layer; weights and biases alike. */
const NAMES: readonly (readonly [gguf: string, huggingFace: string])[] = [
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
  ['blk.{}.attn_norm', 'model.layers.{}.input_layernorm'],
  ['blk.{}.attn_q', 'model.layers.{}.self_attn.q_proj'],
  ['blk.{}.attn_k', 'model.layers.{}.self_attn.k_proj'],
  ['blk.{}.attn_v', 'model.layers.{}.self_attn.v_proj'],
  ['blk.{}.attn_output', 'model.layers.{}.self_attn.o_proj'],
  ['blk.{}.attn_q_norm', 'model.layers.{}.self_attn.q_norm'],
  ['blk.{}.attn_k_norm', 'model.layers.{}.self_attn.k_norm'],
  ['blk.{}.ffn_norm', 'model.layers.{}.post_attention_layernorm'],
  ['blk.{}.ffn_gate', 'model.layers.{}.mlp.gate_proj'],
  ['blk.{}.ffn_up', 'model.layers.{}.mlp.up_proj'],
  ['blk.{}.ffn_down', 'model.layers.{}.mlp.down_proj'],
]
const RENAMED = new Map(NAMES)

/** llama3's scaling, stored as a divisor for each frequency. */
export const ROPE_DIVISORS = 'rope_freqs.weight'

/** Hugging Face's name of a tensor; others keep their own. */
export function huggingFaceName(name: string): string {
  const [, stem, layer, kind] = /^((?:blk\.(\d+)\.)?\w+)\.(weight|bias)$/.exec(name) ?? []
  if (stem === undefined) return name
  const renamed = RENAMED.get(layer === undefined ? stem : stem.replace(`blk.${layer}.`, 'blk.{}.'))
  return renamed === undefined ? name : `${renamed.replace('{}', layer ?? '')}.${kind}`
}

export interface GgufModel {
  readonly config: ModelConfig
  readonly generation: Generation
  /** q and k have the components that turn together beside each other, not half a head apart. */
  readonly neighbours: boolean
}

const COUNT = { least: 1, most: 2 ** 24 }
const TOKEN = { least: 0, most: 2 ** 24 }
const POSITIVE = { least: 1e-6, most: 1e12 }

/**
 * The model of a file. `rows` gives the number of rows of a tensor, null where there is none: the vocabulary, biases and
 * whether the head is the embedding are not in the metadata.
 */
export function readGgufModel(
  file: string,
  metadata: Json,
  rows: (name: string) => number | null,
  divisors: readonly number[] | null,
): GgufModel {
  const fields = fieldsOf(file, metadata)
  const name = fields.raw('general.architecture')
  const family = typeof name === 'string' && Object.hasOwn(FAMILIES, name) ? FAMILIES[name] : undefined
  if (!family)
    throw new HeddleError('unknown-architecture', { file, got: name, known: Object.keys(FAMILIES) })
  const key = (field: string) => `${String(name)}.${field}`
  if (fields.whole(key('expert_count'), TOKEN, 0) > 0)
    throw fields.refuse(key('expert_count'), '0: one MLP a layer')
  const heads = fields.whole(key('attention.head_count'), COUNT)
  const hidden = fields.whole(key('embedding_length'), COUNT)
  const headDim = fields.whole(key('attention.key_length'), COUNT, hidden / heads)
  for (const field of ['attention.value_length', 'rope.dimension_count']) {
    if (fields.whole(key(field), COUNT, headDim) !== headDim)
      throw fields.refuse(key(field), `the head's ${headDim}`)
  }
  const context = fields.whole(key('context_length'), { least: 1, most: 2 ** 31 })
  const window = fields.whole(key('attention.sliding_window'), TOKEN, 0)
  const config = readConfig(
    {
      architectures: [window > 0 && name === 'llama' ? 'MistralForCausalLM' : family.architecture],
      vocab_size: rows('model.embed_tokens.weight'),
      hidden_size: hidden,
      intermediate_size: fields.whole(key('feed_forward_length'), COUNT),
      num_hidden_layers: fields.whole(key('block_count'), COUNT),
      num_attention_heads: heads,
      num_key_value_heads: fields.whole(key('attention.head_count_kv'), COUNT, heads),
      head_dim: headDim,
      rms_norm_eps: fields.number(key('attention.layer_norm_rms_epsilon'), { least: 0, most: 1 }),
      max_position_embeddings: context,
      tie_word_embeddings: rows('lm_head.weight') === null,
      attention_bias: rows('model.layers.0.self_attn.q_proj.bias') !== null,
      mlp_bias: rows('model.layers.0.mlp.gate_proj.bias') !== null,
      sliding_window: window || null,
      use_sliding_window: window > 0,
      max_window_layers: 0,
      rope_parameters: readScaling(fields, key, context),
    },
    file,
  )
  return {
    config:
      divisors === null
        ? config
        : { ...config, rope: { kind: 'divisors', theta: config.rope.theta, divisors } },
    generation: readTokens(fields),
    neighbours: family.neighbours,
  }
}

/** Scaling of positions in the words of transformers. */
function readScaling(fields: Fields, key: (field: string) => string, context: number): Json {
  const theta = fields.number(key('rope.freq_base'), POSITIVE, 10_000)
  const kind = fields.text(key('rope.scaling.type'), 'none')
  const factor = fields.number(key('rope.scaling.factor'), { least: 0, most: 1e12 }, 0)
  if (kind === 'none' || factor === 0) return { rope_type: 'default', rope_theta: theta }
  if (kind === 'linear') return { rope_type: 'linear', rope_theta: theta, factor }
  if (kind !== 'yarn') {
    throw new HeddleError('unknown-rope', { file: fields.file, got: kind, known: ['none', 'linear', 'yarn'] })
  }
  const scale = fields.number(key('rope.scaling.attn_factor'), POSITIVE, 1)
  return {
    rope_type: 'yarn',
    rope_theta: theta,
    factor,
    original_max_position_embeddings: fields.whole(
      key('rope.scaling.original_context_length'),
      COUNT,
      context,
    ),
    beta_fast: fields.number(key('rope.scaling.yarn_beta_fast'), POSITIVE, 32),
    beta_slow: fields.number(key('rope.scaling.yarn_beta_slow'), POSITIVE, 1),
    attention_factor: scale * (factor <= 1 ? 1 : 0.1 * Math.log(factor) + 1),
  }
}

function readTokens(fields: Fields): Generation {
  const token = (name: string): number | null => {
    const key = `tokenizer.ggml.${name}_token_id`
    return fields.raw(key) === undefined ? null : fields.whole(key, TOKEN)
  }
  // The end of a turn ends a text as well.
  const ends = [token('eos'), token('eot')].filter((id) => id !== null)
  return { bos: token('bos'), eos: [...new Set(ends)], pad: token('padding'), sampling: {} }
}

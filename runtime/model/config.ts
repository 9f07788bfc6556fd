/** config.json in, a checked ModelConfig out: which transformer it is, its sizes, and what its layers do. */

import { HeddleError } from '../messages.ts'
import { fieldsOf, type Fields, type Json } from './fields.ts'
import { readRope, type Rope } from './rope.ts'

export { reachOf, ropeFrequencies, type Rope, type RopeFrequencies } from './rope.ts'

export interface ModelConfig {
  readonly architecture: Architecture
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Added to the mean square in every RMS norm. */
  readonly normEps: number
  readonly activation: Activation
  /** The output head is the embedding's table. */
  readonly tiedEmbeddings: boolean
  /** Which linear layers add a bias: those of q, k and v; attention's output; the three of the MLP. */
  readonly bias: { readonly qkv: boolean; readonly output: boolean; readonly mlp: boolean }
  /** An RMS norm over each head of q and k, before the rotary embedding. */
  readonly qkNorm: boolean
  readonly rope: Rope
  readonly maxPositions: number
  /** For each layer the number of visible keys, the query's own included (`q - kv < window`), or null for all. */
  readonly windows: readonly (number | null)[]
}

export const ACTIVATIONS = ['silu'] as const
export type Activation = (typeof ACTIVATIONS)[number]

/** What a family does that its configuration does not say, and what transformers takes for the fields it lacks. */
interface Family {
  /** 'field': as `attention_bias` and `mlp_bias` say. */
  readonly bias: 'field' | 'qkv' | 'none'
  readonly mlpBias: boolean
  readonly qkNorm: boolean
  /** 'all': every layer has `sliding_window`; 'layers': those that `layer_types` or `max_window_layers` name. */
  readonly window: 'none' | 'all' | 'layers'
  readonly maxPositions: number
  readonly kvHeads: number | null
  readonly headDim: number | null
}

const LLAMA: Family = {
  bias: 'field',
  mlpBias: true,
  qkNorm: false,
  window: 'none',
  maxPositions: 2048,
  kvHeads: null,
  headDim: null,
}

export const ARCHITECTURES = {
  LlamaForCausalLM: LLAMA,
  MistralForCausalLM: {
    ...LLAMA,
    bias: 'none',
    mlpBias: false,
    window: 'all',
    maxPositions: 131_072,
    kvHeads: 8,
  },
  Qwen2ForCausalLM: {
    ...LLAMA,
    bias: 'qkv',
    mlpBias: false,
    window: 'layers',
    maxPositions: 32_768,
    kvHeads: 32,
  },
  Qwen3ForCausalLM: {
    ...LLAMA,
    mlpBias: false,
    qkNorm: true,
    window: 'layers',
    maxPositions: 32_768,
    kvHeads: 32,
    headDim: 128,
  },
} as const satisfies Record<string, Family>

export type Architecture = keyof typeof ARCHITECTURES

// Bounds that no model comes near, so that what is derived from a wrong file stays small.
const SIZE = { least: 1, most: 2 ** 24 }
const HEADS = { least: 1, most: 2 ** 16 }
const LAYERS = { least: 1, most: 2 ** 12 }
const POSITIONS = { least: 1, most: 2 ** 31 }

export const CONFIG_FILE = 'config.json'

export function readConfig(record: Json, file = CONFIG_FILE): ModelConfig {
  const fields = fieldsOf(file, record)
  const architecture = readArchitecture(fields)
  const family: Family = ARCHITECTURES[architecture]
  if (fields.raw('quantization_config') !== undefined) {
    const got = fields.record('quantization_config')?.raw('quant_method')
    throw new HeddleError('quantized-checkpoint', { file, got })
  }
  const activation = fields.raw('hidden_act') ?? 'silu'
  if (!isActivation(activation)) {
    throw new HeddleError('unknown-activation', { file, got: activation, known: ACTIVATIONS })
  }
  const layers = fields.whole('num_hidden_layers', LAYERS)
  const maxPositions = fields.whole('max_position_embeddings', POSITIONS, family.maxPositions)
  const attentionBias = family.bias === 'field' && fields.flag('attention_bias', false)
  return {
    architecture,
    vocabSize: fields.whole('vocab_size', SIZE),
    hiddenSize: fields.whole('hidden_size', SIZE),
    intermediateSize: fields.whole('intermediate_size', SIZE),
    layers,
    ...readHeads(fields, family),
    normEps: fields.number('rms_norm_eps', { least: 0, most: 1 }, 1e-6),
    activation,
    tiedEmbeddings: fields.flag('tie_word_embeddings', false),
    bias: {
      qkv: attentionBias || family.bias === 'qkv',
      output: attentionBias,
      mlp: family.mlpBias && fields.flag('mlp_bias', false),
    },
    qkNorm: family.qkNorm,
    rope: readRope(fields, maxPositions),
    maxPositions,
    windows: readWindows(fields, family, layers),
  }
}

const isActivation = (x: unknown): x is Activation => ACTIVATIONS.some((name) => name === x)

function readArchitecture(fields: Fields): Architecture {
  const given = fields.raw('architectures')
  const got: unknown = Array.isArray(given) && given.length === 1 ? given[0] : given
  if (typeof got !== 'string' || !Object.hasOwn(ARCHITECTURES, got)) {
    throw new HeddleError('unknown-architecture', {
      file: fields.file,
      got,
      known: Object.keys(ARCHITECTURES),
    })
  }
  return got as Architecture
}

function readHeads(fields: Fields, family: Family): Pick<ModelConfig, 'qHeads' | 'kvHeads' | 'headDim'> {
  const qHeads = fields.whole('num_attention_heads', HEADS)
  const kvDefault = fields.has('num_key_value_heads') ? null : family.kvHeads
  const kvHeads = fields.whole('num_key_value_heads', HEADS, kvDefault ?? qHeads)
  if (qHeads % kvHeads !== 0)
    throw fields.refuse('num_key_value_heads', `a divisor of the ${qHeads} query heads`)
  const shared = fields.whole('hidden_size', SIZE) / qHeads
  const headDefault = fields.has('head_dim') ? null : family.headDim
  const headDim = fields.whole('head_dim', HEADS, headDefault ?? shared)
  // Components turn in pairs, and the scaling that depends on the length divides by headDim - 2.
  if (headDim % 2 !== 0 || headDim < 4)
    throw fields.refuse('head_dim', `an even number from 4 (it is ${headDim})`)
  return { qHeads, kvHeads, headDim }
}

/** Which layers see a window of keys. */
function readWindows(fields: Fields, family: Family, layers: number): (number | null)[] {
  const size = () =>
    fields.has('sliding_window') && fields.raw('sliding_window') === undefined
      ? null
      : fields.whole('sliding_window', POSITIONS, 4096)
  const types = fields.raw('layer_types')
  if (types !== undefined && !(Array.isArray(types) && types.length === layers && types.every(isLayerType))) {
    throw fields.refuse('layer_types', `${layers} times 'full_attention' or 'sliding_attention'`)
  }
  const all = (window: number | null) => Array.from({ length: layers }, () => window)
  if (family.window === 'layers') {
    const window = fields.flag('use_sliding_window', false) ? size() : null
    if (types) {
      if (window === null && types.includes('sliding_attention'))
        throw fields.refuse('sliding_window', `a window, in use, since layer_types has layers that slide`)
      return types.map((type) => (type === 'sliding_attention' ? window : null))
    }
    const first = fields.whole('max_window_layers', { least: 0, most: LAYERS.most }, 28)
    return all(window).map((w, layer) => (layer >= first ? w : null))
  }
  const windows = all(family.window === 'all' ? size() : null)
  // transformers does not look at layer_types here; what they ask for besides would be lost.
  if (types?.some((type, layer) => (type === 'sliding_attention') !== (windows[layer] !== null))) {
    throw fields.refuse('layer_types', 'what sliding_window says of every layer')
  }
  return windows
}

const isLayerType = (x: unknown): x is string => x === 'full_attention' || x === 'sliding_attention'

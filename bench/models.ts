/** Whole models of the sizes that are published, with weights that mean nothing, in; what a prompt and a token cost out. */

import type { Artifact } from '../codegen/artifact.ts'
// The parts, not the entry: what travels to a machine with a GPU has no tokenizers.
import { patternAttention, type Attention } from '../runtime/model/attention.ts'
import { readConfig } from '../runtime/model/config.ts'
import { loadModel } from '../runtime/model/load.ts'
import type { LoadableFiles } from '../runtime/model/calls.ts'
import type { Model } from '../runtime/model/model.ts'
import { WEIGHT_DTYPES, type Checkpoint, type StoredTensor } from '../runtime/model/tensors.ts'
import { checkWeights, neededWeights } from '../runtime/model/weights.ts'
import type { Prepared } from './cases.ts'
import type { Row } from './results.ts'

const MODELS = {
  'Qwen3-0.6B': {
    architectures: ['Qwen3ForCausalLM'],
    vocab_size: 151_936,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    tie_word_embeddings: true,
    max_position_embeddings: 40_960,
  },
  'Llama-3.2-3B': {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 128_256,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 24,
    num_key_value_heads: 8,
    head_dim: 128,
    tie_word_embeddings: true,
    max_position_embeddings: 131_072,
  },
} as const

const LENGTHS = [512, 4096, 16_384]
const DECODED = 32

/** Halves of about 1/64 of either sign, the same bytes for every tensor. */
function filesOf(record: (typeof MODELS)[keyof typeof MODELS]): LoadableFiles {
  const config = readConfig(record)
  const noise = new Uint16Array(2 ** 22)
  let state = 1
  for (let i = 0; i < noise.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    noise[i] = ((state >>> 16) & 0x83ff) | 0x2000
  }
  const tensors = new Map<string, StoredTensor>()
  for (const { name, shape } of neededWeights(config)) {
    const bytes = 2 * shape.reduce((a, b) => a * b, 1)
    tensors.set(name, { name, dtype: 'F16', shape, file: 'noise', begin: 0, end: bytes })
  }
  const checkpoint: Checkpoint = {
    tensors,
    dtypes: WEIGHT_DTYPES,
    async *stream({ begin, end }) {
      for (let at = begin; at < end; at += noise.byteLength)
        yield new Uint8Array(noise.buffer, 0, Math.min(noise.byteLength, end - at))
    },
  }
  return {
    config,
    checkpoint,
    weights: checkWeights(config, checkpoint),
    generation: { bos: null, eos: [], pad: null, sampling: {} },
    tokenizer: () => Promise.reject(new Error('noise has no tokenizer')),
  }
}

export async function modelsSuite(device: GPUDevice, { artifacts }: Prepared, only: string): Promise<Row[]> {
  const of = (name: string): Artifact => artifacts[name]!
  const attentions: Readonly<Record<string, Attention>> = {
    dense: patternAttention({ prefill: { artifact: of('causal') } }),
    'a-shape 128 + 1024': patternAttention({
      prefill: { artifact: of('a-shape'), params: { sinkTokens: 128, window: 1024 } },
    }),
  }
  const rows: Row[] = []
  for (const [name, record] of Object.entries(MODELS)) {
    if (!name.includes(only)) continue
    const began = performance.now()
    const files = filesOf(record)
    const maxLength = Math.max(...LENGTHS) + DECODED
    using model = await loadModel(files, { device, attention: attentions['dense']!, maxLength })
    rows.push({ case: `${name}, load`, target: 'wgsl', ours: { ms: performance.now() - began } })
    for (const [pattern, attention] of Object.entries(attentions)) {
      await model.setAttention(attention)
      // Compiles what is compiled on the way.
      await timed(model, [1, 2, 3, 4], 2)
      for (const length of LENGTHS) {
        const prompt = Array.from({ length }, (_, i) => (i * 7919) % record.vocab_size)
        model.reset()
        const { prefill, decode } = await timed(model, prompt, DECODED)
        const at = `${name}, ${pattern}, ${length} tokens`
        rows.push(await rowOf(model, `${at}, prompt`, prefill, length, prompt, 1))
        rows.push(await rowOf(model, `${at}, then one`, decode / (DECODED - 1), 1, prompt, 2))
      }
    }
  }
  return rows
}

async function timed(model: Model, prompt: readonly number[], maxTokens: number) {
  const began = performance.now()
  let first = 0
  for await (const _ of model.generate(prompt, { maxTokens })) first ||= performance.now()
  return { prefill: first - began, decode: performance.now() - first }
}

/** What the kernels took on the GPU's own clock comes from another run, since there each has a pass of its own. */
async function rowOf(
  model: Model,
  name: string,
  ms: number,
  tokens: number,
  prompt: readonly number[],
  maxTokens: 1 | 2,
): Promise<Row> {
  // Behind a prompt that is in the cache: its last token, and one more.
  if (maxTokens === 1) model.reset()
  model.timed = true
  await timed(model, prompt, maxTokens)
  const kernels = Object.fromEntries(
    model.times.map((t) => [t.kernel, Number((t.ms / maxTokens).toFixed(3))]),
  )
  model.timed = false
  return {
    case: name,
    target: 'wgsl',
    ours: { ms },
    more: { 'tokens/s': Math.round((1000 * tokens) / ms), ...kernels },
  }
}

/** The needle model's folder: that its files agree with each other and with the language, as any loader would rely on. */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { WORD_CLASSES } from '../../bench/eval/tasks.ts'

const FOLDER =
  process.env['NEEDLE_MODEL'] ?? fileURLToPath(new URL('../../models/needle/model', import.meta.url))
/** What a browser fetches of it. */
const MOST_BYTES = 12e6

interface Entry {
  readonly dtype: string
  readonly shape: readonly number[]
  readonly data_offsets: readonly [number, number]
}

function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(`${FOLDER}/${name}`, 'utf8')) as T
}

/** Names and shapes of a Llama with tied embeddings, by its config. */
function expectedShapes(config: Record<string, number>): Map<string, number[]> {
  const hidden = config['hidden_size']!
  const inner = config['intermediate_size']!
  const [q, kv] = ['num_attention_heads', 'num_key_value_heads'].map((n) => config[n]! * config['head_dim']!)
  const shapes = new Map([
    ['model.embed_tokens.weight', [config['vocab_size']!, hidden]],
    ['model.norm.weight', [hidden]],
  ])
  for (let layer = 0; layer < config['num_hidden_layers']!; layer++) {
    const own: Record<string, number[]> = {
      input_layernorm: [hidden],
      post_attention_layernorm: [hidden],
      'self_attn.q_proj': [q!, hidden],
      'self_attn.k_proj': [kv!, hidden],
      'self_attn.v_proj': [kv!, hidden],
      'self_attn.o_proj': [hidden, q!],
      'mlp.gate_proj': [inner, hidden],
      'mlp.up_proj': [inner, hidden],
      'mlp.down_proj': [hidden, inner],
    }
    for (const [name, shape] of Object.entries(own)) shapes.set(`model.layers.${layer}.${name}.weight`, shape)
  }
  return shapes
}

/** The header of a safetensors file and its tensors' bytes. */
function readWeights(): { entries: Map<string, Entry>; data: Buffer } {
  const file = readFileSync(`${FOLDER}/model.safetensors`)
  const header = Number(file.readBigUInt64LE(0))
  const parsed = JSON.parse(file.subarray(8, 8 + header).toString('utf8')) as Record<string, Entry>
  const entries = new Map(Object.entries(parsed).filter(([name]) => name !== '__metadata__'))
  return { entries, data: file.subarray(8 + header) }
}

describe.skipIf(!existsSync(FOLDER))('the needle model', () => {
  test('weights are those that the config asks for, in f16, without a gap', () => {
    const { entries, data } = readWeights()
    const expected = expectedShapes(readJson('config.json'))
    expect([...entries.keys()].sort()).toEqual([...expected.keys()].sort())
    let end = 0
    for (const [name, { dtype, shape, data_offsets: offsets }] of [...entries].sort(
      ([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0],
    )) {
      expect({ name, dtype, shape }).toEqual({ name, dtype: 'F16', shape: expected.get(name) })
      expect(offsets).toEqual([end, end + 2 * shape.reduce((a, b) => a * b)])
      end = offsets[1]
    }
    expect(end).toBe(data.length)
    expect(statSync(`${FOLDER}/model.safetensors`).size).toBeLessThan(MOST_BYTES)
  })

  test('weights are numbers, and no tensor is all zero', () => {
    const { entries, data } = readWeights()
    for (const [name, { data_offsets: offsets }] of entries) {
      let largest = 0
      for (let at = offsets[0]; at < offsets[1]; at += 2) {
        largest = Math.max(largest, data.readUInt16LE(at) & 0x7fff)
      }
      expect(largest, name).toBeGreaterThan(0)
      // 0x7c00 is infinity in f16, and above it are NaNs.
      expect(largest, name).toBeLessThan(0x7c00)
    }
  })

  test('the vocabulary is the language, and special tokens are where the config says', () => {
    const config = readJson<Record<string, number>>('config.json')
    const { model } = readJson<{ model: { vocab: Record<string, number> } }>('tokenizer.json')
    const words = Object.values(WORD_CLASSES).flat()
    const byId = Object.entries(model.vocab).sort(([, a], [, b]) => a - b)
    expect(byId.map(([, id]) => id)).toEqual(Array.from({ length: config['vocab_size']! }, (_, id) => id))
    expect(byId.slice(0, words.length).map(([word]) => word)).toEqual(words)
    const named = readJson<Record<string, string>>('tokenizer_config.json')
    for (const special of ['pad', 'bos', 'eos']) {
      expect(model.vocab[named[`${special}_token`]!]).toBe(config[`${special}_token_id`])
    }
    const { eos_token_id: ends } = readJson<{ eos_token_id: number[] }>('generation_config.json')
    expect(ends).toEqual(['<eos>', '.', ';'].map((word) => model.vocab[word]))
  })

  test('it answers what it is there to answer', () => {
    const { accuracy } = readJson<{ accuracy: Record<string, Record<string, { accuracy: number }>> }>(
      'training.json',
    )
    for (const task of ['single', 'multi']) {
      expect(accuracy[task]!['4096']!.accuracy, `${task} at 4096`).toBeGreaterThan(0.9)
    }
  })
})

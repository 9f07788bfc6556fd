/** openModel: a whole folder from disk and from memory, what is read of it and when, and what is said of folders that are none. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { openModel } from '../../../runtime/model/files.ts'
import { folderSource } from '../../../runtime/model/source-node.ts'
import { memorySource, type ModelSource } from '../../../runtime/model/source.ts'
import { neededWeights } from '../../../runtime/model/weights.ts'
import { refusal, safetensors, TINY, tinyConfig, tinyWeights } from './tiny.ts'
import { byteLevel } from './tiny-tokenizers.ts'

const config = tinyConfig()
const FOLDER = {
  'config.json': JSON.stringify({ ...TINY, eos_token_id: 2 }),
  'generation_config.json': JSON.stringify({
    bos_token_id: 1,
    do_sample: true,
    temperature: 0.6,
    top_p: 0.9,
  }),
  'model.safetensors': safetensors(tinyWeights(config)),
  'tokenizer.json': JSON.stringify(byteLevel()),
  'tokenizer_config.json': JSON.stringify({ chat_template: 'chat' }),
}

const disk = mkdtempSync(join(tmpdir(), 'heddle-model-'))
for (const [name, data] of Object.entries(FOLDER)) writeFileSync(join(disk, name), data)
afterAll(() => rmSync(disk, { recursive: true }))

/** A source that writes down what it was asked for. */
function watched(source: ModelSource): { source: ModelSource; bytes: Map<string, number> } {
  const bytes = new Map<string, number>()
  return {
    bytes,
    source: {
      ...source,
      read(name, range) {
        bytes.set(name, (bytes.get(name) ?? 0) + range.end - range.begin)
        return source.read(name, range)
      },
    },
  }
}

describe.each<[string, ModelSource]>([
  ['a folder on disk', folderSource(disk)],
  ['files in memory', memorySource(FOLDER)],
])('%s', (_, source) => {
  test('is a configuration, weights, a tokenizer and ways to generate', async () => {
    const model = await openModel(source)
    expect(model.config).toEqual(config)
    expect(model.generation).toEqual({
      bos: 1,
      eos: [2],
      pad: null,
      sampling: { temperature: 0.6, topK: 50, topP: 0.9, minP: 0, repetitionPenalty: 1 },
    })
    expect(model.weights.map(({ name }) => name)).toEqual(neededWeights(config).map(({ name }) => name))
    const tokenizer = await model.tokenizer()
    expect(tokenizer.applyChatTemplate([])).toBe('chat')
    expect(await model.tokenizer()).toBe(tokenizer)
    const { tensor } = model.weights.find(({ role }) => role === 'head')!
    for await (const chunk of model.checkpoint.stream(tensor, 1 << 20)) {
      expect(new Float32Array(chunk.buffer)[1]! % 1).toBe(1 / 1024)
    }
  })

  test('is opened without its weights and its tokenizer being read', async () => {
    const { source: asked, bytes } = watched(source)
    const { checkpoint } = await openModel(asked)
    const data = Math.min(...[...checkpoint.tensors.values()].map(({ begin }) => begin))
    expect(bytes.get('model.safetensors')).toBeLessThan(data + 64)
    expect([...bytes.keys()].filter((name) => name.startsWith('tokenizer'))).toEqual([])
  })
})

describe('refusals', () => {
  const without = (...names: string[]) =>
    memorySource(
      Object.fromEntries(Object.entries(FOLDER).filter(([name]) => !names.includes(name))),
      'the folder',
    )

  test.each<[string, ModelSource, string]>([
    ['no configuration', without('config.json'), 'error[model-file-missing]: the folder has no config.json'],
    [
      'no weights',
      without('model.safetensors'),
      'error[no-weights]: the folder has no weights: expected one of model.safetensors, model.safetensors.index.json',
    ],
    [
      'weights of another kind',
      memorySource({ 'config.json': FOLDER['config.json'], 'pytorch_model.bin': 'x' }, 'the folder'),
      'error[no-weights]: the folder has no weights: expected one of model.safetensors, model.safetensors.index.json; it ' +
        'has pytorch_model.bin',
    ],
    [
      'a configuration that is no record',
      memorySource({ 'config.json': '[]' }),
      'error[model-json]: config.json: expected a JSON record, got something else: it is no record',
    ],
    [
      'a configuration of another model',
      memorySource({ ...FOLDER, 'config.json': JSON.stringify({ ...TINY, intermediate_size: 13 }) }),
      'error[weight-shape]: model.layers.0.mlp.gate_proj.weight: expected shape [13, 8], got [12, 8] in model.safetensors',
    ],
    [
      'a configuration of megabytes',
      memorySource({ 'config.json': new Uint8Array(2 ** 24 + 1) }),
      'error[model-file-large]: config.json: expected at most 16777216 bytes, got 16777217',
    ],
  ])('%s', async (_, source, text) => {
    expect(await refusal(() => openModel(source))).toBe(text)
  })

  test('no tokenizer is said when it is asked for', async () => {
    const model = await openModel(without('tokenizer.json'))
    expect(await refusal(() => model.tokenizer())).toMatch(/^error\[no-tokenizer\]/)
  })

  test('a tokenizer that could not be read is read again when it is asked for again', async () => {
    let failing = true
    const source = memorySource(FOLDER)
    const model = await openModel({
      ...source,
      read: (name, range) =>
        failing && name === 'tokenizer.json' ? Promise.reject(new Error('gone')) : source.read(name, range),
    })
    await expect(model.tokenizer()).rejects.toThrow('gone')
    failing = false
    expect((await model.tokenizer()).idOf('hello')).not.toBeNull()
  })
})

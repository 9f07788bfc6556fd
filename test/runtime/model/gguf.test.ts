/** GGUF: the same model as in safetensors, the blocks of its types, its configuration, and headers that are wrong. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromHalf, toHalf } from '../../../runtime/half.ts'
import { readConfig, ropeFrequencies, type Architecture } from '../../../runtime/model/config.ts'
import { openModel } from '../../../runtime/model/files.ts'
import { openGguf, readGguf } from '../../../runtime/model/gguf.ts'
import { memorySource } from '../../../runtime/model/source.ts'
import type { Checkpoint } from '../../../runtime/model/tensors.ts'
import { floats, ofFamily, refusal, tinyConfig, tinyWeights, type TinyTensor } from './tiny.ts'
import { gguf, ggufTensors, ggufValues, type GgufSpec, type GgufTensorSpec } from './tiny-gguf.ts'

const source = (spec: GgufSpec) => memorySource({ 'tiny.gguf': gguf(spec) }, 'the folder')
const opened = (spec: GgufSpec) => openGguf(source(spec), 'tiny.gguf')

async function elements(checkpoint: Checkpoint, name: string, chunkBytes = 256): Promise<number[]> {
  const found: number[] = []
  for await (const chunk of checkpoint.stream(checkpoint.tensors.get(name)!, chunkBytes)) {
    expect(chunk.length).toBeLessThanOrEqual(chunkBytes)
    found.push(...new Float32Array(chunk.buffer, 0, chunk.length / 4))
  }
  return found
}
const numbers = ({ data }: TinyTensor) => [...new Float32Array(data.buffer as ArrayBuffer)]

const config = tinyConfig()
const weights = tinyWeights(config)
const llama: GgufSpec = { values: ggufValues('llama', config), tensors: ggufTensors(config, weights, true) }
const changed = (values: GgufSpec['values']): GgufSpec => ({
  ...llama,
  values: { ...llama.values, ...values },
})

describe('a model', () => {
  test.each<[string, Architecture]>([
    ['llama', 'LlamaForCausalLM'],
    ['mistral', 'MistralForCausalLM'],
    ['qwen2', 'Qwen2ForCausalLM'],
    ['qwen3', 'Qwen3ForCausalLM'],
  ])('%s is the one of config.json and safetensors', async (name, architecture) => {
    const expected = readConfig(ofFamily(architecture, { sliding_window: null, rms_norm_eps: 2 ** -20 }))
    const all = tinyWeights(expected)
    const permuted = name === 'llama' || name === 'mistral'
    const model = await openModel(
      source({ values: ggufValues(name, expected), tensors: ggufTensors(expected, all, permuted) }),
    )
    expect(model.config).toEqual(expected)
    for (const { name, tensor } of model.weights) {
      expect(await elements(model.checkpoint, tensor.name), name).toEqual(numbers(all[name]!))
    }
  })

  test('with biases, without a head of its own', async () => {
    const biased = tinyConfig({
      attention_bias: true,
      mlp_bias: true,
      tie_word_embeddings: true,
      rms_norm_eps: 2 ** -20,
    })
    const all = tinyWeights(biased)
    const model = await openModel(
      source({ values: ggufValues('llama', biased), tensors: ggufTensors(biased, all, true) }),
    )
    expect(model.config).toEqual(biased)
    const name = 'model.layers.1.self_attn.q_proj.bias'
    expect(await elements(model.checkpoint, name)).toEqual(numbers(all[name]!))
  })

  test('beside other files takes its name', async () => {
    const files = { 'a.gguf': gguf(llama), 'b.gguf': gguf(llama) }
    expect((await openModel(memorySource(files), { gguf: 'b.gguf' })).weights[0]?.tensor.file).toBe('b.gguf')
    expect(await refusal(() => openModel(memorySource(files, 'the folder')))).toBe(
      'error[model-file-missing]: the folder has no config.json; name one of a.gguf, b.gguf as gguf',
    )
  })
})

describe('values', () => {
  test('windows', async () => {
    const slides = (await opened(changed({ 'llama.attention.sliding_window': 64 }))).config
    expect(slides).toMatchObject({ architecture: 'MistralForCausalLM', windows: [64, 64] })
  })

  test('scaling of positions', async () => {
    const scaled = (values: GgufSpec['values']) =>
      opened(changed({ 'llama.rope.scaling.factor': 4, ...values })).then((files) => files.config.rope)
    expect(await scaled({ 'llama.rope.scaling.type': 'none' })).toEqual({ kind: 'default', theta: 10_000 })
    expect(await scaled({ 'llama.rope.scaling.type': 'linear' })).toEqual({
      kind: 'linear',
      theta: 10_000,
      factor: 4,
    })
    expect(
      await scaled({ 'llama.rope.scaling.type': 'yarn', 'llama.rope.scaling.original_context_length': 512 }),
    ).toEqual({
      kind: 'yarn',
      theta: 10_000,
      factor: 4,
      originalPositions: 512,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
      attentionFactor: 0.1 * Math.log(4) + 1,
    })
  })

  test('llama3’s scaling is a tensor of divisors', async () => {
    const divisors = { name: 'rope_freqs.weight', shape: [2], type: 0, data: floats([1, 8]).data }
    const { config } = await opened({ ...llama, tensors: [...llama.tensors, divisors] })
    expect([...ropeFrequencies(config, 1).inverse]).toEqual([1, 0.01 / 8])
  })

  test('tokens that end a text', async () => {
    const { generation } = await opened(
      changed({
        'tokenizer.ggml.bos_token_id': 1,
        'tokenizer.ggml.eos_token_id': 2n,
        'tokenizer.ggml.eot_token_id': 7,
      }),
    )
    expect(generation).toEqual({ bos: 1, eos: [2, 7], pad: null, sampling: {} })
  })

  test.each<[string, GgufSpec['values'], string]>([
    [
      'an architecture that is not known',
      { 'general.architecture': 'gemma3' },
      'error[unknown-architecture]: tiny.gguf: expected an architecture among llama, mistral, qwen2, qwen3, got "gemma3"',
    ],
    [
      'experts',
      { 'llama.expert_count': 8 },
      'error[model-field]: tiny.gguf: expected llama.expert_count to be 0: one MLP a layer, got 8',
    ],
    [
      'a part of the components that turns',
      { 'llama.rope.dimension_count': 2 },
      "error[model-field]: tiny.gguf: expected llama.rope.dimension_count to be the head's 4, got 2",
    ],
    [
      'a scaling that is not known',
      { 'llama.rope.scaling.type': 'longrope', 'llama.rope.scaling.factor': 2 },
      'error[unknown-rope]: tiny.gguf: expected a rope type among none, linear, yarn, got "longrope"',
    ],
    [
      'heads layer by layer',
      { 'llama.attention.head_count_kv': [2, 2] },
      'error[model-field]: tiny.gguf: expected llama.attention.head_count_kv to be a whole number from 1 to 16777216, got [2,2]',
    ],
    [
      'a number beyond counting',
      { 'llama.block_count': 2n ** 60n },
      `error[model-field]: tiny.gguf: expected llama.block_count to be a whole number from 1 to 16777216, got ${2n ** 60n}`,
    ],
    [
      'such numbers in a list',
      { 'llama.block_count': [2n ** 60n] as unknown as readonly number[] },
      `error[model-field]: tiny.gguf: expected llama.block_count to be a whole number from 1 to 16777216, got ["${2n ** 60n}"]`,
    ],
    [
      'an odd alignment',
      { 'general.alignment': 24 },
      'error[weights-header]: tiny.gguf: not a checkpoint that can be read: expected general.alignment to be a power of 2, got 24',
    ],
    [
      'a part of a model',
      { 'split.count': 3 },
      'error[weights-header]: tiny.gguf: not a checkpoint that can be read: it is one of 3 parts; put them together with ' +
        'llama-gguf-split --merge',
    ],
  ])('%s', async (_, values, text) => {
    expect(await refusal(() => opened(changed(values)))).toBe(text)
  })
})

describe('blocks', () => {
  /** A matrix of 2 x 64 in blocks of 32 numbers, from a scale and integers. */
  const half = (x: number) => [toHalf(x) & 255, toHalf(x) >> 8]
  const integers = fc.array(fc.integer({ min: -127, max: 127 }), { minLength: 128, maxLength: 128 })
  const scale = fc.integer({ min: -2000, max: 2000 }).map((x) => fromHalf(toHalf(x / 700)))

  const read = async (type: number, data: number[]): Promise<number[]> => {
    const tensor: GgufTensorSpec = { name: 'x', shape: [2, 64], type, data: Uint8Array.from(data) }
    const { checkpoint } = await opened({ ...llama, tensors: [...llama.tensors, tensor] })
    expect(checkpoint.tensors.get('x')).toMatchObject({ dtype: 'F32', shape: [2, 64] })
    return elements(checkpoint, 'x')
  }

  test('Q8_0: integers of 8 bits, exactly', async () => {
    await fc.assert(
      fc.asyncProperty(integers, scale, async (xs, d) => {
        const data = [0, 32, 64, 96].flatMap((at) => [
          ...half(d),
          ...xs.slice(at, at + 32).map((x) => x & 255),
        ])
        expect(await read(8, data)).toEqual(xs.map((x) => Math.fround(x * d)))
      }),
      { numRuns: 20 },
    )
  })

  test('Q4_0: integers of 4 bits, low halves first', async () => {
    await fc.assert(
      fc.asyncProperty(integers, scale, async (xs, d) => {
        const small = xs.map((x) => ((x + 128) % 16) - 8)
        const data = [0, 32, 64, 96].flatMap((at) => [
          ...half(d),
          ...Array.from({ length: 16 }, (_, i) => (small[at + i]! + 8) | ((small[at + 16 + i]! + 8) << 4)),
        ])
        expect(await read(2, data)).toEqual(small.map((x) => Math.fround(x * d)))
      }),
      { numRuns: 20 },
    )
  })

  test('F16 and BF16 are given as they are', async () => {
    const data = Uint8Array.from({ length: 128 }, (_, i) => i)
    for (const [type, dtype] of [
      [1, 'F16'],
      [30, 'BF16'],
    ] as const) {
      const tensors = [...llama.tensors, { name: 'x', shape: [64], type, data }]
      const { checkpoint } = await opened({ ...llama, tensors })
      const tensor = checkpoint.tensors.get('x')!
      expect(tensor.dtype).toBe(dtype)
      for await (const chunk of checkpoint.stream(tensor, 256)) expect([...chunk]).toEqual([...data])
    }
  })

  test('a type that cannot be read is named where it is needed', async () => {
    const tensors = llama.tensors.map((t) => (t.name === 'blk.1.ffn_up.weight' ? { ...t, type: 12 } : t))
    expect(await refusal(() => openModel(source({ ...llama, tensors })))).toBe(
      'error[weight-dtype]: model.layers.1.mlp.up_proj.weight: expected one of F32, F16, BF16, Q8_0, Q4_0, got Q4_K in tiny.gguf',
    )
  })

  test('rows in another order come out in order whatever they are stored in', async () => {
    const wide = tinyConfig({ hidden_size: 32, num_attention_heads: 4, head_dim: 4 })
    const values = tinyWeights(wide)
    const name = 'model.layers.0.self_attn.k_proj.weight'
    const q8 = (tensor: TinyTensor) => {
      if (tensor.shape.length === 1 || tensor.shape[1] !== 32) return { type: 0, data: tensor.data }
      // A row is one block; its number is the scale, so that rows stay apart.
      const rows = Array.from(
        { length: tensor.shape[0]! },
        (_, i) => new Float32Array(tensor.data.buffer)[i * 32]!,
      )
      const data = rows.flatMap((x) => [...half(x), ...Array.from({ length: 32 }, (_, i) => i)])
      return { type: 8, data: Uint8Array.from(data) }
    }
    const spec = { values: ggufValues('llama', wide), tensors: ggufTensors(wide, values, true, q8) }
    const { checkpoint } = await opened(spec)
    const first = numbers(values[name]!).filter((_, i) => i % 32 === 0)
    const expected = first.flatMap((x) => Array.from({ length: 32 }, (_, i) => fromHalf(toHalf(x)) * i))
    expect(await elements(checkpoint, name)).toEqual(expected)
    expect(await elements(checkpoint, name, 1 << 20)).toEqual(expected)
  })
})

describe('refusals', () => {
  const tensor: GgufTensorSpec = { name: 'x', shape: [64], type: 0, data: new Uint8Array(256) }
  const header = (text: string) =>
    `error[weights-header]: tiny.gguf: not a checkpoint that can be read: ${text}`
  const record = (text: string) =>
    `error[weights-record]: tiny.gguf: the header's record of x is wrong: ${text}`
  const read = (bytes: Uint8Array<ArrayBuffer>) =>
    readGguf(memorySource({ 'tiny.gguf': bytes }, 'the folder'), 'tiny.gguf')
  const with_ = (change: Partial<GgufTensorSpec>) => gguf({ values: {}, tensors: [{ ...tensor, ...change }] })
  const good = with_({})

  test.each<[string, Uint8Array<ArrayBuffer>, string | RegExp]>([
    ['an empty file', new Uint8Array(), header('a header has at least 24 bytes, the file has 0')],
    ['another file', new Uint8Array(64), header('it does not begin with GGUF')],
    [
      'an old version',
      gguf({ values: {}, tensors: [], version: 1 }),
      header('expected version 2 or 3, little-endian, got 1'),
    ],
    [
      'big-endian numbers',
      gguf({ values: {}, tensors: [], version: 0x03000000 }),
      header('expected version 2 or 3, little-endian, got 50331648'),
    ],
    [
      'more tensors than bytes',
      gguf({ values: {}, tensors: [], counts: { tensors: 2n ** 63n } }),
      header(`its header claims ${2n ** 63n} tensors, more than its 32 bytes can hold`),
    ],
    [
      'more values than bytes',
      gguf({ values: {}, tensors: [], counts: { values: 3n } }),
      header('its header claims 3 values, more than its 32 bytes can hold'),
    ],
    ['a header that was cut off', good.slice(0, 50), header('its header goes on beyond its 50 bytes')],
    [
      'data that were cut off',
      good.slice(0, -1),
      record(`its data takes 256 bytes from 64 on, the file has ${good.length - 1}`),
    ],
    ['no name', with_({ name: '' }), /record of a tensor without a name is wrong: it has no name$/],
    ['no shape', with_({ shape: [] }), record('expected a shape of 1 to 4 sizes, got 0')],
    ['no elements', with_({ shape: [2, 0] }), record('a size of it is 0')],
    [
      'a shape beyond counting',
      with_({ shape: [2 ** 31, 2 ** 31] }),
      record('its data takes too many bytes from 96 on, the file has 352'),
    ],
    ['a size beyond counting', with_({ shape: [2 ** 60] }), record(`a size of it is ${2n ** 60n}`)],
    [
      'a place beyond the end',
      with_({ offset: 2n ** 63n }),
      record(`its data begins at ${2n ** 63n}, the file has 320 bytes`),
    ],
    ['a place out of step', with_({ offset: 8n }), record('its data begins at 8, no multiple of 32')],
    [
      'a row of half a block',
      with_({ shape: [48], type: 8 }),
      record("a row of 48 elements is no whole number of Q8_0's blocks of 32"),
    ],
    [
      'two tensors in one place',
      gguf({ values: {}, tensors: [tensor, { ...tensor, name: 'y', offset: 32n }] }),
      /record of y is wrong: its data overlaps that of another tensor$/,
    ],
    [
      'a name twice',
      gguf({ values: {}, tensors: [tensor, tensor] }),
      'error[weight-twice]: x is in the checkpoint more than once: tiny.gguf and tiny.gguf',
    ],
    [
      'a value of no type',
      gguf({ values: { a: 1 }, tensors: [tensor] }).with(24 + 9, 99),
      header('it has a value of type 99, which there is none of'),
    ],
  ])('%s', async (_, bytes, text) => {
    const said = await refusal(() => read(bytes))
    if (typeof text === 'string') expect(said).toBe(text)
    else expect(said).toMatch(text)
  })

  test('lists and texts of more than there is, a value twice, lists in lists', async () => {
    const list = gguf({ values: { a: [1, 2, 3] }, tensors: [] })
    // 24 bytes of counts, the name, its type, the elements' type: then their number.
    const claiming = (count: number) => {
      const bytes = list.slice()
      new DataView(bytes.buffer).setBigUint64(24 + 9 + 4 + 4, BigInt(count), true)
      return bytes
    }
    expect(await refusal(() => read(claiming(2 ** 40)))).toBe(
      header(`it has a list of ${2 ** 40} elements, more than it can hold`),
    )
    const text = gguf({ values: { a: 'x' }, tensors: [] })
    new DataView(text.buffer).setBigUint64(24 + 9 + 4, 2n ** 30n, true)
    expect(await refusal(() => read(text))).toBe(
      header(`it has a text of ${2 ** 30} bytes, at most ${2 ** 24} are allowed`),
    )
    const twice = gguf({ values: { a: 1, b: 2 }, tensors: [] })
    expect(await refusal(() => read(twice.with(24 + 9 + 4 + 4 + 8, 'a'.charCodeAt(0))))).toBe(
      header('its header has "a" twice'),
    )
    const nested = new Uint8Array(24 + 9 + 4 + 5 * 12)
    nested.set(gguf({ values: { a: 1 }, tensors: [] }).subarray(0, 24 + 9))
    const view = new DataView(nested.buffer)
    view.setUint32(24 + 9, 9, true)
    for (let at = 24 + 9 + 4; at < nested.length; at += 12) {
      view.setUint32(at, 9, true)
      view.setBigUint64(at + 4, 1n, true)
    }
    expect(await refusal(() => read(nested))).toBe(header('it has lists in lists, 4 deep'))
  })

  test('a file that is missing', async () => {
    expect(await refusal(() => readGguf(memorySource({}, 'the folder'), 'tiny.gguf'))).toBe(
      'error[model-file-missing]: the folder has no tiny.gguf',
    )
  })

  test('divisors that are none', async () => {
    for (const [values, text] of [
      [[1, 0], 'expected divisors above 0'],
      [[1, Number.NaN], 'expected divisors above 0'],
    ] as const) {
      const divisors = { name: 'rope_freqs.weight', shape: [2], type: 0, data: floats(values).data }
      expect(await refusal(() => opened({ ...llama, tensors: [...llama.tensors, divisors] }))).toMatch(
        new RegExp(`record of rope_freqs.weight is wrong: ${text}$`),
      )
    }
  })

  test('a tensor of another file', async () => {
    const { checkpoint } = await opened(llama)
    const other = { name: 'other', dtype: 'F32', shape: [1], file: 'tiny.gguf', begin: 0, end: 4 }
    expect(await refusal(() => checkpoint.stream(other, 256))).toMatch(/^error\[weight-dtype\]: other/)
  })
})

/** What a model refuses, and what goes wrong while it loads and runs: each has its code, leaves nothing behind, and one can go on. */

import { afterAll, describe, expect, test } from 'vitest'
import { emit, type EmitOptions } from '../../../codegen/index.ts'
import { causal } from '../../../patterns/index.ts'
import { openDevice } from '../../../runtime/device-node.ts'
import { patternAttention } from '../../../runtime/model/attention.ts'
import { loadModel, type LoadOptions } from '../../../runtime/model/load.ts'
import type { GenerateOptions, TextCodec } from '../../../runtime/model/calls.ts'
import type { Model } from '../../../runtime/model/model.ts'
import { Gpu } from '../../../runtime/webgpu.ts'
import { libraryPattern } from '../../../runtime/model-node/attention.ts'
import { compiled, maxDifference, openTestDevice } from '../../helpers.ts'
import { wrap, type Wrapped } from '../faulty.ts'
import { stageCase } from '../stage-cases.ts'
import { randomModel, randomTokens, type RandomModel } from './random-model.ts'

const opened = await openTestDevice()
if (opened) Gpu.of(opened.device).retain()
afterAll(() => opened?.close())

const OPTIONS: EmitOptions = {
  target: 'wgsl',
  headDims: [16],
  dtypes: ['f32'],
  capabilities: ['portable', 'decode-portable'],
}
const dense = patternAttention({ prefill: { artifact: emit(compiled(causal), OPTIONS) } })
const base = randomModel({})

const load = async (options: Partial<LoadOptions> = {}, made: RandomModel | null = null): Promise<Model> =>
  loadModel((made ?? (await base)).files, {
    device: opened!.device,
    attention: dense,
    maxLength: 48,
    cache: 'f32',
    chunk: 16,
    ...options,
  })

const coded = (code: string, message?: string) =>
  expect.objectContaining({ name: 'HeddleError', code, ...(message === undefined ? {} : { message }) })

const PROMPT = randomTokens(20, 7)

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

const expectBalanced = ({ counts }: Wrapped) => expect(counts.destroyed).toBe(counts.buffers + counts.queries)

describe.skipIf(!opened)('a model is not loaded', () => {
  test('with a length that its cache or its positions have no room for', async () => {
    await expect(load({ maxLength: 257 })).rejects.toThrow(
      coded('model-length', 'maxLength: expected a whole number from 1 to 256, got 257'),
    )
    await expect(load({ chunk: 0 })).rejects.toThrow(coded('model-length'))
  })

  test('with a storage that there is not', async () => {
    await expect(load({ weights: 'q4' as never })).rejects.toThrow(
      coded('model-option', 'weights: expected one of auto, f16, f32, got q4'),
    )
    await expect(load({ cache: 'bf16' as never })).rejects.toThrow(
      coded('model-option', 'cache: expected one of f16, f32, got bf16'),
    )
  })

  test('with a pattern that the library does not have', () => {
    expect(() => libraryPattern('a-shap')).toThrow(
      coded('model-option', 'libraryPattern: expected the name of a pattern of the library, got a-shap'),
    )
  })

  test('that does not fit, before a byte is allocated', async () => {
    const wrapped = wrap(opened!.device, { limits: { maxStorageBufferBindingSize: 30_000 } })
    await expect(load({ device: wrapped.device })).rejects.toThrow(
      coded(
        'model-buffer',
        "projections of layer 0: expected at most 30000 bytes, the device's limit of a buffer, got 32768",
      ),
    )
    await expect(load({ maxBytes: 300_000 })).rejects.toThrow(coded('model-memory'))
    await expect(load({ maxBytes: 300_000 })).rejects.toThrow(
      /^the model needs 0\.4 MiB \(weights 0\.3 MiB, cache .*\), 0\.3 MiB are allowed/,
    )
    expect(wrapped.counts.buffers).toBe(0)
  })

  test('of sizes that are no vectors of four', async () => {
    const made = await randomModel({ intermediate_size: 94 })
    await expect(load({}, made)).rejects.toThrow(
      coded('model-size', 'expected intermediateSize to be a multiple of 4, got 94'),
    )
  })

  test('whose weights are beyond the half floats, and all that was made is gone', async () => {
    const made = await randomModel({}, 'BF16', 1, (name, values) => {
      if (name === 'model.layers.1.mlp.down_proj.weight') values[77] = 3e5
    })
    const wrapped = wrap(opened!.device)
    await expect(load({ device: wrapped.device }, made)).rejects.toThrow(coded('weight-range'))
    expect(wrapped.counts.buffers).toBeGreaterThan(20)
    expectBalanced(wrapped)
    const wide = await load({ weights: 'f32' }, made)
    await wide.logits(PROMPT)
    wide.close()
  })

  test('without memory, after an abortion, or with an attention that fails: nothing is left', async () => {
    const wrapped = wrap(opened!.device, { outOfMemory: true })
    await expect(load({ device: wrapped.device })).rejects.toThrow(coded('out-of-memory'))
    expectBalanced(wrapped)
    const stop = new AbortController()
    const onProgress = () => stop.abort(new Error('enough'))
    await expect(load({ device: wrapped.device, signal: stop.signal, onProgress })).rejects.toThrow('enough')
    expectBalanced(wrapped)
    const c = stageCase('dsa', { batch: 1, qHeads: 4, kvHeads: 2, qLen: 20, kvLen: 20, headDim: 16 }, 1)
    const attention = patternAttention({ prefill: { artifact: emit(c.compiled, OPTIONS) } })
    await expect(load({ device: wrapped.device, attention })).rejects.toThrow(coded('attention-rows'))
    const artifactOf = (name: string) => emit(libraryPattern(name), OPTIONS)
    const nsa = patternAttention({ prefill: { artifact: artifactOf('nsa') } })
    await expect(load({ device: wrapped.device, attention: nsa })).rejects.toThrow(
      coded(
        'attention-tables',
        'attention: nsa reads the tables wk, bk, wv, bv, gate, and nothing gives them; a choice has `tables` for that',
      ),
    )
    const moba = patternAttention({ prefill: { artifact: artifactOf('moba'), params: { k: 0 } } })
    await expect(load({ device: wrapped.device, attention: moba })).rejects.toThrow(coded('param-value'))
    expectBalanced(wrapped)
    const model = await load({ device: wrapped.device })
    await model.logits(PROMPT)
    model.close()
    expectBalanced(wrapped)
  })
})

describe.skipIf(!opened)('a call is refused', () => {
  test('for its prompt, its options, or another call under way', async () => {
    const model = await load()
    await expect(model.logits([])).rejects.toThrow(coded('prompt-empty'))
    await expect(model.logits([5, 128])).rejects.toThrow(
      coded('prompt-token', 'prompt: expected token ids from 0 to 127, got 128 at 1'),
    )
    await expect(model.logits(randomTokens(49, 1))).rejects.toThrow(
      coded(
        'prompt-length',
        'prompt: expected at most 48 tokens, for which the model was loaded (maxLength), got 49',
      ),
    )
    await expect(model.hiddenStates(PROMPT, 3)).rejects.toThrow(coded('model-layer'))
    await expect(model.queriesAndKeys(PROMPT, 2)).rejects.toThrow(
      coded('model-layer', 'layer: expected a whole number from 0 to 1, got 2'),
    )
    await expect(model.logitsAt(PROMPT, [3, 3])).rejects.toThrow(
      coded('model-option', 'positions[1]: expected rising whole numbers from 0 to 19, got 3'),
    )
    await expect(model.perplexity([1])).rejects.toThrow(coded('model-option'))
    await expect(all(model.generate(PROMPT, { maxTokens: 0 }))).rejects.toThrow(
      coded('model-option', 'maxTokens: expected a whole number of at least 1, got 0'),
    )
    expect(() => model.truncate(1)).toThrow(coded('model-option'))
    const first = model.generate(PROMPT, { maxTokens: 3 })
    await first.next()
    await expect(model.logits(PROMPT)).rejects.toThrow(coded('model-busy'))
    expect(() => model.reset()).toThrow(coded('model-busy'))
    await first.return()
    await model.logits(PROMPT)
    model.close()
    model.close()
    await expect(model.logits(PROMPT)).rejects.toThrow(coded('model-closed'))
  })

  test('a generation ends where the cache is full', async () => {
    const model = await load({ maxLength: 22 })
    expect(await all(model.generate(PROMPT))).toHaveLength(3)
    expect(model.length).toBe(22)
    model.close()
  })
})

describe.skipIf(!opened)('a call under way', () => {
  test('can be aborted while a prompt goes in and between tokens, and the next call is right', async () => {
    const model = await load()
    const wanted = await model.logits(PROMPT)
    model.reset()
    const [early, late] = [new AbortController(), new AbortController()]
    const asked = model.logits(PROMPT, {
      signal: early.signal,
      onProgress: () => early.abort(new Error('early')),
    })
    await expect(asked).rejects.toThrow('early')
    expect(model.length).toBe(16)
    const tokens = model.generate(PROMPT, { signal: late.signal })
    await tokens.next()
    late.abort(new Error('late'))
    await expect(tokens.next()).rejects.toThrow('late')
    await expect(all(model.generate(PROMPT, { signal: late.signal }))).rejects.toThrow('late')
    // Other steps add up in another order.
    expect(maxDifference(await model.logits(PROMPT), wanted)).toBeLessThan(1e-5)
    model.close()
  })

  test('ends with a clear error where its device is lost; the model can be loaded on another', async () => {
    const own = await openDevice()
    const model = await load({ device: own.device })
    const tokens = model.generate(PROMPT)
    await tokens.next()
    own.close()
    await expect(tokens.next()).rejects.toThrow(coded('device-lost'))
    await expect(model.logits(PROMPT)).rejects.toThrow(coded('device-lost'))
    model.close()
    const again = await load()
    await again.logits(PROMPT)
    again.close()
  })

  test('fails where the model is closed', async () => {
    const model = await load()
    const tokens = model.generate(PROMPT)
    await tokens.next()
    model.close()
    await expect(tokens.next()).rejects.toThrow(coded('model-closed'))
  })

  test('needs a clock to be timed', async () => {
    const model = await load({ device: wrap(opened!.device, { features: [] }).device })
    expect(() => (model.timed = true)).toThrow(coded('no-timestamps'))
    model.close()
  })
})

/** Token n is the letter of code 97 + n % 26. */
const letters: TextCodec = {
  encode: (text) => Array.from(text, (c) => c.charCodeAt(0) - 97),
  stream: () => ({ push: (id) => String.fromCharCode(97 + (id % 26)), end: () => '' }),
}

describe.skipIf(!opened)('the text of a generation', () => {
  const withLetters = async (eos: readonly number[] = []): Promise<Model> => {
    const made = await base
    const generation = { ...made.files.generation, eos }
    return load({}, { ...made, files: { ...made.files, generation, tokenizer: async () => letters } })
  }
  const said = async (model: Model, options: GenerateOptions) =>
    (await all(model.generate('heddle', options))).map((t) => t.text).join('')

  test('comes token by token, up to a text, a token or a number of them', async () => {
    const model = await withLetters()
    const tokens = await all(model.generate('heddle', { maxTokens: 8 }))
    const text = tokens.map((t) => t.text).join('')
    expect(text).toBe(tokens.map((t) => String.fromCharCode(97 + (t.id % 26))).join(''))
    const at = 5
    // The first place of a text may be before the one it was taken from.
    const stop = text.slice(at, at + 2)
    expect(await said(model, { maxTokens: 8, stop: [stop, 'xyzxyz'] })).toBe(
      text.slice(0, text.indexOf(stop)),
    )
    // The beginning of a text that stops is held back, and given where it was not one.
    expect(await said(model, { maxTokens: 8, stop: [`${text.slice(-1)}!`] })).toBe(text)
    const last = tokens[3]!.id
    const first = tokens.findIndex((t) => t.id === last)
    expect(await said(model, { maxTokens: 8, stop: [last] })).toBe(text.slice(0, first))
    model.close()
    const ended = await withLetters([last])
    expect(await said(ended, {})).toBe(text.slice(0, first))
    ended.close()
  })

  test('is drawn the same from the same seed', async () => {
    const model = await withLetters()
    const sampling = { temperature: 1.5, topK: 50 }
    const one = await said(model, { maxTokens: 12, sampling, seed: 5 })
    expect(await said(model, { maxTokens: 12, sampling, seed: 5 })).toBe(one)
    expect(await said(model, { maxTokens: 12, sampling, seed: 6 })).not.toBe(one)
    model.close()
  })
})

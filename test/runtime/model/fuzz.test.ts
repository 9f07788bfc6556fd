/** Files that were damaged at random: what is read of them fits them, all else ends in one of our errors, soon and small. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openModel } from '../../../runtime/model/files.ts'
import { memorySource, type ModelSource } from '../../../runtime/model/source.ts'
import { ARCHITECTURES, readConfig, ropeFrequencies } from '../../../runtime/model/config.ts'
import { fieldsOf, type Json } from '../../../runtime/model/fields.ts'
import { readGeneration } from '../../../runtime/model/generation.ts'
import { openSafetensors } from '../../../runtime/model/safetensors.ts'
import type { Checkpoint } from '../../../runtime/model/tensors.ts'
import { makeTokenizer } from '../../../runtime/model/tokenizer.ts'
import { floats, refusal, safetensors, TINY, tinyConfig, tinyWeights, withHeader } from './tiny.ts'
import { gguf, ggufTensors, ggufValues } from './tiny-gguf.ts'
import { byteLevel, sentencePiece } from './tiny-tokenizers.ts'

const config = tinyConfig()
const GGUF = gguf({
  values: {
    ...ggufValues('llama', config),
    'tokenizer.ggml.tokens': ['a', 'b'],
    'tokenizer.ggml.scores': [1, 2],
  },
  tensors: ggufTensors(config, tinyWeights(config), true),
})
const CHECKPOINT = safetensors({ a: floats([1, 2, 3, 4], [2, 2]), b: floats([5]), c: floats([], [0]) })

type Bytes = Uint8Array<ArrayBuffer>

/** Bytes that differ in places, most of them in the header; and files that are shorter or longer. */
function damaged(good: Bytes, header: number): fc.Arbitrary<Bytes> {
  const at = fc.oneof(fc.nat(Math.min(63, header)), fc.nat(header), fc.nat(good.length - 1))
  const byte = fc.oneof(fc.constantFrom(0, 1, 7, 9, 0x7f, 0x80, 0xff), fc.nat(255))
  const set = fc.record({ at, bytes: fc.array(byte, { minLength: 1, maxLength: 8 }) })
  const cut = fc.oneof(
    { weight: 4, arbitrary: fc.constant(good.length) },
    { weight: 1, arbitrary: fc.nat(good.length + 40) },
  )
  return fc.tuple(fc.array(set, { minLength: 1, maxLength: 4 }), cut).map(([sets, length]) => {
    const bytes = new Uint8Array(length)
    bytes.set(good.subarray(0, length))
    for (const { at, bytes: changed } of sets)
      for (const [i, x] of changed.entries()) if (at + i < length) bytes[at + i] = x
    return bytes
  })
}

/** Reads no more than there is, and never more at once than the file has. */
function bounded(files: Record<string, Bytes | string>): ModelSource {
  const source = memorySource(files)
  return {
    ...source,
    async read(name, range) {
      expect(range.end - range.begin).toBeLessThanOrEqual((await source.size(name))!)
      return source.read(name, range)
    },
  }
}

async function drained({ tensors, stream }: Checkpoint, fileBytes: number): Promise<void> {
  let bytes = 0
  for (const tensor of tensors.values()) {
    const said = await refusal(async () => {
      for await (const chunk of stream(tensor, 4096)) bytes += chunk.length
    })
    // Types that cannot be read are named when they are.
    expect(said).toMatch(/^(no error|error\[weight-dtype\])/)
  }
  // Q4_0 grows from 18 bytes to 128.
  expect(bytes).toBeLessThanOrEqual(fileBytes * 8)
}

/** Runs it; what it throws has to be ours (refusal throws what is not), and it has to be quick. */
async function survives(call: () => Promise<unknown>): Promise<void> {
  const start = performance.now()
  await refusal(call)
  expect(performance.now() - start).toBeLessThan(10_000)
}

describe('damaged files', () => {
  test('safetensors', { timeout: 120_000 }, async () => {
    const property = fc.asyncProperty(damaged(CHECKPOINT, CHECKPOINT.length - 20), async (bytes) => {
      await survives(async () => {
        const checkpoint = await openSafetensors(bounded({ 'model.safetensors': bytes }))
        await drained(checkpoint!, bytes.length)
      })
    })
    await fc.assert(property, { numRuns: 500 })
  })

  test('headers of safetensors that are JSON of another meaning', { timeout: 120_000 }, async () => {
    const number = fc.oneof(fc.nat(40), fc.integer(), fc.double(), fc.maxSafeInteger())
    const odd = fc.oneof(
      number,
      fc.json().map((text) => JSON.parse(text) as unknown),
    )
    const tensor = fc.record({
      dtype: fc.oneof(
        { weight: 5, arbitrary: fc.constantFrom('F32', 'F16', 'BF16', 'U8', 'F4') },
        { weight: 1, arbitrary: odd },
      ),
      shape: fc.oneof(
        { weight: 5, arbitrary: fc.array(fc.nat(4), { maxLength: 3 }) },
        { weight: 1, arbitrary: fc.array(odd) },
      ),
      data_offsets: fc.oneof(
        { weight: 5, arbitrary: fc.tuple(fc.nat(32), fc.nat(32)) },
        { weight: 1, arbitrary: odd },
      ),
    })
    const header = fc.dictionary(
      fc.oneof(fc.string(), fc.constantFrom('__metadata__', '__proto__')),
      fc.oneof(tensor, odd),
    )
    const property = fc.asyncProperty(header, fc.nat(40), async (record, size) => {
      const bytes = withHeader(JSON.stringify(record), [new Uint8Array(size)])
      await survives(async () => {
        const checkpoint = await openSafetensors(bounded({ 'model.safetensors': bytes }))
        await drained(checkpoint!, bytes.length)
      })
    })
    await fc.assert(property, { numRuns: 300 })
  })

  test('GGUF', { timeout: 120_000 }, async () => {
    const property = fc.asyncProperty(damaged(GGUF, 1800), async (bytes) => {
      await survives(async () => {
        const model = await openModel(bounded({ 'tiny.gguf': bytes }))
        await drained(model.checkpoint, bytes.length)
        ropeFrequencies(model.config, 100)
        await model.tokenizer()
      })
    })
    await fc.assert(property, { numRuns: 500 })
  })
})

/** A record with some of its values, however deep, in exchange for others. */
function altered(record: Json): fc.Arbitrary<Json> {
  const paths: (readonly string[])[] = []
  const walk = (value: unknown, path: readonly string[]): void => {
    if (path.length > 0) paths.push(path)
    if (typeof value === 'object' && value !== null && path.length < 4 && Object.keys(value).length < 20)
      for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
  }
  walk(record, [])
  const odd = fc.oneof(
    fc.constantFrom<unknown>(null, -1, 0, 0.5, 1e300, '', 'x', [], {}, [[]], true, [null], { type: 'x' }),
    fc.json().map((text) => JSON.parse(text) as unknown),
  )
  const change = fc.tuple(fc.constantFrom(...paths), odd)
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    const copy = structuredClone(record) as Record<string, unknown>
    for (const [path, value] of changes) {
      let place: unknown = copy
      for (const key of path.slice(0, -1))
        place = (place as Record<string, unknown> | null | undefined)?.[key]
      if (typeof place === 'object' && place !== null)
        (place as Record<string, unknown>)[path.at(-1)!] = structuredClone(value)
    }
    return copy
  })
}

describe('records with other values', () => {
  const full: Json = {
    ...TINY,
    max_position_embeddings: 100,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    tie_word_embeddings: true,
    use_sliding_window: true,
    sliding_window: 10,
    max_window_layers: 1,
    layer_types: ['full_attention', 'sliding_attention'],
    quantization_config: null,
    eos_token_id: [1, 2],
    rope_scaling: {
      rope_type: 'yarn',
      factor: 4,
      mscale: 1,
      mscale_all_dim: 0.5,
      original_max_position_embeddings: 50,
    },
  }

  test('config.json', async () => {
    const families = fc.constantFrom(...Object.keys(ARCHITECTURES))
    const property = fc.asyncProperty(altered(full), families, fc.boolean(), async (record, family, keep) => {
      await survives(async () => {
        const config = readConfig(keep ? record : { ...record, architectures: [family] })
        readGeneration(fieldsOf('config.json', record), record)
        const { inverse, attentionFactor } = ropeFrequencies(config, 1000)
        // A factor may be as large as it likes, but what comes out are numbers.
        expect([...inverse, attentionFactor].filter((x) => !Number.isFinite(x))).toEqual([])
      })
    })
    await fc.assert(property, { numRuns: 600 })
  })

  test.each<[string, Json]>([
    ['bytes as letters', byteLevel()],
    ['SentencePiece', sentencePiece()],
  ])('tokenizer.json: %s', { timeout: 120_000 }, async (_, record) => {
    const property = fc.asyncProperty(altered(record), async (tokenizer) => {
      await survives(async () => {
        const made = makeTokenizer({ file: 'tokenizer.json', tokenizer, config: {}, template: null })
        made.decode(made.encode('hello w é€'))
      })
    })
    await fc.assert(property, { numRuns: 150 })
  })
})

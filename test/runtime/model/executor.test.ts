/** Whole models on a device, against a transformer in f64. */

import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import type { Artifact } from '../../../codegen/artifact.ts'
import { emit, type Emitted } from '../../../codegen/index.ts'
import type { Pattern } from '../../../dsl/index.ts'
import { aShape, causal, slidingWindow } from '../../../patterns/index.ts'
import { reference } from '../../../runtime/index.ts'
import { patternAttention, type Attention } from '../../../runtime/model/attention.ts'
import { openModel } from '../../../runtime/model/files.ts'
import { loadModel, type LoadOptions } from '../../../runtime/model/load.ts'
import type { Model } from '../../../runtime/model/model.ts'
import { folderSource } from '../../../runtime/model/source-node.ts'
import { Gpu } from '../../../runtime/webgpu.ts'
import { compiled, openTestDevice } from '../../helpers.ts'
import { wrap } from '../faulty.ts'
import { stageCase } from '../stage-cases.ts'
import { FAMILIES, NEEDLE, needlePrompt, PROMPT, promptOf } from './families.ts'
import { randomModel, randomTokens, type RandomModel } from './random-model.ts'
import { causalMask, masked, transformer, type Attend } from './transformer.ts'

const opened = await openTestDevice()
// Models of one file share pipelines: those of a device go when its last kernel does.
if (opened) Gpu.of(opened.device).retain()
afterAll(() => opened?.close())

const artifacts = new Map<string, Artifact>()
function artifactOf(pattern: Pattern, headDim: number, dtype: 'f32' | 'f16'): Artifact {
  const key = `${pattern.name} ${headDim} ${dtype}`
  const known = artifacts.get(key)
  if (known) return known
  const made = emitted(compiled(pattern), headDim, dtype)
  artifacts.set(key, made)
  return made
}

const emitted = (from: Emitted, headDim: number, dtype: 'f32' | 'f16'): Artifact =>
  emit(from, {
    target: 'wgsl',
    headDims: [headDim],
    dtypes: [dtype],
    capabilities: ['portable', 'decode-portable'],
  })

const dense = (headDim = 16, dtype: 'f32' | 'f16' = 'f32'): Attention =>
  patternAttention({ prefill: { artifact: artifactOf(causal, headDim, dtype) } })

const load = (made: RandomModel, options: Partial<LoadOptions> = {}): Promise<Model> =>
  loadModel(made.files, {
    device: opened!.device,
    attention: dense(made.config.headDim, options.cache ?? 'f32'),
    maxLength: 64,
    cache: 'f32',
    ...options,
  })

const rowOf = (values: Float64Array, row: number, width: number) =>
  values.slice(row * width, (row + 1) * width)
const largest = (values: ArrayLike<number>) => Math.max(...Array.from(values, Math.abs))
const errorOf = (got: ArrayLike<number>, exact: Float64Array) =>
  largest(exact.map((x, i) => x - got[i]!)) / largest(exact)

function logitsOf({ config, weights }: RandomModel, tokens: readonly number[], attend: Attend): Float64Array {
  const { logits } = transformer(config, weights, tokens, attend)
  return rowOf(logits, tokens.length - 1, config.vocabSize)
}

function greedy(made: RandomModel, prompt: readonly number[], count: number, attend: Attend): number[] {
  const tokens = [...prompt]
  for (let n = 0; n < count; n++) {
    const logits = logitsOf(made, tokens, attend)
    tokens.push(logits.indexOf(Math.max(...logits)))
  }
  return tokens.slice(prompt.length)
}

async function ids(tokens: AsyncIterable<{ readonly id: number }>): Promise<number[]> {
  const all: number[] = []
  for await (const { id } of tokens) all.push(id)
  return all
}

const attentionOf = ({ config }: RandomModel, window: number | undefined, cache: 'f32' | 'f16'): Attention =>
  patternAttention({
    prefill: {
      artifact: artifactOf(window === undefined ? causal : slidingWindow, config.headDim, cache),
      ...(window === undefined ? {} : { params: { window } }),
    },
  })

interface Recorded {
  readonly name: string
  readonly prompt: readonly number[]
  readonly logits: readonly number[]
  readonly greedy: readonly number[]
}

/** What transformers makes of the families' models, in f32: see transformers_logits.py. */
const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/transformers-logits.json', import.meta.url), 'utf8'),
) as { readonly models: readonly Recorded[] }

describe.skipIf(!opened)('as transformers', { timeout: 300_000 }, () => {
  test('has a record of each family', () => {
    expect(recorded.models.map(({ name }) => name)).toEqual([...FAMILIES.map(({ name }) => name), NEEDLE])
  })

  test('the needle model: the logits behind a question, and its answer', async () => {
    const { prompt, logits, greedy } = recorded.models.at(-1)!
    expect(needlePrompt()).toEqual(prompt)
    const files = await openModel(folderSource('models/needle/model'))
    const model = await loadModel(files, {
      device: opened!.device,
      attention: dense(64),
      cache: 'f32',
      maxLength: 512,
    })
    expect(errorOf(await model.logits(prompt), Float64Array.from(logits))).toBeLessThan(1e-4)
    expect(await ids(model.generate(prompt, { maxTokens: 2, text: false }))).toEqual(greedy)
    model.close()
  })

  test.each(FAMILIES.map((family, i) => ({ ...family, ...recorded.models[i]! })))(
    '$name: the logits behind a prompt, and 200 tokens',
    async ({ config, dtype, window, prompt, logits, greedy }) => {
      const made = await randomModel(config, dtype)
      const model = await load(made, {
        attention: attentionOf(made, window, 'f32'),
        chunk: 16,
        maxLength: prompt.length + greedy.length,
      })
      expect(promptOf(made.config)).toEqual(prompt)
      expect(errorOf(await model.logits(prompt), Float64Array.from(logits))).toBeLessThan(2e-5)
      if (greedy.length > 0)
        expect(await ids(model.generate(prompt, { maxTokens: greedy.length }))).toEqual(greedy)
      model.close()
    },
  )
})

describe.skipIf(!opened)('a family of models', () => {
  test.each(FAMILIES)('$name', async ({ config, dtype, cache, window, error }) => {
    const made = await randomModel(config, dtype)
    expect(made.config.windows).toEqual([window ?? null, window ?? null])
    const attention = attentionOf(made, window, cache)
    const attend = masked(made.config, (_, q, kv) => kv <= q && (window === undefined || q - kv < window))
    // Only the first lengths of a dynamic rope can be reached by a cache that grows.
    const count = made.config.rope.kind === 'dynamic' ? 1 : 6
    const model = await load(made, {
      attention,
      cache,
      chunk: 16,
      maxLength: Math.min(64, made.config.maxPositions),
    })
    const prompt = promptOf(made.config)
    expect(errorOf(await model.logits(prompt), logitsOf(made, prompt, attend))).toBeLessThan(error)
    const tokens = await ids(model.generate(prompt, { maxTokens: count }))
    expect(tokens).toEqual(greedy(made, prompt, count, attend))
    model.close()
  })
})

describe.skipIf(!opened)('a loaded model', () => {
  const base = randomModel({})
  const exact = async (tokens: readonly number[], attend?: Attend) => {
    const made = await base
    return logitsOf(made, tokens, attend ?? masked(made.config, causalMask))
  }

  test('gives the same in steps of any size', async () => {
    const wanted = await exact(PROMPT)
    for (const chunk of [1, 7, 64]) {
      const model = await load(await base, { chunk })
      expect(errorOf(await model.logits(PROMPT), wanted), `steps of ${chunk}`).toBeLessThan(1e-5)
      model.close()
    }
  })

  test('computes again only what a prompt does not share with the one before it', async () => {
    const model = await load(await base, { chunk: 16 })
    await ids(model.generate(PROMPT, { maxTokens: 3 }))
    // The last token has been drawn, and nothing behind it asked for.
    expect(model.length).toBe(PROMPT.length + 2)
    const next = [...PROMPT.slice(0, 21), ...randomTokens(9, 8)]
    const steps: number[] = []
    const logits = await model.logits(next, { onProgress: ({ done }) => steps.push(done) })
    expect(steps).toEqual([30])
    expect(errorOf(logits, await exact(next))).toBeLessThan(1e-5)
    model.truncate(11)
    expect(model.length).toBe(11)
    expect(errorOf(await model.logits(PROMPT), await exact(PROMPT))).toBeLessThan(1e-5)
    // The same prompt again: its last token alone.
    steps.length = 0
    await model.logits(PROMPT, { onProgress: ({ done, total }) => steps.push(done, total) })
    expect(steps).toEqual([37, 37])
    model.reset()
    await model.logits(PROMPT, { onProgress: ({ done }) => steps.push(done) })
    expect(steps).toEqual([37, 37, 16, 32, 37])
    model.close()
  })

  test('shows its hidden states, and how likely a text is to it', async () => {
    const made = await base
    const { logits, states } = transformer(made.config, made.weights, PROMPT, masked(made.config, causalMask))
    const model = await load(made, { chunk: 16 })
    for (const layer of [0, 1, 2]) {
      expect(errorOf(await model.hiddenStates(PROMPT, layer), states[layer]!), `layer ${layer}`).toBeLessThan(
        1e-5,
      )
    }
    const { vocabSize } = made.config
    const surprise = PROMPT.slice(1).map((id, t) => {
      const row = rowOf(logits, t, vocabSize)
      return Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0)) - row[id]!
    })
    const wanted = Math.exp(surprise.reduce((a, b) => a + b, 0) / surprise.length)
    expect(Math.abs((await model.perplexity(PROMPT)) / wanted - 1)).toBeLessThan(1e-5)
    expect(errorOf(await model.logits(PROMPT), await exact(PROMPT))).toBeLessThan(1e-5)
    model.close()
  })

  test.each(['f32', 'f16'] as const)(
    'shows logits of any places, and what the attention of a layer meets, in %s',
    async (cache) => {
      const made = await base
      const met: Float64Array[][] = []
      const attend = masked(made.config, causalMask)
      const { logits } = transformer(made.config, made.weights, PROMPT, (layer, ...qkv) => {
        met.push(qkv)
        return attend(layer, ...qkv)
      })
      const { vocabSize } = made.config
      const model = await load(made, { chunk: 16, cache })
      const most = cache === 'f32' ? 1e-5 : 5e-3
      const places = [0, 1, 2, 14, 15, 16, 36]
      const found = await model.logitsAt(PROMPT, places)
      const wanted = Float64Array.from(places.flatMap((t) => [...rowOf(logits, t, vocabSize)]))
      expect(found).toHaveLength(wanted.length)
      expect(errorOf(found, wanted)).toBeLessThan(most)
      expect(model.length).toBe(PROMPT.length)
      for (const layer of [0, 1]) {
        const { q, k } = await model.queriesAndKeys(PROMPT, layer)
        expect(errorOf(q, met[layer]![0]!), `queries of layer ${layer}`).toBeLessThan(most)
        expect(errorOf(k, met[layer]![1]!), `keys of layer ${layer}`).toBeLessThan(most)
      }
      expect(errorOf(await model.logits(PROMPT), await exact(PROMPT))).toBeLessThan(most)
      model.close()
    },
  )

  test('takes patterns by layer, one for the prompt and one behind it, and others between prompts', async () => {
    const made = await base
    const params = { window: 6, sinkTokens: 3 }
    const shaped = { artifact: artifactOf(aShape, 16, 'f32'), params }
    const plain = { artifact: artifactOf(causal, 16, 'f32') }
    const inShape = (q: number, kv: number) => kv <= q && (q - kv < 6 || kv < 3)
    const model = await load(made, { attention: patternAttention({ prefill: shaped }), chunk: 16 })
    expect(model.attention).toBe('a-shape')
    const everywhere = masked(made.config, (_, q, kv) => inShape(q, kv))
    expect(await ids(model.generate(PROMPT, { maxTokens: 5 }))).toEqual(greedy(made, PROMPT, 5, everywhere))
    await model.setAttention(patternAttention({ prefill: (layer) => (layer === 0 ? plain : shaped) }))
    expect(model.length).toBe(0)
    const above = masked(made.config, (layer, q, kv) => (layer === 0 ? kv <= q : inShape(q, kv)))
    expect(errorOf(await model.logits(PROMPT), await exact(PROMPT, above))).toBeLessThan(1e-5)
    await model.setAttention(patternAttention({ prefill: shaped, decode: plain }))
    const tokens = await ids(model.generate(PROMPT, { maxTokens: 2 }))
    const [, second] = tokens
    const afterPrompt = masked(made.config, (_, q, kv) => (q < PROMPT.length ? inShape(q, kv) : kv <= q))
    expect(greedy(made, [...PROMPT, tokens[0]!], 1, afterPrompt)).toEqual([second])
    model.close()
  })

  test('takes patterns that select by the data', async () => {
    const made = await base
    const sizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 37, kvLen: 37, headDim: 16 }
    const c = stageCase('moba', sizes, 3)
    const [artifact, params] = [emitted(c.compiled, 16, 'f32'), c.call.params!]
    const attend: Attend = (_, q, k, v) => {
      const length = q.length / 4 / 16
      const tensor = (heads: number, x: Float64Array) => ({
        data: Float32Array.from(x),
        shape: [1, heads, length, 16] as const,
      })
      return reference(c.pattern, { q: tensor(4, q), k: tensor(2, k), v: tensor(2, v), params }).out
    }
    const model = await load(made, { attention: patternAttention({ prefill: { artifact, params } }) })
    expect(errorOf(await model.logits(PROMPT), await exact(PROMPT, attend))).toBeLessThan(1e-4)
    expect(await ids(model.generate(PROMPT, { maxTokens: 3 }))).toEqual(greedy(made, PROMPT, 3, attend))
    model.close()
  })

  test('cuts tables of tokens that exceed a binding, and runs as well with the schedule of a GPU', async () => {
    const made = await randomModel({ vocab_size: 1000 })
    const adapterInfo = { subgroupMinSize: 32, subgroupMaxSize: 32, isFallbackAdapter: false }
    const { device } = wrap(opened!.device, { limits: { maxStorageBufferBindingSize: 100_000 }, adapterInfo })
    const model = await load(made, { device })
    const prompt = [999, 0, ...randomTokens(30, 9, 1000)]
    const attend = masked(made.config, causalMask)
    expect(errorOf(await model.logits(prompt), logitsOf(made, prompt, attend))).toBeLessThan(1e-5)
    expect(await ids(model.generate(prompt, { maxTokens: 3 }))).toEqual(greedy(made, prompt, 3, attend))
    model.close()
  })

  test('tells what each kernel took, where the device has a clock', async () => {
    const model = await load(await base, { chunk: 16 })
    model.timed = true
    await ids(model.generate(PROMPT, { maxTokens: 2 }))
    const counts = Object.fromEntries(model.times.map(({ kernel, count }) => [kernel, count]))
    // Three steps of the prompt and one behind it, of two layers each.
    expect(counts).toEqual({
      embedding: 4,
      projections: 8,
      rotary: 8,
      attention: 8,
      output: 8,
      gateUp: 8,
      down: 8,
      head: 2,
    })
    expect(model.times.reduce((sum, { ms }) => sum + ms, 0)).toBeGreaterThan(0)
    model.timed = false
    expect(model.times).toEqual([])
    model.close()
  })
})

/** The evaluation's own measurements against the oracle: what kernels keep, tile by tile, and how much mass; scores; settings. */

import { afterAll, describe, expect, test } from 'vitest'
import { BLOCK } from '../../bench/eval/counts.ts'
import { attentionOf } from '../../bench/eval/evaluate.ts'
import { oracleDensity } from '../../bench/eval/oracle.ts'
import { pictureSpec } from '../../bench/eval/picture.ts'
import { Builder, LIBRARY, libraryCandidate } from '../../bench/eval/prepare.ts'
import { Probe } from '../../bench/eval/probe.ts'
import { divergences, judge, positionsOf } from '../../bench/eval/scores.ts'
import { SETTINGS } from '../../bench/eval/settings.ts'
import { isRefusal, type Subject } from '../../bench/eval/subject.ts'
import { needleText, NEEDLE_TASKS, WORD_CLASSES } from '../../bench/eval/tasks.ts'
import { pieces } from '../../bench/eval/texts.ts'
import { createCompiler } from '../../compiler/index.ts'
import { mapMask } from '../../compiler/mask-map.ts'
import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import { reference, type ReferencePattern } from '../../runtime/reference.ts'
import { loadModel } from '../../runtime/model/load.ts'
import type { Model } from '../../runtime/model/model.ts'
import { openTestDevice } from '../helpers.ts'
import { randomModel, randomTokens } from '../runtime/model/random-model.ts'

const opened = await openTestDevice()
afterAll(() => opened?.close())

const SIZES = { qHeads: 4, kvHeads: 2, headDim: 16 }
const LENGTH = 150
const TOKENS = randomTokens(LENGTH, 3)
const compiler = createCompiler()
const builder = new Builder()

function subjectOf(name: string): Subject {
  const shape = { ...SIZES, length: LENGTH, dtype: 'f32' as const }
  const found = builder.subject(libraryCandidate(name, compiler), shape)
  if (isRefusal(found)) throw new Error(`${name}: ${found.reason}`)
  return found
}

const libraryPattern = (name: string): ReferencePattern =>
  [...PATTERNS, ...SELECTIONS].find((e) => e.pattern.name === name)!.pattern as unknown as ReferencePattern

describe.skipIf(!opened)('what a probe measures', () => {
  const chunk = 70
  const sizes = { ...SIZES, length: LENGTH, chunk }
  const dense = () => attentionOf(subjectOf('causal'), subjectOf('causal').builds.pattern, sizes)
  let model: Model | null = null
  afterAll(() => model?.close())
  const loaded = async (): Promise<Model> => {
    const { files } = await randomModel({})
    return (model ??= await loadModel(files, {
      device: opened!.device,
      attention: dense(),
      maxLength: LENGTH,
      chunk,
      cache: 'f32',
    }))
  }

  /** By the oracle, step by step as the model takes them: kept pairs of the tiles of a layer, and the mass that is kept. */
  async function expected(own: Subject, layer: number) {
    const { q, k } = await (await loaded()).queriesAndKeys(TOKENS, layer)
    const blocks = Math.ceil(LENGTH / BLOCK)
    const counts = new Uint32Array(SIZES.qHeads * blocks * blocks)
    const { qHeads, kvHeads, headDim } = SIZES
    const part = (x: Float32Array, heads: number, from: number, end: number) => ({
      data: Float32Array.from({ length: heads * (end - from) * headDim }, (_, i) => {
        const [head, rest] = [Math.floor(i / ((end - from) * headDim)), i % ((end - from) * headDim)]
        return x[(head * LENGTH + from) * headDim + rest]!
      }),
      shape: [1, heads, end - from, headDim] as const,
    })
    let mass = 0
    for (let from = 0; from < LENGTH; from += chunk) {
      const end = Math.min(LENGTH, from + chunk)
      const call = {
        q: part(q, qHeads, from, end),
        k: part(k, kvHeads, 0, end),
        v: { data: new Float32Array(kvHeads * end), shape: [1, kvHeads, end, 1] as const },
      }
      const { consts, mask, params, tables, forward } = libraryPattern(own.pattern)
      const set = { mask, params, tables, forward: forward ?? null, score: null, sinkLogit: null }
      const given = SETTINGS[own.pattern]!
      const found = reference(
        { ...set, consts: { ...consts, ...own.consts } },
        {
          ...call,
          params: own.params as Record<string, number>,
          ...('tables' in given && given.tables
            ? { tables: given.tables({ ...SIZES, length: LENGTH }) }
            : {}),
        },
      )
      const all = reference(libraryPattern('causal'), call)
      for (let head = 0; head < qHeads; head++) {
        for (let row = 0; row < end - from; row++) {
          const at = head * (end - from) + row
          mass += Math.exp(found.lse[at]! - all.lse[at]!)
          for (let kv = 0; kv < end; kv++) {
            const [i, j] = [Math.floor((from + row) / BLOCK), Math.floor(kv / BLOCK)]
            counts[(head * blocks + i) * blocks + j]! += Number(found.keeps(0, head, row, kv))
          }
        }
      }
    }
    return { counts, recall: mass / qHeads / LENGTH }
  }

  test.each(['causal', 'a-shape', 'grid', 'alibi', 'minference-block', 'pbs', 'moba'])(
    "%s: the kernels' kept pairs are those of the oracle, and so is the mass",
    async (name) => {
      const own = subjectOf(name)
      const { pattern, plain, counting } = own.builds
      const of = (artifact: typeof plain) => artifact && attentionOf(own, artifact, sizes)
      const probe = new Probe(
        { pattern: of(pattern)!, plain: of(plain), counting: of(counting), dense: dense() },
        LENGTH,
      )
      const loadedModel = await loaded()
      await loadedModel.setAttention(probe.attention)
      const logits = await loadedModel.logits(TOKENS)
      const found = await probe.read()
      await loadedModel.setAttention(of(pattern)!)
      expect(await loadedModel.logits(TOKENS)).toEqual(logits)
      const layers = [await expected(own, 0), await expected(own, 1)]
      expect(found.counts!.map((c) => [...c])).toEqual(layers.map((l) => [...l.counts]))
      expect(found.recall).toBeCloseTo((layers[0]!.recall + layers[1]!.recall) / 2, 4)
      expect(found.leastRecall).toBeCloseTo(Math.min(layers[0]!.recall, layers[1]!.recall), 4)
    },
    120_000,
  )

  test.each(['anchor', 'blasst'])('%s chooses in the midst of attention: the oracle counts', async (name) => {
    const own = subjectOf(name)
    expect(own.builds.counting).toBeNull()
    const loadedModel = await loaded()
    await loadedModel.setAttention(attentionOf(own, own.builds.pattern, { ...sizes, chunk: LENGTH }))
    const asked = oracleDensity(own, 1, await loadedModel.queriesAndKeys(TOKENS, 1), {
      ...sizes,
      chunk: LENGTH,
    })!
    expect(asked.density).toBeGreaterThan(0.1)
    expect(asked.density).toBeLessThanOrEqual(1)
    expect(asked.tiles).toBeGreaterThanOrEqual(asked.density)
    expect(asked.of).toMatch(/^layer 1, kv head 1, rows \d+-\d+, /)
    // Steps that cut the rows which choose together are no sample of them.
    expect(oracleDensity(own, 1, { q: new Float32Array(), k: new Float32Array() }, sizes)).toBeNull()
  })
})

test('answers are right token by token, near and far apart', () => {
  const answers = [
    { begin: 2, end: 4, distance: 3 },
    { begin: 6, end: 7, distance: 9 },
  ]
  expect(positionsOf(answers)).toEqual([1, 2, 5])
  const tokens = [0, 1, 2, 0, 1, 0, 2]
  const rows = (...likeliest: number[]) =>
    Float32Array.from(likeliest.flatMap((id) => [0, 1, 2].map((n) => (n === id ? 1 : 0))))
  expect(judge(tokens, answers, rows(2, 0, 2), 3, 4)).toEqual({
    near: { answers: 1, right: 1 },
    far: { answers: 1, right: 1 },
  })
  expect(judge(tokens, answers, rows(2, 1, 0), 3, 4)).toEqual({
    near: { answers: 1, right: 0 },
    far: { answers: 1, right: 0 },
  })
  expect(judge(tokens, answers, rows(2, 0, 1), 3, 2)).toMatchObject({
    near: { answers: 0 },
    far: { right: 1 },
  })
})

test('divergences are those of the definition, and none of the same predictions', () => {
  const p = Float32Array.of(0, Math.log(3), 5, 5)
  const q = Float32Array.of(1, 1, 5, 4)
  const [first, second] = divergences(p, q, 2)
  expect(first).toBeCloseTo(0.25 * Math.log(0.5) + 0.75 * Math.log(1.5), 6)
  const other = 1 / (1 + Math.exp(-1))
  expect(second).toBeCloseTo(0.5 * Math.log(0.5 / other) + 0.5 * Math.log(0.5 / (1 - other)), 6)
  expect(divergences(p, p, 2)).toEqual([0, 0])
})

test.each(NEEDLE_TASKS)('%s: the fact that an answer rests on stands where its distance says', (task) => {
  const { words, answers } = needleText(WORD_CLASSES, task, 600, 5)
  for (const { begin, distance } of answers) {
    const asked = words.lastIndexOf('ask', begin)
    const fact = words.slice(begin - distance)
    if (task === 'track') expect(fact[0]).toBe('set')
    else expect(fact.slice(0, begin - asked - 1)).toEqual(words.slice(asked + 1, begin))
    expect(distance).toBeGreaterThan(begin - asked)
  }
})

test("pieces of a text are disjoint and of one length, and compared up to each one's end", () => {
  const tokens = Array.from({ length: 250 }, (_, n) => n)
  const found = pieces(tokens, 100, 5)
  expect(found.map((t) => t.tokens[0])).toEqual([0, 100])
  expect(found[0]!.positions).toHaveLength(64)
  expect(found[0]!.positions.at(-1)).toBe(99)
  expect(pieces(tokens, 40, 1)[0]!.positions).toEqual(Array.from({ length: 40 }, (_, n) => n))
})

describe('settings', () => {
  test('speak of each pattern of the library, in its order', () => {
    expect(Object.keys(SETTINGS)).toEqual([...LIBRARY])
  })

  /** Those keep more for what they are; their `about` says so. */
  const MORE: readonly string[] = ['causal', 'streaming-heads', 'alibi', 'softcap']
  const positional = PATTERNS.map((p) => p.pattern.name).filter(
    (name) => 'at' in SETTINGS[name]! && !MORE.includes(name),
  )
  test.each(positional)('%s keeps about a quarter of the pairs at most', (name) => {
    const entry = SETTINGS[name]!
    if (!('at' in entry)) throw new Error(`${name} has no setting`)
    const { consts = {}, params = {} } = entry.at({ ...SIZES, length: 1024 })
    const { plan } = libraryCandidate(name, compiler).compile(consts)
    const at = { ...SIZES, batch: 0, batches: 1, qLen: 1024, kvLen: 1024, params, tables: {} }
    const densities = [0, 1, 2, 3].map((head) => mapMask(plan, { ...at, head }, { q: 256, kv: 256 }).density)
    expect(densities.reduce((a, b) => a + b) / 4).toBeLessThanOrEqual(0.25)
  })
})

test('a picture has a point for each row whose density is known', () => {
  const row = { pattern: 'moba', length: 1024, accuracy: 0.5, kl: 1 }
  const rows = [row, { ...row, pattern: 'causal', accuracy: 1 }, { ...row, pattern: 'x' }].map((r, n) => ({
    ...r,
    density: [0.2, 1, null][n],
  })) as unknown as Parameters<typeof pictureSpec>[0]
  const { data } = pictureSpec(rows, new Set(['moba']))
  expect(data.values).toEqual([
    { pattern: 'moba', density: 0.2, value: 0.5, length: '1024 tokens', kind: 'by data' },
    { pattern: 'causal', density: 1, value: 1, length: '1024 tokens', kind: 'dense' },
  ])
})

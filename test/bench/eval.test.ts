/** The evaluation's own measurements against the oracle: what kernels keep, tile by tile, and how much mass; scores; settings. */

import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { prepareEval } from '../../bench/eval-units.ts'
import { evaluationText } from '../../bench/eval-tables.ts'
import { BLOCK } from '../../bench/eval/counts.ts'
import type { EvalRow } from '../../bench/eval/evaluate.ts'
import { attentionOf } from '../../bench/eval/evaluation.ts'
import { oracleDensity } from '../../bench/eval/oracle.ts'
import { placeLabels } from '../../bench/eval/labels.ts'
import { pictureSpec } from '../../bench/eval/picture.ts'
import { Builder, LIBRARY, libraryCandidate, OWN_DEFAULTS } from '../../bench/eval/prepare.ts'
import { Probe } from '../../bench/eval/probe.ts'
import type { EvalReport } from '../../bench/eval/report.ts'
import { divergences, judge, positionsOf } from '../../bench/eval/scores.ts'
import { SETTINGS } from '../../bench/eval/settings.ts'
import { isRefusal, type Subject } from '../../bench/eval/subject.ts'
import { needleText, NEEDLE_TASKS, WORD_CLASSES } from '../../bench/eval/tasks.ts'
import { pieces } from '../../bench/eval/texts.ts'
import { verdictOf } from '../../bench/eval/verdict.ts'
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
    expect(asked.of).toMatch(/^layer 1, head 1, rows \d+-\d+, /)
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
  expect(data.values).toMatchObject([
    { pattern: 'moba', density: 0.2, value: 0.5, length: '1024 tokens', kind: 'by data', side: 'right' },
    { pattern: 'causal', density: 1, value: 1, length: '1024 tokens', kind: 'dense', side: 'left' },
  ])
})

test('names in a picture are beside their points, and never over another name or a point', () => {
  const points = Array.from({ length: 20 }, (_, n) => ({
    name: `pattern-${n}`,
    x: 60 + (n % 3) * 4,
    y: 100 + (n % 5),
  }))
  const labels = placeLabels(points, 400, 300)
  labels.forEach((one, i) => {
    expect(one.x).toBe(points[i]!.x + 7)
    labels.forEach((other, j) => {
      if (i !== j) expect(Math.abs(one.y - other.y)).toBeGreaterThanOrEqual(11)
    })
  })
  expect(placeLabels([{ name: 'far', x: 395, y: 5 }], 400, 300)).toEqual([{ x: 388, y: 5, isLeft: true }])
})

test("the document's own pattern compiles and can be judged, by its kernels' own counts", () => {
  const [, text] = /```ts\n(import[^]*?)```/.exec(readFileSync('docs/evaluating.md', 'utf8'))!
  const { patterns, diagnostics } = compiler.compile('test/recent-and-best.ts', { text: text! })
  expect(diagnostics.filter((d) => d.severity !== 'note')).toEqual([])
  const candidate = { name: 'own', entry: OWN_DEFAULTS, compile: () => patterns[0]! }
  const found = builder.subject(candidate, { ...SIZES, length: 256, dtype: 'f32' })
  expect(found).toMatchObject({ pattern: 'recent-and-best', params: {}, near: 64 })
  expect('builds' in found && found.builds.counting).not.toBeNull()
})

test('what a machine without a compiler is given is plain data, each artefact once', () => {
  const prepared = prepareEval(['a-shape', 'dsa'], [256, 512])
  expect(JSON.parse(JSON.stringify(prepared))).toEqual(prepared)
  expect(prepared.builds).toHaveLength(2)
  expect(prepared.lengths.map((l) => l.subjects.map((s) => [s.name, s.builds]))).toEqual([
    [
      ['causal', 0],
      ['a-shape', 1],
    ],
    [
      ['causal', 0],
      ['a-shape', 1],
    ],
  ])
  expect(prepared.lengths[0]!.refused.map((r) => r.name)).toEqual(['dsa'])
})

const ROW: EvalRow = {
  pattern: 'a-shape',
  about: 'a window',
  consts: {},
  params: { window: 64 },
  length: 1024,
  texts: 2,
  accuracy: 0.25,
  tasks: [{ task: 'multi', answers: 16, accuracy: 0.25 }],
  nearest: 64,
  near: { answers: 4, right: 4 },
  far: { answers: 12, right: 0 },
  kl: 3.21,
  positions: 32,
  perplexity: null,
  density: 0.12,
  tiles: 0.2,
  counted: 'kernels',
  recall: 0.81,
  leastRecall: 0.5,
  times: {
    prefill: { ms: 20, kernels: 12, attention: 3 },
    decode: { ms: 2, kernels: null, attention: null },
  },
  verdict: '',
}

test('a pattern that answers near questions alone is told so, and a poor model is no judge', () => {
  const dense = {
    ...ROW,
    pattern: 'causal',
    accuracy: 1,
    near: { answers: 16, right: 16 },
    far: { answers: 0, right: 0 },
  }
  expect(verdictOf(dense, null)).toBe('answers')
  expect(verdictOf({ ...dense, accuracy: 0.9 }, null)).toBe('answers 90 %: no judge of the patterns')
  expect(verdictOf(ROW, dense)).toBe('fails on needles farther than 64 tokens: 0 % of 12; nearer: 100 % of 4')
  expect(verdictOf({ ...ROW, accuracy: 0.96 }, dense)).toBe('keeps up with dense')
  const evenly = { ...ROW, accuracy: 0.9, near: { answers: 10, right: 8 }, far: { answers: 10, right: 10 } }
  expect(verdictOf(evenly, dense)).toBe('worse than dense: 90 % against 100 %')
  const [read, worse] = [
    { ...dense, accuracy: null, perplexity: 10 },
    { ...ROW, accuracy: null, perplexity: 12 },
  ]
  expect(verdictOf(worse, read)).toBe('perplexity +20.0 %')
})

test('the document shows a table for each length, and what was refused', () => {
  const report: EvalReport = {
    suite: 'eval-gpu',
    command: 'heddle eval',
    date: '2026-01-01',
    device: 'a GPU',
    driver: '',
    versions: {},
    model: { name: 'm', layers: 8, qHeads: 4, kvHeads: 2, headDim: 64, positions: 16384 },
    chunk: 1024,
    seed: 1,
    rows: [{ ...ROW, length: 8192 }, ROW],
    refused: [{ name: 'dsa', reason: 'reads an indexer' }],
  }
  const table = (head: readonly string[], lines: readonly (readonly string[])[]) =>
    [head, ...lines].map((line) => line.join(' | ')).join('\n')
  const text = evaluationText([{ name: 'eval-gpu', report }], table)
  expect(text).toMatch(/^!\[.*\]\(eval-gpu\.svg\)\n\n### At 1024 tokens\n\n[^]*### At 8192 tokens/)
  expect(text).toContain('pattern | accuracy | near | far | KL | density | tiles | recall | prefill ms')
  expect(text).toContain(
    'a-shape | 0.250 | 1.00 of 4 | 0.00 of 12 | 3.2 | 0.120 | 0.200 | 0.810 | 12.0 | 3.00 | 2.00 | a window',
  )
  expect(text).toContain('dsa | reads an indexer')
  expect(evaluationText([], table)).toMatch(/^Not measured yet/)
})

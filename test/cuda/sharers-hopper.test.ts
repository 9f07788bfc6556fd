/** Sums over index heads by products whose rows are heads: indexers of several sizes against the oracle, and which calls take them. */

import { afterAll, expect, test } from 'vitest'
import { emitCuda } from '../../codegen/index.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import type { Pattern } from '../../dsl/index.ts'
import { textsOf } from '../../runtime/cli/cuda-texts.ts'
import { evaluateJson } from '../../runtime/derived.ts'
import { kernelsOf } from '../../runtime/cuda/stored.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'
import { bentIndexer, groupedIndexer, plainIndexer, windowedIndexer } from '../fixtures/indexers.ts'
import { METHOD_NAMES, stageCase, type StageCase, type StageSizes } from '../runtime/stage-cases.ts'
import { differenceOf } from './product-cases.ts'

const driver = await openEmulation({ multiprocessors: 2, order: 7, capability: { major: 9, minor: 0 } })
afterAll(() => driver.release())

type Indexer = NonNullable<StageSizes['indexer']>

const BASE: StageSizes = { batch: 1, qHeads: 2, kvHeads: 1, qLen: 14, kvLen: 200, headDim: 16 }

const withParams = (made: StageCase, params: Readonly<Record<string, number>>): StageCase => ({
  ...made,
  call: { ...made.call, params },
})

type Case = readonly [
  about: string,
  name: string,
  sizes: StageSizes,
  indexer: Indexer,
  params: Readonly<Record<string, number>>,
  consts: Readonly<Record<string, number>>,
]

test.each<Case>([
  ['64 heads, of which no row is empty', 'dsa', BASE, { heads: 64, channels: 128 }, { k: 20 }, {}],
  [
    'heads and channels that fill no tile',
    'dsa',
    { ...BASE, batch: 2 },
    { heads: 23, channels: 40 },
    { k: 20 },
    {},
  ],
  [
    'more than one tile of columns',
    'dsa',
    { ...BASE, qLen: 9, kvLen: 2200 },
    { heads: 33, channels: 72 },
    { k: 9 },
    {},
  ],
  [
    'more channels than a product has',
    'dsa',
    { ...BASE, qLen: 3 },
    { heads: 20, channels: 136 },
    { k: 9 },
    {},
  ],
  [
    'blocks as wide as a strip',
    'hisa',
    { ...BASE, kvLen: 700 },
    { heads: 64, channels: 64 },
    { coarse: 3, k: 40 },
    { block: 128 },
  ],
  [
    'several blocks to a strip',
    'hisa',
    BASE,
    { heads: 32, channels: 128 },
    { coarse: 3, k: 12 },
    { block: 32 },
  ],
  [
    'four queries to a product',
    'dsa',
    { ...BASE, qLen: 37, batch: 2 },
    { heads: 16, channels: 64 },
    { k: 20 },
    {},
  ],
  [
    'sharers that fill no warp',
    'hisa',
    { ...BASE, kvLen: 2300 },
    { heads: 9, channels: 104 },
    { coarse: 3, k: 12 },
    { block: 32 },
  ],
])('%s', { timeout: 300_000 }, async (_, name, sizes, indexer, params, consts) => {
  const made = withParams(stageCase(name, { ...sizes, indexer }, 5, consts), params)
  expect(await differenceOf(driver, made, 'bf16', sizes.headDim)).toBeNull()
})

const FIXTURES = `${PACKAGE_ROOT}/test/fixtures/indexers.ts`
const compiledOf = (own: unknown) => compilePattern(own as Pattern, { file: FIXTURES, consts: {} })

test.each<readonly [string, unknown, StageSizes]>([
  ['heads that add something where rows are empty, and maps before and after the sum', bentIndexer, BASE],
  ['heads without weights', plainIndexer, { ...BASE, batch: 2 }],
  ['heads of the model, that share a kv head', groupedIndexer, { ...BASE, qHeads: 34, kvHeads: 2 }],
])('%s', { timeout: 300_000 }, async (_, own, sizes) => {
  const { call } = stageCase('dsa', { ...sizes, indexer: { heads: 21, channels: 40 } }, 5)
  const made: StageCase = {
    compiled: compiledOf(own),
    pattern: own as StageCase['pattern'],
    call: { ...call, params: { k: 15 }, tables: {}, rows: own === groupedIndexer ? {} : call.rows },
  }
  expect(await differenceOf(driver, made, 'bf16', sizes.headDim)).toBeNull()
})

test.each<readonly [string, Partial<StageSizes>]>([
  [
    'heads that share a kv head, weighed by the sums of an attend',
    { qHeads: 32, kvHeads: 2, qLen: 70, kvLen: 250 },
  ],
  ['channels of two chunks', { qHeads: 12, qLen: 20, kvLen: 120, headDim: 72 }],
  ['columns of several tiles', { qHeads: 8, qLen: 9, kvLen: 8300 }],
  ['rows that no key is seen by', { qHeads: 16, qLen: 70, kvLen: 70 }],
])('%s', { timeout: 300_000 }, async (_, sizes) => {
  const all = { ...BASE, ...sizes }
  // Of eight tokens the channels.
  const made = withParams(stageCase('nsa', all, 5, { wide: 8 * all.headDim }), { n: 4, window: 32 })
  expect(await differenceOf(driver, made, 'bf16', all.headDim)).toBeNull()
})

test('a mask of each head has no total that all rows are seen by', () => {
  const ids = (own: unknown) =>
    kernelsOf(emitCuda(compiledOf(own), { headDims: [16], dtypes: ['bf16'] }).stages!.variants[0]!)
      .filter(({ name }) => name.startsWith('scores'))
      .map(({ forms }) => forms.map((f) => f.id))
  expect(ids(groupedIndexer)).toEqual([['few', 'packed', 'sharers', 'wgmma']])
  expect(ids(windowedIndexer)).toEqual([['few', 'wgmma']])
})

test.each(METHOD_NAMES)('each form of %s has a name of its own', (name) => {
  const wide = name === 'nsa' ? { wide: 8 * BASE.headDim } : {}
  const { compiled } = stageCase(name, { ...BASE, qLen: 3, kvLen: 40 }, 1, wide)
  const names = textsOf(emitCuda(compiled, { headDims: [16], dtypes: ['bf16'] })).map((t) => t.id)
  // Of blocks, and of tokens; of keys in three parts four queries at a time alone.
  const sums = { dsa: [1, 1], hisa: [2, 2], nsa: [1, 0] }[name] ?? [0, 0]
  const ofForm = (form: string) => names.filter((n) => n.endsWith(`.${form}`)).length
  expect(['packed', 'sharers'].map(ofForm)).toEqual(sums)
  expect(new Set(names).size).toBe(names.length)
})

test.each<[Indexer, taken: boolean]>([
  [{ heads: 64, channels: 128 }, true],
  [{ heads: 16, channels: 8 }, true],
  [{ heads: 15, channels: 128 }, false],
  [{ heads: 65, channels: 128 }, false],
  [{ heads: 64, channels: 136 }, false],
  [{ heads: 64, channels: 100 }, false],
])('%o: %s', ({ heads, channels }, taken) => {
  const { compiled } = stageCase('hisa', BASE, 1)
  const { stages } = emitCuda(compiled, { headDims: [16], dtypes: ['bf16'] })
  const forms = kernelsOf(stages!.variants[0]!).flatMap((k) => k.forms)
  const rules = forms.flatMap(({ id, when }) => (id === 'sharers' ? [when!] : []))
  // The scores of blocks, and those of tokens.
  expect(rules).toHaveLength(2)
  for (const rule of rules)
    expect(evaluateJson(rule, { vars: { indexHeads: heads }, param: () => channels })).toBe(taken)
})

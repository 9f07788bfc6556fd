/** Profiles: what MInference's files say, what a call makes of it, on the device and in errors. */

import { afterAll, describe, expect, test } from 'vitest'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'
import { minference } from '../../patterns/index.ts'
import {
  attention,
  HeddleError,
  paramsOf,
  readProfile,
  reference,
  type Code,
  type MessageArgs,
} from '../../runtime/index.ts'
import { resolveParams } from '../../runtime/params.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { setDifference } from '../../runtime/testing/sets.ts'
import { compilePattern } from '../../runtime/testing/subject.ts'
import { Bench, openTestDevice } from '../helpers.ts'
import { stageCase, type StageSizes } from './stage-cases.ts'

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

/** Two layers as the search writes them: the first with its numbers, the second with those of a small test. */
const TEXT = `[
  {"0": ["vertical_and_slash", 1000, 6096, 0.33349305391311646], "1": ["stream_llm", 100, 800, 0.96484375],
   "2": ["block_sparse", 10, 1, 12], "3": ["vertical_and_slash", 0, 0, 1]},
  {"0": ["vertical_and_slash", 5, 9, 0.9], "1": ["block_sparse", 8, 1, 0.5],
   "3": ["vertical_and_slash", 2, 6, 1], "2": ["stream_llm", 3, 13, 0.25]}
]`
const profile = readProfile(TEXT)

describe('a profile', () => {
  test("is read from MInference's layout, as text or parsed, heads in any order", () => {
    expect(profile.map((layer) => layer.map(({ type }) => type))).toEqual([
      ['vertical_and_slash', 'stream_llm', 'block_sparse', 'vertical_and_slash'],
      ['vertical_and_slash', 'block_sparse', 'stream_llm', 'vertical_and_slash'],
    ])
    expect(profile[0]![1]).toEqual({ type: 'stream_llm', vertical: 100, slash: 800, score: 0.96484375 })
    expect(readProfile(JSON.parse(TEXT))).toEqual(profile)
    expect(readProfile('[]')).toEqual([])
  })

  test("gives each head its kind's numbers, and 0 for the other kinds", () => {
    expect(paramsOf(profile, 0, 4)).toEqual({
      // Budgets of 0 are MInference's least ones: what the pattern forces, which needs a number above 0.
      vertical: [1000, 0, 0, 1],
      slash: [6096, 0, 0, 1],
      k: [0, 0, 100, 0],
      window: [0, 800, 0, 0],
      sinkTokens: [0, 100, 0, 0],
    })
    expect(paramsOf(profile, 1, 4, { blocks: 3 }).k).toEqual([0, 3, 0, 0])
  })

  test('speaks of every param of the pattern, and stays within its bounds', () => {
    const specs = Object.entries(minference.params).map(([name, spec]) => ({ name, ...spec }))
    const most = 2 ** 22
    const wide = readProfile([{ 0: ['vertical_and_slash', most, most, 0], 1: ['stream_llm', most, most, 0] }])
    for (const params of [paramsOf(profile, 0, 4), paramsOf(wide, 0, 2)]) {
      expect(Object.keys(params).toSorted()).toEqual(specs.map((s) => s.name).toSorted())
      expect(() => resolveParams(specs, params, params.k.length)).not.toThrow()
    }
  })
})

const BASE: StageSizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 75, headDim: 8 }

describe.skipIf(!opened)('a layer of mixed heads on the device', () => {
  const mixed = paramsOf(profile, 1, 4, { blocks: 3 })
  const prepared = (sizes: StageSizes, seed: number, params = mixed) => {
    const made = stageCase('minference', sizes, seed)
    const kernel = bench!.kernel(made.compiled, { headDim: 8, dtype: 'f32', capabilities: ['portable'] })
    return { ...made, call: { ...made.call, params }, kernel }
  }

  test.each([
    { name: 'a prompt', sizes: BASE },
    { name: 'a chunk of two prompts', sizes: { ...BASE, batch: 2, qLen: 21, kvLen: 70 } },
    { name: 'a decode step', sizes: { ...BASE, qLen: 1, kvLen: 66 } },
  ])('is the oracle: $name', { timeout: 120_000 }, async ({ sizes }) => {
    const { pattern, call, kernel } = prepared(sizes, 21)
    const got = await attention(kernel, call)
    expect(compareWithOracle(pattern, call, got, reference(pattern, call)).difference).toBeNull()
  })

  test.each([
    { entry: ['vertical_and_slash', 3, 7, 1] },
    { entry: ['block_sparse', 8, 1, 1] },
    { entry: ['stream_llm', 2, 9, 1] },
  ])('is the oracle where all heads are one kind: $entry.0', { timeout: 120_000 }, async ({ entry }) => {
    const layer = readProfile([{ 0: entry, 1: entry, 2: entry, 3: entry }])
    const params = paramsOf(layer, 0, 4, { blocks: 2 })
    const { pattern, call, kernel } = prepared({ ...BASE, qLen: 40, kvLen: 61 }, 24, params)
    const got = await attention(kernel, call)
    expect(compareWithOracle(pattern, call, got, reference(pattern, call)).difference).toBeNull()
  })

  test("is the oracle at MInference's own blocks and forced keys", { timeout: 120_000 }, async () => {
    const layer = readProfile([
      {
        0: ['vertical_and_slash', 45, 130, 1],
        1: ['block_sparse', 8, 1, 1],
        2: ['stream_llm', 20, 70, 1],
        3: ['vertical_and_slash', 0, 0, 1],
      },
    ])
    const { call } = stageCase('minference', { ...BASE, qLen: 333, kvLen: 333 }, 25)
    const asked = { ...call, params: paramsOf(layer, 0, 4, { blocks: 2 }) }
    const compiled = compilePattern(minference, { file: `${PACKAGE_ROOT}/patterns/minference.ts` })
    const kernel = bench!.kernel(compiled, { headDim: 8, dtype: 'f32', capabilities: ['portable'] })
    const got = await attention(kernel, asked)
    expect(compareWithOracle(minference, asked, got, reference(minference, asked)).difference).toBeNull()
  })

  test("attends the oracle's pairs", { timeout: 120_000 }, async () => {
    const { pattern, call, kernel } = prepared({ ...BASE, qLen: 30, kvLen: 61 }, 22)
    const answer = (asked: object) => attention(kernel, { ...call, ...asked })
    expect(await setDifference(pattern, call, answer)).toBeNull()
  })

  test('takes one launch of each stage, and one of attention, whatever its heads are', () => {
    const { compiled } = prepared(BASE, 23)
    const kernels = compiled.stages!.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
    expect(new Set(kernels.map((k) => k.node)).size).toBe(kernels.length)
    expect(kernels.filter((k) => k.kind === 'attend').map((k) => k.grid.share)).toEqual(['head'])
  })
})

describe('errors', () => {
  const entry = ['vertical_and_slash', 30, 800, 1]
  const layerOf = (...heads: readonly unknown[]) => [Object.fromEntries(heads.entries())]
  const thrown = (work: () => unknown): unknown => {
    try {
      work()
    } catch (error) {
      return error
    }
    return null
  }
  const due = <C extends Code>(code: C, args: MessageArgs<C>) => new HeddleError(code, args)
  const type = 'vertical_and_slash'
  const number = { layer: 0, head: 0, type, name: 'v', least: 0, most: 2 ** 22 }

  test('text that is no JSON', () => {
    const error = thrown(() => readProfile('[{"0": '))
    expect(error).toMatchObject({ name: 'HeddleError', code: 'profile-layout', blame: 'caller' })
    expect((error as Error).cause).toBeInstanceOf(SyntaxError)
  })

  test.each([
    ['a record in place of the layers', { 0: entry }, 'it is no list of layers'],
    ['nothing', undefined, 'it is no list of layers'],
    ['a list in place of the heads', [[entry]], 'layer 0 is no record of heads'],
    ['a head that is no list', layerOf(entry, 'dense'), 'layer 0, head 1 is no list [type, v, s, score]'],
    ['an entry cut short', layerOf([type, 30, 800]), 'layer 0, head 0 is no list [type, v, s, score]'],
  ])('%s', (_, source, what) => {
    expect(thrown(() => readProfile(source))).toEqual(due('profile-layout', { what }))
  })

  test.each([
    ['a head that is missing', { 0: entry, 2: entry }, 1, ['0', '2']],
    ['a head that has no number', { first: entry }, 0, ['first']],
    ['a head that is written otherwise', { '00': entry }, 0, ['00']],
  ])('%s', (_, heads, head, got) => {
    const error = thrown(() => readProfile([heads]))
    expect(error).toEqual(due('profile-head', { layer: 0, head, got }))
  })

  test('a type that the pattern has not', () => {
    const flex = 'flex_vertical_and_slash'
    const known = [type, 'block_sparse', 'stream_llm']
    expect(thrown(() => readProfile(layerOf(entry, [flex, [0.9, 4096], [0.9, 4096], 0])))).toEqual(
      due('profile-type', { layer: 0, head: 1, got: flex, known }),
    )
    expect(thrown(() => readProfile(layerOf([undefined, 1, 1, 0])))).toEqual(
      due('profile-type', { layer: 0, head: 0, got: undefined, known }),
    )
  })

  test.each([[-1], [0.5], [Number.NaN], ['30'], [[0.9, 4096]], [2 ** 22 + 1], [null]])(
    'a number %j',
    (got) => {
      expect(thrown(() => readProfile(layerOf([type, got, 800, 1])))).toEqual(
        due('profile-number', { ...number, got }),
      )
      expect(thrown(() => readProfile(layerOf([type, 30, got, 1])))).toEqual(
        due('profile-number', { ...number, name: 's', got }),
      )
    },
  )

  test('a head of the A-shape without a window', () => {
    expect(thrown(() => readProfile(layerOf(['stream_llm', 100, 0, 1])))).toEqual(
      due('profile-number', { ...number, type: 'stream_llm', name: 's', least: 1, got: 0 }),
    )
  })

  test('a score that is none', () => {
    expect(thrown(() => readProfile(layerOf([type, 30, 800, 'good'])))).toEqual(
      due('profile-score', { layer: 0, head: 0, got: 'good' }),
    )
  })

  test.each([[2], [-1], [0.5]])('layer %d', (layer) => {
    expect(thrown(() => paramsOf(profile, layer, 4))).toEqual(due('profile-layer', { layer, layers: 2 }))
  })

  test('a profile without layers', () => {
    const error = thrown(() => paramsOf([], 0, 4))
    expect(error).toEqual(due('profile-layer', { layer: 0, layers: 0 }))
    expect((error as Error).message).toBe('profile: there is no layer 0; it is empty')
  })

  test('a model of other heads', () => {
    expect(thrown(() => paramsOf(profile, 0, 32))).toEqual(
      due('profile-heads', { layer: 0, expected: 32, got: 4 }),
    )
  })
})

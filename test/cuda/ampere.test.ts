/** The Ampere skeleton in the emulation: every way that a tile can be cut, read, masked and written, against dense f64. */

import { afterAll, describe, expect, test } from 'vitest'
import { AMPERE } from '../../codegen/cuda/ampere.ts'
import { LIST_THREADS } from '../../codegen/cuda/list.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { causal as causalPattern } from '../../patterns/index.ts'
import { compiled } from '../helpers.ts'
import { A_SHAPE, CAUSAL, FULL, sectionText, type Section } from './pattern-sections.ts'
import { runSkeleton, type Case, type Meaning } from './skeleton-run.ts'

const driver = await openEmulation()
afterAll(() => driver.release())

const traits = { scored: false, plan: compiled(causalPattern).plan, list: null, sets: null }
const shapesOf = (headDim: number, valueDim: number) =>
  AMPERE.shapes({ headDim, valueDim, dtype: 'bf16', traits })
const padded = (dim: number) => AMPERE.headDims.find((d) => dim <= d)!

interface Options {
  readonly dtype?: CudaDtype
  /** Which row of the shape table. */
  readonly row?: number
  readonly section?: Section
  readonly meaning?: Meaning
}

const causal: Meaning = { keeps: (q, kv) => kv <= q }

async function expectRight(given: Partial<Case>, options: Options = {}): Promise<void> {
  const { dtype = 'bf16', row = 0, section = CAUSAL, meaning = causal } = options
  const full: Case = {
    batch: 1,
    qHeads: 1,
    kvHeads: 1,
    qRows: 70,
    kvRows: 70,
    headDim: 64,
    valueDim: 64,
    ...given,
  }
  const [headDim, valueDim] = [padded(full.headDim), padded(full.valueDim)]
  const shape = shapesOf(headDim, valueDim)[row]!
  const listed = section.listed ? { threads: LIST_THREADS, sharedBytes: 128 } : null
  const outcome = await runSkeleton(
    {
      driver,
      kernel: {
        dtype, headDim, valueDim, shape, section: sectionText(section),
        texts: [...AMPERE.texts, ...(listed ? ['list.cuh'] : [])],
      },
      ...(listed && { list: listed }),
      sharedBytes: shape.sharedBytes,
    },
    full,
    meaning,
  ) // oxfmt-ignore
  expect(outcome.wrong).toEqual([])
  expect(outcome.out).toBeLessThanOrEqual(1)
  expect(outcome.lse).toBeLessThanOrEqual(1)
}

const aShape = (window: number, sinkTokens: number) => ({
  values: [window, sinkTokens],
  section: A_SHAPE,
  meaning: { keeps: (q: number, kv: number) => kv <= q && (q - kv < window || kv < sinkTokens) },
})
const everything: Meaning = { keeps: () => true }

describe('shapes of the table', () => {
  test.each(AMPERE.headDims.flatMap((d) => shapesOf(d, d).map((s) => [d, s] as const)))(
    'head dim %i, %o',
    (d, { tile, threads, sharedBytes, constants }) => {
      const known = Number(constants.KNOWN_BYTES)
      const buffers = Number(constants.STAGES) * tile.kv * 2 * d
      expect(sharedBytes).toBe(2 * (tile.q * d + buffers) + known + 16 * tile.q)
      expect(tile.q % (threads / 2)).toBe(0)
      expect(sharedBytes).toBeLessThanOrEqual(163 * 1024)
    },
  ) // oxfmt-ignore

  test('the first ones fit every supported device', () => {
    for (const headDim of AMPERE.headDims)
      for (const valueDim of AMPERE.headDims)
        expect(shapesOf(headDim, valueDim)[0]!.sharedBytes).toBeLessThanOrEqual(99 * 1024)
  })
})

describe('head dims', () => {
  test.each([
    [64, 'bf16', { headDim: 64, valueDim: 64, qRows: 130, kvRows: 150 }],
    [64, 'f16', { headDim: 64, valueDim: 64, qRows: 40, kvRows: 300 }],
    [96, 'f16', { headDim: 96, valueDim: 96, qRows: 20, kvRows: 140 }],
    [128, 'bf16', { headDim: 128, valueDim: 128, qRows: 130, kvRows: 150 }],
    [192, 'bf16', { headDim: 192, valueDim: 128, qRows: 30, kvRows: 70 }],
    [256, 'f16', { headDim: 256, valueDim: 256, qRows: 70, kvRows: 80 }],
    [64, 'f16', { headDim: 60, valueDim: 128, qRows: 70, kvRows: 130 }],
  ] as const)('%i, %s', (_, dtype, given) => expectRight(given, { dtype }))

  test.each([
    [1, 1],
    [8, 9],
    [9, 8],
    [40, 64],
    [63, 17],
  ])('%i and value dim %i, padded to 64', (headDim, valueDim) =>
    expectRight({ headDim, valueDim, qRows: 33, kvRows: 45 }),
  )

  test('72 and 100, padded to 96 and 128', async () => {
    await expectRight({ headDim: 72, valueDim: 72, qRows: 20, kvRows: 80 }, { dtype: 'f16' })
    await expectRight({ headDim: 100, valueDim: 100, qRows: 20, kvRows: 80 })
  })
})

describe('sizes', () => {
  test.each([
    [1, 1],
    [1, 200],
    [127, 127],
    [128, 128],
    [129, 129],
    [129, 257],
  ])('%i query rows, %i keys', (qRows, kvRows) => expectRight({ qRows, kvRows }))

  test('batches and groups of heads', () =>
    expectRight({ batch: 2, qHeads: 6, kvHeads: 2, qRows: 17, kvRows: 33, headDim: 16, valueDim: 16 }))

  test.each([
    ['aligned', [8, 16]],
    ['odd', [1, 2]],
  ] as const)('rows with %s gaps', (_, pad) =>
    expectRight({ pad, batch: 2, qHeads: 2, qRows: 40, kvRows: 50, headDim: 24, valueDim: 32 }),
  )

  test('lengths: rows outside are empty, keys outside are NaN', () =>
    expectRight({
      batch: 5,
      qHeads: 2,
      qRows: 140,
      kvRows: 150,
      headDim: 16,
      valueDim: 24,
      lengths: [
        [0, 10, 140, 0, 150],
        [3, 20, 5, 7, 25],
        [130, 0, 3, 9, 40],
        [0, 0, 0, 0, 150],
        [10, -5, 20, 1, 0],
      ],
    }))

  test.each([0, -0.25, 3])('scale %f', (scale) =>
    expectRight({ scale, qRows: 33, kvRows: 45, headDim: 16, valueDim: 16 }),
  )
})

describe('masks', () => {
  test('tiles that are skipped, full and partial, with a ring of two', async () => {
    const { values, ...options } = aShape(70, 5)
    await expectRight({ values, qRows: 150, kvRows: 420, headDim: 32 }, { ...options, row: 1, dtype: 'f16' })
    await expectRight({ values, qRows: 20, kvRows: 64 }, { ...options, row: 1, dtype: 'f16' })
  })

  test('a mask that is too long to unroll', async () => {
    const { values, section, meaning } = aShape(50, 3)
    await expectRight({ values, qRows: 90, kvRows: 200, headDim: 32 }, { section: { ...section, cheap: false }, meaning, row: 3 })
  })

  test('none: only the edge is partial', async () => {
    const options: Options = { section: FULL, meaning: everything, row: 3, dtype: 'f16' }
    await expectRight({ qRows: 70, kvRows: 64, headDim: 32 }, options)
    await expectRight({ qRows: 5, kvRows: 130, headDim: 32 }, options)
  })

  test('a list of tiles', async () => {
    // Every third block of 16 keys, and row 40 nothing at all.
    const meaning: Meaning = { keeps: (q, kv) => kv <= q && Math.floor(kv / 16) % 7 === 0 && q !== 40 }
    const section: Section = { ...CAUSAL, listed: true, keeps: 'kv <= q && kv / 16 % 7 == 0 && q != 40', dropped: [['0', 'p.kvLen - 1']] }
    const options: Options = { section, meaning, row: 3 }
    await expectRight({ qRows: 100, kvRows: 1100, headDim: 16 }, options)
    await expectRight({ batch: 2, qHeads: 2, qRows: 41, kvRows: 41, headDim: 16, lengths: [[0, 0, 41, 0, 41], [4, 300, 20, 2, 30]] }, options)
  })
}) // oxfmt-ignore

describe('score and sink', () => {
  test('every logit is changed, and the denominator has one more', async () => {
    const section: Section = {
      ...CAUSAL,
      score: '5.0f * tanhf(s / 5.0f) - 0.1f * (float)(p.head + 1) * (float)(q - kv)',
      sink: '(float)p.head - 1.0f',
    }
    const meaning: Meaning = {
      keeps: (q, kv) => kv <= q && q !== 3,
      score: (s, q, kv, head) => 5 * Math.tanh(s / 5) - 0.1 * (head + 1) * (q - kv),
      sink: (head) => head - 1,
    }
    const empty = { ...section, keeps: 'kv <= q && q != 3', dropped: [['0', 'p.kvLen - 1']] as const }
    await expectRight({ qHeads: 2, qRows: 70, kvRows: 70, headDim: 16 }, { section: empty, meaning, row: 3 })
  })
})

describe('order of warps', () => {
  test('nothing depends on it', async () => {
    const { values, ...options } = aShape(70, 5)
    for (const order of [1, 2, 3]) {
      driver.setOrder(order)
      await expectRight(
        { values, qRows: 150, kvRows: 420, headDim: 32 },
        { ...options, row: 1, dtype: 'f16' },
      )
      await expectRight({ qRows: 129, kvRows: 257 })
    }
    driver.setOrder(0)
  })
})

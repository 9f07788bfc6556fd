/** The decode skeleton on the emulation: every way its keys, rows and heads may lie, against attention in f64. */

import { afterAll, describe, expect, test } from 'vitest'
import { DECODE } from '../../codegen/cuda/decode.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { evaluateJson } from '../../runtime/derived.ts'
import { plain16, reference } from '../../runtime/reference.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { Draw, seededRandom } from '../../runtime/testing/draw.ts'
import {
  loadDecode,
  runDecode,
  type DecodeCase,
  type DecodeKernel,
  type DecodeResult,
  type KernelChoice,
} from './decode-case.ts'
import { PATTERNS } from './decode-patterns.ts'

const driver = await openEmulation()
afterAll(() => driver.release())

const SMALL: DecodeCase = {
  batch: 1,
  kvHeads: 1,
  group: 4,
  qRows: 1,
  kvRows: 200,
  headDim: 64,
  valueDim: 64,
  splits: 1,
  layout: 'bhld',
  pages: null,
  aligned: true,
  seed: 1,
}

function check(kernel: DecodeKernel, c: DecodeCase): DecodeResult {
  const got = runDecode(driver, kernel, c)
  const { pattern } = kernel.choice.subject
  const oracle = reference(pattern, got.call)
  const { difference } = compareWithOracle(pattern, got.call, got, oracle, plain16(pattern, got.call))
  expect(difference, JSON.stringify(c)).toBeNull()
  expect(got.counter).toBe(0)
  expect(got.bankConflicts).toBe(0)
  return got
}

/** Lengths of a batch entry that fit the tensors: padding before and after, and no keys or no queries at all. */
function drawLengths(d: Draw, qRows: number, kvRows: number) {
  const kvLen = d.oneIn(6) ? 0 : d.int(0, kvRows)
  const kvStart = d.int(0, kvRows - kvLen)
  const qLen = d.oneIn(6) ? 0 : d.int(1, qRows)
  const qRow = d.int(0, qRows - qLen)
  return { qRow, qLen, kvStart, kvLen, qStart: d.int(0, kvLen + 20) }
}

function drawDecode(d: Draw, { headDim, valueDim }: KernelChoice, seed: number): DecodeCase {
  const group = d.pick([1, 4, 8, 24])
  const qRows = d.pick(group === 24 ? [1, 2, 7] : [1, 2, 7, 16])
  const kvRows = Math.max(qRows, d.pick([64, 1, 63, 65, 200, 333]))
  const batch = d.int(1, 2)
  const own = headDim === valueDim
  const dim = d.pick([headDim, headDim, headDim - 24, headDim - 31])
  return {
    batch,
    kvHeads: d.int(1, 2),
    group,
    qRows,
    kvRows,
    headDim: dim,
    valueDim: own && d.oneIn(2) ? dim : d.pick([valueDim, valueDim - 8, valueDim - 27]),
    splits: d.pick([1, 2, 5]),
    layout: d.pick(['bhld', 'blhd']),
    pages: d.oneIn(2) ? { size: d.pick([16, 1, 17, 64]), order: d.pick(['nhd', 'hnd']) } : null,
    aligned: !d.oneIn(4),
    ...(d.oneIn(2) ? { lengths: d.list(batch, () => drawLengths(d, qRows, kvRows)) } : {}),
    ...(d.oneIn(4) ? { scale: d.pick([1, -0.25]) } : {}),
    seed,
  }
}

const CHOICES: readonly (readonly [choice: KernelChoice, cases: number])[] = [
  [{ subject: PATTERNS.aShape, headDim: 64, valueDim: 64, dtype: 'bf16' }, 24],
  [{ subject: PATTERNS.causal, headDim: 128, valueDim: 128, dtype: 'f16' }, 24],
  [{ subject: PATTERNS.full, headDim: 96, valueDim: 96, dtype: 'f16' }, 12],
  [{ subject: PATTERNS.aShape, headDim: 192, valueDim: 128, dtype: 'bf16' }, 12],
  [{ subject: PATTERNS.causal, headDim: 192, valueDim: 192, dtype: 'bf16', shape: 1 }, 8],
  [{ subject: PATTERNS.causal, headDim: 256, valueDim: 256, dtype: 'bf16' }, 8],
  [{ subject: PATTERNS.scored, headDim: 64, valueDim: 64, dtype: 'bf16' }, 16],
  [{ subject: PATTERNS.distant, headDim: 64, valueDim: 64, dtype: 'f16', shape: 1 }, 16],
  [{ subject: PATTERNS.headWindow, headDim: 64, valueDim: 64, dtype: 'bf16' }, 16],
  [{ subject: PATTERNS.tested, headDim: 64, valueDim: 64, dtype: 'f16' }, 16],
  [{ subject: PATTERNS.listed, headDim: 64, valueDim: 64, dtype: 'bf16' }, 16],
]

describe('the decode skeleton, at most twice the error of plain attention', () => {
  test.each(CHOICES.map(([choice, cases]) => [nameOf(choice), choice, cases] as const))(
    '%s',
    async (_, choice, cases) => {
      const kernel = await loadDecode(driver, choice)
      const seeds = seededRandom(cases)
      for (let i = 0; i < cases; i++) {
        const seed = Math.floor(seeds() * 2 ** 31)
        driver.setOrder(i % 3)
        check(kernel, drawDecode(Draw.fromSeed(seed), choice, seed))
      }
      driver.setOrder(0)
    },
  )
})

function nameOf({ subject, headDim, valueDim, dtype, shape = 0 }: KernelChoice): string {
  return `${subject.pattern.name}, ${headDim}x${valueDim} ${dtype}, shape ${shape}`
}

describe('rows and keys of a call', () => {
  const choice: KernelChoice = { subject: PATTERNS.aShape, headDim: 64, valueDim: 64, dtype: 'bf16' }

  test.each([1, 2, 7, 16].flatMap((qRows) => [1, 4, 8, 24].map((group) => [qRows, group] as const)))(
    '%i query rows, %i heads to a kv head, in one and in five parts',
    async (qRows, group) => {
      const kernel = await loadDecode(driver, choice)
      for (const splits of [1, 5]) check(kernel, { ...SMALL, qRows, group, splits, kvHeads: 2, kvRows: 150 })
    },
  )

  test.each(
    [1, 16, 17, 64].flatMap((size) => (['nhd', 'hnd'] as const).map((order) => [size, order] as const)),
  )('pages of %i tokens, %s, in a shuffled order', async (size, order) => {
    const kernel = await loadDecode(driver, choice)
    const lengths = [{ kvStart: 5, kvLen: 140 }, { kvLen: 77 }]
    for (const aligned of [true, false])
      check(kernel, { ...SMALL, batch: 2, kvHeads: 2, pages: { size, order }, lengths, aligned, splits: 2 })
  })

  test('parts differ from the whole by rounding alone, and empty ones change nothing', async () => {
    const kernel = await loadDecode(driver, choice)
    const whole = check(kernel, { ...SMALL, kvRows: 700 })
    for (const splits of [2, 5, 128]) {
      const got = check(kernel, { ...SMALL, kvRows: 700, splits })
      got.lse.data.forEach((x, i) => expect(x).toBeCloseTo(whole.lse.data[i]!, 5))
    }
  })

  test.each([1, 3])('no keys, no queries and rows of padding, in %i parts', async (splits) => {
    const kernel = await loadDecode(driver, choice)
    const lengths = [{ kvLen: 0 }, { qLen: 0 }, { qRow: 1, qLen: 2, kvLen: 60 }]
    const { out, lse } = check(kernel, { ...SMALL, batch: 3, qRows: 4, lengths, splits })
    const rows = 4 * 4
    expect([...lse.data.subarray(0, 2 * rows)].every((x) => x === -Infinity)).toBe(true)
    expect([...out.data.slice(0, 2 * rows * 64)].every((x) => x === 0)).toBe(true)
    expect([...lse.data.subarray(2 * rows, 2 * rows + 4)].map(Number.isFinite)).toEqual([
      false,
      true,
      true,
      false,
    ])
  })

  test.each([1, 2])(
    'rows that attend nothing have the sink logit for their LSE, in %i parts',
    async (splits) => {
      const kernel = await loadDecode(driver, { ...choice, subject: PATTERNS.distant })
      const { out, lse } = check(kernel, { ...SMALL, qRows: 2, kvRows: 71, splits })
      // The first row is the token 69, whose reach ends before the first key.
      for (let head = 0; head < 4; head++) {
        expect(lse.data[2 * head]).toBeCloseTo(head * 0.3 - 0.5, 6)
        expect([...out.data.slice(2 * head * 64, (2 * head + 1) * 64)].every((x) => x === 0)).toBe(true)
      }
    },
  )

  test('a window reads its window alone', async () => {
    const kernel = await loadDecode(driver, choice)
    const copies = (kvRows: number) => {
      check(kernel, { ...SMALL, kvRows })
      return driver.statistics!.copies
    }
    // 40 recent keys and 3 early ones: two or three tiles of 64 keys, 16 units of 16 bytes a key, whatever the length.
    expect(copies(256)).toBe(2 * 64 * 16)
    expect(copies(64 * 40)).toBe(2 * 64 * 16)
  })

  test('any order of warps and lanes', async () => {
    const kernel = await loadDecode(driver, choice)
    const many: DecodeCase = { ...SMALL, group: 8, qRows: 7, kvRows: 300, lengths: [{ qStart: 200 }] }
    const [one, more] = [SMALL, many].map((c) => check(kernel, c))
    for (const order of [1, 2, 3, 4, 5]) {
      driver.setOrder(order)
      expect(runDecode(driver, kernel, SMALL).out.data).toEqual(one!.out.data)
      expect(runDecode(driver, kernel, many).out.data).toEqual(more!.out.data)
    }
    driver.setOrder(0)
  })
})

describe('page numbers out of range', () => {
  const choice: KernelChoice = {
    subject: PATTERNS.full,
    headDim: 64,
    valueDim: 64,
    dtype: 'bf16',
    debug: true,
  }
  const paged: DecodeCase = { ...SMALL, batch: 2, pages: { size: 16, order: 'nhd' }, kvRows: 100 }

  test.each([-1, 22, 2 ** 30])('%i is told by a debug build, and not read', async (bad) => {
    const kernel = await loadDecode(driver, choice)
    const spoil = (pages: Int32Array) => {
      pages[9] = bad
    }
    expect(runDecode(driver, kernel, { ...paged, spoil }).counter).toBe(1 + 9)
  })

  test('a debug build says nothing of entries that no key needs', async () => {
    const kernel = await loadDecode(driver, choice)
    const lengths = [{ kvStart: 16, kvLen: 40 }, { kvLen: 33 }]
    const spoil = (pages: Int32Array) => {
      pages[0] = pages[6] = pages[13] = -7
    }
    check(kernel, { ...paged, lengths, spoil })
  })
})

describe('launches', () => {
  const rule = (e: Parameters<typeof evaluateJson>[0], vars: Record<string, number>) =>
    evaluateJson(e, { vars, param: () => Number.NaN })
  const call = {
    batch: 1,
    qHeads: 32,
    kvHeads: 8,
    group: 4,
    qRows: 1,
    kvRows: 131072,
    headDim: 128,
    valueDim: 128,
    multiprocessors: 132,
  }
  const splits = (change: Partial<typeof call>) => rule(DECODE.splits!, { ...call, ...change })

  test('keys are split until the multiprocessors are full', () => {
    // Short rows take two blocks a multiprocessor, long ones one.
    expect(splits({ headDim: 64 })).toBe(33)
    expect(splits({ headDim: 128 })).toBe(16)
    expect(splits({ headDim: 64, batch: 16, kvRows: 32768 })).toBe(2)
    expect(splits({ headDim: 128, batch: 16, kvRows: 32768 })).toBe(1)
    expect(splits({ batch: 64, kvRows: 32768 })).toBe(1)
    expect(splits({ qHeads: 8, kvHeads: 1, group: 8 })).toBe(128)
  })

  test('a part has four tiles at least', () => {
    expect(splits({ kvRows: 0 })).toBe(1)
    expect(splits({ kvRows: 511 })).toBe(2)
    expect(splits({ kvRows: 100 })).toBe(1)
    expect(splits({ kvRows: 2048 })).toBe(8)
  })

  test('an uneven number of blocks takes the fewest waves that are nine tenths full', () => {
    // 200 blocks on 264 places: 5 parts of each are 1000 of 4 x 264.
    expect(splits({ headDim: 64, batch: 25 })).toBe(5)
    // On 132 places, where no number of waves is, four of them: 2 parts of each.
    expect(splits({ headDim: 128, batch: 25 })).toBe(2)
  })

  test('combine has no blocks where there is one part', async () => {
    const { variant } = await loadDecode(driver, {
      subject: PATTERNS.full,
      headDim: 64,
      valueDim: 64,
      dtype: 'bf16',
    })
    const [attend, combine] = variant.entries
    const { scratch } = variant.workspace
    expect(rule(combine!.grid[0], { ...call, splits: 1 })).toBe(0)
    expect(rule(combine!.grid[0], { ...call, splits: 2 })).toBe(32)
    expect(rule(attend!.grid[0], { ...call, splits: 33 })).toBe(264)
    expect(rule(scratch, { ...call, splits: 1 })).toBe(0)
    expect(rule(scratch, { ...call, splits: 2, valueDim: 65 })).toBe(2 * 32 * (68 + 2) * 4)
  })

  test('every shape fits a block of the smallest device', () => {
    const traits = { scored: false, plan: PATTERNS.full.plan, list: null, sets: null }
    for (const headDim of DECODE.headDims)
      for (const valueDim of DECODE.headDims) {
        const shapes = DECODE.shapes({ headDim, valueDim, dtype: 'bf16', traits })
        expect(shapes.length).toBeGreaterThan(0)
        for (const s of shapes) expect(s.sharedBytes).toBeLessThanOrEqual(99 * 1024)
      }
  })
})

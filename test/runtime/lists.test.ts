/** Attention over given lists: equal to dense attention over the pairs that they hold, each counted once. */

import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { ListInfo } from '../../codegen/artifact.ts'
import { CAPABILITY_NAMES, emit } from '../../codegen/index.ts'
import type { Pattern } from '../../dsl/index.ts'
import { alibi, causal, document, full, sinkLogit } from '../../patterns/index.ts'
import { attention, reference } from '../../runtime/index.ts'
import { resolveLengths } from '../../runtime/lengths.ts'
import { resolveLists } from '../../runtime/lists.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { complaints, openNull } from '../codegen/devices.ts'
import { Bench, compiled, openTestDevice, type KernelChoice } from '../helpers.ts'
import { makeCase, within, type ListCase } from './list-cases.ts'

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

const list = (
  share: ListInfo['share'],
  q: ListInfo['q'],
  kv: ListInfo['kv'],
  order: ListInfo['order'] = 'index',
): ListInfo => ({ share, q, kv, order })

const BASE: ListCase = {
  lists: [],
  batch: 1,
  kvHeads: 2,
  group: 2,
  qLen: 70,
  kvLen: 70,
  headDim: 8,
  density: 0.3,
  seed: 1,
}

interface Extra {
  readonly tables?: Readonly<Record<string, Int32Array | Float32Array>>
}

async function difference(
  pattern: Pattern,
  c: ListCase,
  choice: KernelChoice = {},
  { tables }: Extra = {},
): Promise<string | null> {
  const kernel = bench!.kernel(compiled(pattern), { headDim: c.headDim, lists: c.lists, ...choice })
  const made = makeCase(c)
  const call = { ...made.call, ...(tables ? { tables } : {}) }
  const got = await attention(kernel, { ...call, lists: made.lists })
  return compareWithOracle(within(pattern, made.holds), call, got).difference
}

describe.skipIf(!opened)('each grain of a list', () => {
  const GRAINS: readonly ListInfo[] = [
    list('head', 64, 64),
    list('head', 1, 1),
    list('kvHead', 1, 16),
    list('request', 1, 1),
    list('head', 16, 'span'),
    list('kvHead', 128, 32),
    list('head', 2048, 1),
    list('request', 'whole', 1),
    list('kvHead', 'whole', 'span'),
    list('head', 1, 512),
    list('request', 48, 5),
    list('head', 1, 8, 'score'),
    list('head', 8, 'span', 'score'),
  ]
  test.for(GRAINS)('%o', async (info) => {
    expect(await difference(causal, { ...BASE, lists: [info] })).toBeNull()
    // A decode step, and a chunk whose first unit begins before it.
    expect(await difference(causal, { ...BASE, lists: [info], qLen: 1, kvLen: 75, seed: 2 })).toBeNull()
    expect(await difference(causal, { ...BASE, lists: [info], qLen: 33, kvLen: 100, seed: 3 })).toBeNull()
  })
})

describe.skipIf(!opened)('lists together', () => {
  test('of several grains: each pair once, the first owns it', async () => {
    const lists = [list('head', 16, 'span'), list('kvHead', 32, 16), list('request', 'whole', 1)]
    expect(await difference(causal, { ...BASE, lists, density: 0.5 })).toBeNull()
    const tokens = [list('head', 64, 64), list('head', 1, 4), list('kvHead', 1, 1, 'score')]
    expect(await difference(causal, { ...BASE, lists: tokens, density: 0.5, seed: 4 })).toBeNull()
  })

  test('with values of one and logits of nought a row counts its keys', async () => {
    const c = { ...BASE, lists: [list('kvHead', 16, 8), list('request', 'whole', 1)], density: 0.6 }
    const made = makeCase(c)
    const kernel = bench!.kernel(compiled(causal), { lists: c.lists })
    const zeros = (t: { shape: readonly number[] }) => new Float32Array(t.shape.reduce((a, b) => a * b, 1))
    const { q, k, v } = made.call
    const got = await attention(kernel, {
      q: { ...q, data: zeros(q) },
      k,
      v: { ...v, data: zeros(v).fill(1) },
      lists: made.lists,
    })
    for (let head = 0; head < 4; head++) {
      for (let row = 0; row < c.qLen; row++) {
        let kept = 0
        for (let kv = 0; kv <= row; kv++) if (made.holds(0, head, row, kv)) kept++
        expect(got.lse.data[head * c.qLen + row]).toBeCloseTo(Math.log(kept), 5)
        expect(got.out.data[(head * c.qLen + row) * 8]).toBeCloseTo(kept > 0 ? 1 : 0, 5)
      }
    }
  })

  test('under a score that reads the head, a sink, a mask with a table, and no mask', async () => {
    const lists = [list('kvHead', 1, 8)]
    const heads = { slope: Float32Array.from([0.5, 0.25, 0.125, 1]) }
    expect(await difference(alibi, { ...BASE, lists }, {}, { tables: heads })).toBeNull()
    const sink = { sink: Float32Array.from([0.5, -2, 3, -1]) }
    expect(await difference(sinkLogit, { ...BASE, lists }, {}, { tables: sink })).toBeNull()
    const ids = { docId: Int32Array.from({ length: 70 }, (_, i) => Math.floor(i / 23)) }
    expect(
      await difference(document, { ...BASE, lists: [list('head', 64, 64)] }, {}, { tables: ids }),
    ).toBeNull()
    expect(await difference(full, { ...BASE, lists })).toBeNull()
  })

  test('in every storage and shape class that this device has', async () => {
    const c = { ...BASE, lists: [list('head', 64, 64), list('kvHead', 1, 4)] }
    expect(await difference(causal, { ...c, headDim: 20 }, { capabilities: ['large'] })).toBeNull()
    expect(await difference(causal, { ...c, headDim: 59 })).toBeNull()
    expect(await difference(causal, { ...c, headDim: 16 }, { capabilities: ['subgroups'] })).toBeNull()
    expect(await difference(causal, { ...c, headDim: 16 }, { capabilities: ['decode-portable'] })).toBeNull()
  })

  test('with padding before and behind, in a batch of unequal lengths', async () => {
    const lengths = [
      { qRow: 3, qStart: 21, qLen: 30, kvStart: 5, kvLen: 51 },
      { qRow: 0, qLen: 40, kvLen: 40 },
    ]
    const c = { ...BASE, batch: 2, qLen: 45, kvLen: 60, lengths }
    for (const lists of [[list('kvHead', 1, 8)], [list('head', 16, 'span')], [list('request', 64, 64)]]) {
      expect(await difference(causal, { ...c, lists })).toBeNull()
    }
  })
})

describe.skipIf(!opened)('random lists', () => {
  test('equal dense attention over what they hold', { timeout: 300_000 }, async () => {
    const shares = fc.constantFrom('head' as const, 'kvHead' as const, 'request' as const)
    const info = fc.record({
      share: shares,
      q: fc.constantFrom(1, 2, 16, 24, 64, 'whole' as const),
      kv: fc.constantFrom(1, 3, 8, 16, 32, 64, 'span' as const),
      order: fc.constant('index' as const),
    })
    const c = fc.record({
      lists: fc.array(info, { minLength: 1, maxLength: 2 }),
      batch: fc.constantFrom(1, 2),
      kvHeads: fc.constantFrom(1, 2),
      group: fc.constantFrom(1, 2, 3),
      qLen: fc.integer({ min: 1, max: 70 }),
      past: fc.integer({ min: 0, max: 60 }),
      headDim: fc.constantFrom(4, 8),
      density: fc.constantFrom(0.1, 0.4, 0.9),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(c, async ({ past, ...rest }) => {
        expect(await difference(causal, { ...rest, kvLen: rest.qLen + past })).toBeNull()
      }),
      { numRuns: 40, seed: 7 },
    )
  })
})

describe('given lists are checked', () => {
  const info = list('kvHead', 16, 8)
  const sizes = { batch: 1, qHeads: 4, kvHeads: 2, qRows: 32, kvRows: 40, headDim: 8, valueDim: 8 }
  const lengths = resolveLengths(undefined, sizes)
  const ints = (...n: number[]) => Int32Array.from(n)
  // Queries stand at 8 to 39, so each of two kv heads has three units of them.
  const good = { counts: ints(1, 2, 0, 1, 1, 1), ids: ints(0, 1, 3, 4, 0, 2) }
  const resolve = (given: object, of: ListInfo = info) =>
    resolveLists([of], [{ ...good, ...given }], sizes, lengths)
  const error = (code: string, message: string) =>
    expect.objectContaining({ name: 'HeddleError', code, message })

  test('and laid out in one buffer', () => {
    const [words] = resolveLists([info], [good], sizes, lengths)
    expect([...words!]).toEqual([3, 0, 0, 0, 1, 2, 0, 1, 1, 1, 0, 1, 3, 3, 4, 5, 0, 1, 3, 4, 0, 2])
  })

  test.each<[string, object, string]>([
    ['list-type', { ids: [1] }, 'lists[0].ids: expected an Int32Array, got Array'],
    [
      'list-size',
      { counts: ints(1) },
      'lists[0].counts: expected [batch, sharers, query units] = [1, 2, 3], got 1 words',
    ],
    [
      'list-size',
      { starts: ints(1) },
      'lists[0].starts: expected [batch, sharers, query units] = [1, 2, 3], got 1 words',
    ],
    [
      'list-record',
      { counts: ints(1, 2, 0, 1, 1, 2) },
      'lists[0]: record 5 has 2 units from word 5 on, but there are 6 words of ids',
    ],
    [
      'list-id',
      { ids: ints(0, 1, 3, 4, 0, 5) },
      'lists[0].ids: expected numbers from 0 to 4, got 5 at word 5',
    ],
    [
      'list-order',
      { ids: ints(0, 3, 1, 4, 0, 2) },
      "lists[0]: the units of record 1 should ascend and not overlap, but 1 follows 3; sort them, or build the kernel for a list in order of 'score'",
    ],
  ])('%s %o', (code, given, message) => expect(() => resolve(given)).toThrow(error(code, message)))

  test('in order of score they may stand in any order, but once', () => {
    const loose = list('kvHead', 16, 8, 'score')
    expect(resolve({ ids: ints(0, 3, 1, 4, 0, 2) }, loose)).toHaveLength(1)
    expect(() => resolve({ ids: ints(0, 3, 3, 4, 0, 2) }, loose)).toThrow(
      error('list-order', 'lists[0]: two units of record 1 overlap, at 3'),
    )
  })

  test('as many as the kernel was built for', () => {
    expect(() => resolveLists([info], [], sizes, lengths)).toThrow(
      error('lists-count', "lists: expected one for each of the artefact's lists = 1, got 0"),
    )
  })

  test('a kernel is built for lists that can be walked', () => {
    const build =
      (...lists: ListInfo[]) =>
      () =>
        emit(compiled(causal), { target: 'wgsl', headDims: [8], dtypes: ['f32'], lists })
    expect(build(list('head', 0, 1))).toThrow(
      "a list's query unit is a whole number from 1 to 1048576 or 'whole', not 0",
    )
    expect(build(list('head', 1, 1.5))).toThrow(
      "a list's kv unit is a whole number from 1 to 1048576 or 'span', not 1.5",
    )
    expect(build(list('head', 1, 1, 'score'), list('head', 1, 1))).toThrow(
      'there is at least one list, and none but the last is in order of score',
    )
  })
})

describe('the text of every variant', () => {
  test('passes Dawn', { timeout: 180_000 }, async () => {
    const device = await openNull()
    const lists = [list('head', 64, 64), list('kvHead', 16, 'span'), list('request', 1, 4)]
    for (const [name, pattern] of [
      ['causal', causal],
      ['document', document],
      ['alibi', alibi],
    ] as const) {
      for (const some of [lists, lists.slice(1), lists.slice(0, 1), [list('kvHead', 'whole', 1)]]) {
        const { variants } = emit(compiled(pattern), {
          target: 'wgsl',
          headDims: [59],
          dtypes: ['f32', 'f16'],
          capabilities: CAPABILITY_NAMES,
          lists: some,
        })
        for (const v of variants) expect(await complaints(device, v.code), `${name} ${v.id}`).toEqual([])
      }
    }
  })
})

describe.skipIf(!opened)('lists in buffers', () => {
  test('ids that no key has are dropped', async () => {
    const { device } = opened!
    const c = {
      ...BASE,
      lists: [list('head', 'whole', 4, 'score')],
      kvHeads: 1,
      group: 1,
      qLen: 20,
      kvLen: 20,
    }
    const kernel = bench!.kernel(compiled(causal), { lists: c.lists })
    const { call } = makeCase(c)
    const usage = 0x80 | 0x08 | 0x04
    const filled = (data: Int32Array | Float32Array) => {
      const buffer = device.createBuffer({ size: data.byteLength, usage })
      device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>)
      return buffer
    }
    const [out, lse] = [20 * 8 * 4, 20 * 4].map((size) => device.createBuffer({ size, usage }))
    const wild = [-1, 3, 5, 2 ** 31 - 1, -(2 ** 31), 0, 2 ** 30]
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    const encoded = kernel.encode(pass, {
      q: filled(call.q.data as Float32Array),
      k: filled(call.k.data as Float32Array),
      v: filled(call.v.data as Float32Array),
      out: out!,
      lse: lse!,
      dtype: 'f32',
      shapes: { q: call.q.shape, k: call.k.shape, v: call.v.shape },
      lists: [filled(Int32Array.from([1, 0, 0, 0, wild.length, 0, ...wild]))],
    })
    pass.end()
    const staging = device.createBuffer({ size: 20 * 4, usage: 0x09 })
    encoder.copyBufferToBuffer(lse!, 0, staging, 0, 20 * 4)
    device.queue.submit([encoder.finish()])
    encoded.release()
    await staging.mapAsync(1)
    const got = new Float32Array(staging.getMappedRange().slice(0))
    const kept = within(causal, (_, __, ___, kv) => [0, 3].includes(Math.floor(kv / 4)))
    const want = reference(kept, call)
    expect(Math.max(...got.map((x, i) => Math.abs(x - want.lse[i]!)))).toBeLessThan(1e-5)
  })
})

/**
 * Windows, sinks, strides and blocks: what the papers say of their masks, against the patterns run pair by
 * pair.
 */

import { describe, expect, it } from 'vitest'
import {
  aShape,
  bigbird,
  blockCausal,
  dilatedWindow,
  fixed,
  globalWindow,
  grid,
  moaSpan,
  power,
  prefixLm,
  s2Shard,
  shiftedGroups,
  slidingWindow,
  streamingHeads,
  strided,
  triShape,
} from '../../patterns/index.ts'
import { keysOf, range, square } from './pairs.ts'

const union = (...sets: readonly (readonly number[])[]) => [...new Set(sets.flat())].toSorted((a, b) => a - b)

describe('sliding-window', () => {
  it('counts the query itself', () => {
    expect(keysOf(slidingWindow, square(20), { params: { window: 1 } })(0, 7)).toEqual([7])
    expect(keysOf(slidingWindow, square(20), { params: { window: 4 } })(0, 7)).toEqual([4, 5, 6, 7])
    expect(keysOf(slidingWindow, square(20), { params: { window: 4 } })(0, 2)).toEqual([0, 1, 2])
  })
})

describe('a-shape', () => {
  it('is the last `window` and the first `sinkTokens` keys, min(q + 1, window + sink) of them', () => {
    const keys = keysOf(aShape, square(40), { params: { window: 6, sinkTokens: 3 } })
    expect(keys(0, 20)).toEqual([0, 1, 2, 15, 16, 17, 18, 19, 20])
    for (const q of range(0, 40)) expect(keys(0, q).length).toBe(Math.min(q + 1, 9))
  })

  it('is causal attention when the window is the length', () => {
    const keys = keysOf(aShape, square(30), { params: { window: 30, sinkTokens: 0 } })
    for (const q of range(0, 30)) expect(keys(0, q)).toEqual(range(0, q + 1))
  })
})

describe('tri-shape', () => {
  it('adds to the a-shape dense rows at the end, also for the last chunk of a prompt', () => {
    const params = { window: 6, sinkTokens: 3, lastRows: 5 }
    const chunk = { ...square(40), qLen: 8 }
    for (const sizes of [square(40), chunk]) {
      const [tri, shape] = [keysOf(triShape, sizes, { params }), keysOf(aShape, sizes, { params })]
      for (const q of range(32, 35)) expect(tri(0, q)).toEqual(shape(0, q))
      for (const q of range(35, 40)) expect(tri(0, q)).toEqual(range(0, q + 1))
    }
  })
})

describe('streaming-heads', () => {
  it('is dense for retrieval heads and an a-shape for the others', () => {
    const params = { retrieval: [1, 0], recent: 4, sinkTokens: 2 }
    const keys = keysOf(streamingHeads, square(20, 2), { params })
    expect(keys(0, 12)).toEqual(range(0, 13))
    expect(keys(1, 12)).toEqual([0, 1, 9, 10, 11, 12])
  })
})

describe('moa-span', () => {
  // Spans worked out by hand: alpha + beta * N, clipped to 128..N, rounded up to 64.
  it.each([
    { alpha: 0, beta: 0, length: 1000, span: 128 },
    { alpha: 129, beta: 0, length: 1000, span: 192 },
    { alpha: 192, beta: 0, length: 1000, span: 192 },
    { alpha: 192.25, beta: 0, length: 1000, span: 256 },
    { alpha: -50, beta: 0.5, length: 1000, span: 512 },
    { alpha: 0, beta: 1, length: 1000, span: 1024 },
    { alpha: 4096, beta: 0, length: 640, span: 640 },
  ])('has span $span for alpha $alpha, beta $beta, length $length', ({ alpha, beta, length, span }) => {
    const keys = keysOf(moaSpan, square(length), { params: { alpha: [alpha], beta: [beta], sinkTokens: 0 } })
    expect(keys(0, length - 1).length).toBe(Math.min(span, length))
  })

  it('keeps 64 sink tokens by default and is dense where alpha is the length', () => {
    const params = { alpha: [128, 300], beta: 0 }
    const keys = keysOf(moaSpan, square(300, 2), { params })
    expect(keys(0, 250)).toEqual([...range(0, 64), ...range(123, 251)])
    expect(keys(1, 299)).toEqual(range(0, 300))
  })
})

describe('dilated-window', () => {
  it('reaches window * dilation back with window keys', () => {
    const keys = keysOf(dilatedWindow, square(100), { params: { window: 4, dilation: 7 } })
    expect(keys(0, 60)).toEqual([39, 46, 53, 60])
    expect(keys(0, 15)).toEqual([1, 8, 15])
  })
})

describe('strided', () => {
  it('is the union of the paper’s two heads: max(0, i - l)..i, and j with (i - j) mod l = 0', () => {
    const l = 7
    const keys = keysOf(strided, square(60), { params: { stride: l } })
    for (const i of range(0, 60)) {
      const recent = range(Math.max(0, i - l), i + 1)
      const summary = range(0, i + 1).filter((j) => (i - j) % l === 0)
      expect(keys(0, i)).toEqual(union(recent, summary))
    }
  })
})

describe('fixed', () => {
  it('is the union of the paper’s two heads: the same block, and the last c columns of each', () => {
    const [l, c] = [8, 2]
    const keys = keysOf(fixed, square(60), { params: { stride: l, summary: c, groups: 1 } })
    for (const i of range(0, 60)) {
      const same = range(0, i + 1).filter((j) => Math.trunc(j / l) === Math.trunc(i / l))
      const summary = range(0, i + 1).filter((j) => j % l >= l - c)
      expect(keys(0, i)).toEqual(union(same, summary))
    }
  })

  it('lets heads take turns over disjoint columns, l / c groups of which are all columns', () => {
    const keys = keysOf(fixed, square(48, 5), { params: { stride: 8, summary: 2, groups: 4 } })
    const before = range(0, 5).map((h) => keys(h, 47).filter((kv) => kv < 40))
    expect(before[0]!.every((kv) => kv % 8 >= 6)).toBe(true)
    expect(union(...before.slice(0, 4))).toEqual(range(0, 40))
    expect(before.slice(0, 4).flat().length).toBe(40)
    expect(before[4]).toEqual(before[0])
  })
})

describe('prefix-lm', () => {
  it('sees the whole prefix from inside it, and is causal after it', () => {
    const keys = keysOf(prefixLm, square(20), { params: { prefixTokens: 6 } })
    for (const q of range(0, 20)) expect(keys(0, q).length).toBe(Math.max(q + 1, 6))
  })
})

describe('block-causal', () => {
  it('sees to the end of its own block', () => {
    const keys = keysOf(blockCausal, square(20), { params: { block: 6 } })
    for (const q of range(0, 20))
      expect(keys(0, q)).toEqual(range(0, Math.min(20, Math.ceil((q + 1) / 6) * 6)))
  })
})

describe('global-window', () => {
  it('sees 2 * reach + 1 keys inside, and global rows and columns are full', () => {
    const keys = keysOf(globalWindow, square(50), { params: { reach: 4, globalTokens: 2 } })
    expect(keys(0, 20)).toEqual([0, 1, ...range(16, 25)])
    expect(keys(0, 1)).toEqual(range(0, 50))
    expect(range(0, 50).every((q) => keys(0, q).includes(0))).toBe(true)
  })
})

describe('bigbird', () => {
  const sizes = square(100, 3)
  const keys = keysOf(bigbird, sizes, { params: { block: 8, seed: 5 } })
  const blocksOf = (kvs: readonly number[]) => [...new Set(kvs.map((kv) => Math.trunc(kv / 8)))]

  it('sees whole blocks: its three, the first and the last, and at most three more', () => {
    for (const q of range(0, 100)) {
      const block = Math.trunc(q / 8)
      const blocks = blocksOf(keys(1, q))
      expect(keys(1, q).length).toBe(blocks.reduce((sum, b) => sum + (b === 12 ? 4 : 8), 0))
      const sure = union([0, 12, block, Math.max(0, block - 1), Math.min(12, block + 1)])
      expect(blocks).toEqual(expect.arrayContaining(sure))
      const isGlobal = block === 0 || block === 12
      expect(blocks.length).toBeGreaterThanOrEqual(isGlobal ? 13 : sure.length)
      expect(blocks.length).toBeLessThanOrEqual(isGlobal ? 13 : sure.length + 3)
    }
  })

  it('draws other blocks for other heads, rows and seeds, and the same ones each time', () => {
    const other = keysOf(bigbird, sizes, { params: { block: 8, seed: 6 } })
    const rows = (of: (head: number, q: number) => number[], head: number) =>
      range(2, 11).map((b) => blocksOf(of(head, b * 8)))
    expect(rows(keys, 0)).not.toEqual(rows(keys, 1))
    expect(rows(keys, 0)).not.toEqual(rows(other, 0))
    expect(rows(keys, 0)).toEqual(rows(keysOf(bigbird, sizes, { params: { block: 8, seed: 5 } }), 0))
  })
})

describe('s2-shard', () => {
  const params = { block: 4, local: 2, stride: 8, offset: 3, spread: 1, denseHeads: 0 }
  const sizes = { qLen: 160, kvLen: 160, heads: 4, kvHeads: 4, batch: 1 }
  const distant = (of: (h: number, q: number) => number[], h: number) =>
    [...new Set(of(h, 159).map((kv) => Math.trunc(kv / 4)))].filter((j) => j < 38)

  it('keeps of the distant blocks J those with (J + u * step + offset) mod V = 0, step = V / H', () => {
    const keys = keysOf(s2Shard, sizes, { params })
    for (const u of range(0, 4))
      expect(distant(keys, u)).toEqual(range(0, 38).filter((j) => (j + u * 2 + 3) % 8 === 0))
    expect(keys(2, 159).filter((kv) => kv >= 152)).toEqual(range(152, 160))
  })

  it('sees every block with some head when there are V heads', () => {
    const eight = { ...sizes, heads: 8, kvHeads: 8 }
    const keys = keysOf(s2Shard, eight, { params })
    expect(union(...range(0, 8).map((h) => distant(keys, h)))).toEqual(range(0, 38))
  })

  it('shares between the query heads of a group, goes dense in the last kv heads, and spreads on request only', () => {
    const grouped = { ...sizes, heads: 8, kvHeads: 4 }
    const keys = keysOf(s2Shard, grouped, { params: { ...params, denseHeads: 1 } })
    for (const u of range(0, 4)) expect(keys(2 * u, 120)).toEqual(keys(2 * u + 1, 120))
    expect(keys(7, 120)).toEqual(range(0, 121))
    expect(keys(5, 120).length).toBeLessThan(60)
    const same = keysOf(s2Shard, sizes, { params: { ...params, spread: 0 } })
    expect(distant(same, 3)).toEqual(distant(same, 0))
  })

  it('is causal attention for V = 1', () => {
    const keys = keysOf(s2Shard, sizes, { params: { ...params, stride: 1 } })
    expect(keys(1, 100)).toEqual(range(0, 101))
  })
})

describe('power', () => {
  const params = { block: 4, window: 1, sinkTokens: 0 }

  it('keeps block distances d with d & (d - 1) = 0', () => {
    const keys = keysOf(power, square(140), { params })
    const distances = [...new Set(keys(0, 139).map((kv) => 34 - Math.trunc(kv / 4)))]
    expect(distances.toSorted((a, b) => a - b)).toEqual(range(0, 35).filter((d) => (d & (d - 1)) === 0))
  })

  it('reaches 2^n blocks back in n layers and the whole past in log2 of its blocks', () => {
    const keys = keysOf(power, square(256), { params })
    let reached = new Set([255])
    for (const layer of range(1, 7)) {
      reached = new Set([...reached].flatMap((q) => keys(0, q)))
      const near = range(Math.max(0, 252 - 4 * (2 ** layer - 1)), 256)
      expect(near.filter((kv) => !reached.has(kv))).toEqual([])
    }
    expect(reached.size).toBe(256)
  })
})

describe('shifted-groups', () => {
  it('has groups for the first half of the heads, and 0, G/2, 3G/2, .. for the second', () => {
    const keys = keysOf(shiftedGroups, square(100, 4), { params: { group: 24 } })
    const starts = (head: number) => range(0, 100).filter((q) => keys(head, q)[0] === q)
    expect([0, 1].map(starts)).toEqual([
      [0, 24, 48, 72, 96],
      [0, 24, 48, 72, 96],
    ])
    expect([2, 3].map(starts)).toEqual([
      [0, 12, 36, 60, 84],
      [0, 12, 36, 60, 84],
    ])
    for (const head of [0, 3]) {
      for (const q of range(0, 100))
        expect(keys(head, q)).toEqual(
          range(
            starts(head).findLast((s) => s <= q)!,
            q + 1,
          ),
        )
    }
  })
})

describe('grid', () => {
  it('has full rows and columns at phase, phase + stride, .., and a band', () => {
    const params = { stride: [10, 6], phase: [3, 0], window: 4 }
    const keys = keysOf(grid, square(60, 2), { params })
    expect(keys(0, 43)).toEqual(range(0, 44))
    expect(keys(0, 41)).toEqual([3, 13, 23, 33, 38, 39, 40, 41])
    expect(keys(1, 36)).toEqual(range(0, 37))
    expect(keys(1, 17)).toEqual([0, 6, 12, 14, 15, 16, 17])
  })
})

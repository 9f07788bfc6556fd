/**
 * Images, video, documents and modalities: what the papers say of their masks, against the patterns run pair
 * by pair.
 */

import { describe, expect, it } from 'vitest'
import {
  DENSE,
  document,
  documentStarts,
  EXAMPLES,
  exampleTables,
  LOCAL,
  modality,
  neighborhood1d,
  neighborhood2d,
  NONE,
  slidingTile3d,
  STRIDED,
} from '../../patterns/index.ts'
import { keeps, keysOf, range, square } from './pairs.ts'

/**
 * NATTEN's own statement, stride 1: within a dilation group of n' points the centre is clamped to
 * [floor(k/2), n' - 1 - (floor(k/2) + k mod 2 - 1)], and y' runs from centre - floor(k/2), k points.
 */
function nattenKeys(x: number, n: number, k: number, dilation: number): number[] {
  const group = range(0, n).filter((y) => y % dilation === x % dilation)
  const [half, odd] = [Math.trunc(k / 2), k % 2]
  const last = group.length - 1 - (half + odd - 1)
  const centre = Math.max(half, Math.min(group.indexOf(x), last))
  return group.slice(centre - half, centre + half + odd)
}

describe('neighborhood-1d', () => {
  it.each([
    { n: 50, k: 7, dilation: 1 },
    { n: 50, k: 8, dilation: 1 },
    { n: 50, k: 1, dilation: 1 },
    { n: 50, k: 50, dilation: 1 },
    { n: 50, k: 7, dilation: 3 },
    { n: 51, k: 6, dilation: 4 },
    { n: 49, k: 5, dilation: 7 },
  ])('keeps exactly the $k keys that NATTEN keeps of $n, dilation $dilation', ({ n, k, dilation }) => {
    const keys = keysOf(neighborhood1d, square(n), { params: { window: k }, consts: { dilation } })
    for (const q of range(0, n)) {
      expect(keys(0, q)).toEqual(nattenKeys(q, n, k, dilation))
      expect(keys(0, q).length).toBe(k)
    }
  })

  it('keeps all keys where the window is longer than the line', () => {
    const keys = keysOf(neighborhood1d, square(9), { params: { window: 20 } })
    for (const q of range(0, 9)) expect(keys(0, q)).toEqual(range(0, 9))
  })
})

describe('neighborhood-2d', () => {
  it.each([
    { windowHeight: 3, windowWidth: 5, dilationHeight: 1, dilationWidth: 1 },
    { windowHeight: 2, windowWidth: 4, dilationHeight: 1, dilationWidth: 1 },
    { windowHeight: 3, windowWidth: 2, dilationHeight: 2, dilationWidth: 3 },
  ])('is the product of its axes: %o', ({ windowHeight, windowWidth, ...consts }) => {
    const [height, width] = [7, 9]
    const params = { height, width, windowHeight, windowWidth }
    const keys = keysOf(neighborhood2d, square(height * width + 5), { params, consts })
    for (const q of range(0, height * width)) {
      const rows = nattenKeys(Math.trunc(q / width), height, windowHeight, consts.dilationHeight)
      const columns = nattenKeys(q % width, width, windowWidth, consts.dilationWidth)
      expect(keys(0, q)).toEqual(rows.flatMap((y) => columns.map((x) => y * width + x)))
      expect(keys(0, q).length).toBe(windowHeight * windowWidth)
    }
    for (const q of range(height * width, height * width + 5)) expect(keys(0, q)).toEqual([])
  })
})

describe('sliding-tile-3d', () => {
  const canvas = { tilesT: 4, tilesH: 3, tilesW: 5, tileTokens: 2 }
  const tokens = 4 * 3 * 5 * 2

  it('keeps whole tiles within half a window of the clamped centre, on each axis', () => {
    const params = { ...canvas, windowT: [3, 1], windowH: [1, 3], windowW: [3, 5] }
    const keys = keysOf(slidingTile3d, square(tokens, 2), { params })
    const axes = (token: number) => {
      const tile = Math.trunc(token / 2)
      return [Math.trunc(tile / 15), Math.trunc(tile / 5) % 3, tile % 5]
    }
    for (const head of [0, 1]) {
      const window = [params.windowT[head]!, params.windowH[head]!, params.windowW[head]!]
      for (const q of range(0, tokens)) {
        const near = range(0, tokens).filter((kv) =>
          axes(kv).every((y, axis) => {
            const [half, size] = [(window[axis]! - 1) / 2, [4, 3, 5][axis]!]
            const centre = Math.min(Math.max(axes(q)[axis]!, half), size - 1 - half)
            return Math.abs(y - centre) <= half
          }),
        )
        expect(keys(head, q)).toEqual(near)
        expect(keys(head, q).length).toBe(2 * window[0]! * window[1]! * window[2]!)
      }
    }
  })

  it('is dense for text on either side, and where the window is the canvas', () => {
    const small = { ...canvas, windowT: 1, windowH: 1, windowW: 1 }
    const keys = keysOf(slidingTile3d, square(tokens + 6), { params: small })
    expect(keys(0, 9)).toEqual([8, 9, ...range(tokens, tokens + 6)])
    expect(keys(0, tokens + 2)).toEqual(range(0, tokens + 6))
    const whole = keysOf(slidingTile3d, square(tokens), {
      params: { ...canvas, windowT: 4, windowH: 3, windowW: 5 },
    })
    for (const q of [0, 61, tokens - 1]) expect(whole(0, q)).toEqual(range(0, tokens))
  })
})

describe('document and document-starts', () => {
  const sizes = { ...square(60), batch: 2 }
  const tables = exampleTables('document-starts', { batch: 2, qHeads: 1, kvHeads: 1, qLen: 60, kvLen: 60 }, 3)

  it('agree on contiguous documents', () => {
    const byStart = keeps(documentStarts, sizes, { tables })
    const byId = keeps(document, sizes, {
      tables: { docId: tables['docStart']!.map((start) => start * 7 + 1) },
    })
    for (const batch of [0, 1]) {
      const docs = new Set(range(0, 60).map((q) => tables['docStart']![batch * 60 + q]))
      const pairs = range(0, 3600).filter((i) => byStart(0, Math.trunc(i / 60), i % 60, batch))
      expect(pairs).toEqual(range(0, 3600).filter((i) => byId(0, Math.trunc(i / 60), i % 60, batch)))
      expect(docs.size).toBeGreaterThan(1)
      const alone = range(0, 60).filter((q) => !byStart(0, q, q - 1, batch))
      expect(alone.length).toBe(docs.size)
    }
  })

  it('join the pieces of a document that another one interrupts', () => {
    const docId = [5, 5, -2, -2, 5, 5]
    expect(keysOf(document, square(6), { tables: { docId } })(0, 5)).toEqual([0, 1, 4, 5])
  })
})

describe('modality', () => {
  const params = { window: 3, sinkTokens: 2, stride: 5 }
  const classes = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 2, 2, 2, 2]
  const ruleOf = (rule: (a: number, b: number) => number) =>
    range(0, 16).map((i) => rule(Math.trunc(i / 4), i % 4))
  const keysWith = (rule: (a: number, b: number) => number) =>
    keysOf(modality, square(20), { params, tables: { modality: classes, rule: ruleOf(rule) } })

  it('is one pattern for all where all rules are equal', () => {
    expect(keysWith(() => NONE)(0, 19)).toEqual([])
    expect(keysWith(() => LOCAL)(0, 15)).toEqual([0, 1, 13, 14, 15])
    expect(keysWith(() => STRIDED)(0, 15)).toEqual([0, 1, 5, 10, 13, 14, 15])
    expect(keysWith(() => DENSE)(0, 15)).toEqual(range(0, 16))
  })

  it('asks the query’s class first, then the key’s', () => {
    const rows = keysWith((a) => (a === 1 ? DENSE : LOCAL))
    expect([rows(0, 9), rows(0, 14)]).toEqual([range(0, 10), [0, 1, 12, 13, 14]])
    const pairs = keysWith((a, b) => (a === 0 && b === 1 ? DENSE : NONE))
    expect([pairs(0, 14), pairs(0, 9)]).toEqual([range(4, 12), []])
  })

  it('has example rules in which every token sees its own class nearby', () => {
    const sizes = { batch: 1, qHeads: 6, kvHeads: 6, qLen: 9, kvLen: 9 }
    const rule = exampleTables('modality', sizes, 4)['rule']!
    for (const head of range(0, 6)) {
      for (const a of range(0, 4)) expect(rule[head * 16 + a * 5]).toBeGreaterThanOrEqual(LOCAL)
    }
    expect(EXAMPLES['modality']!.heads).toBeGreaterThan(3)
  })
})

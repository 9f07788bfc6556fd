/** Stored values that never meet share room, and those that do never overlap. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { livesOf, pack, type Life } from '../../runtime/lives.ts'

const GRANULE = 256
const lifeOf = (bytes: number, first: number, length: number): Life => ({
  bytes,
  first,
  last: first + length,
})
const life = fc
  .tuple(fc.integer({ min: 1, max: 5000 }), fc.nat({ max: 12 }), fc.nat({ max: 12 }))
  .map((args) => lifeOf(...args))
const rounded = ({ bytes }: Life): number => Math.ceil(bytes / GRANULE) * GRANULE

describe('packed values', () => {
  test('that meet do not overlap, and begin at granules', () => {
    fc.assert(
      fc.property(fc.array(life, { maxLength: 20 }), (lives) => {
        const { offsets, bytes } = pack(lives, GRANULE)
        lives.forEach((a, i) => {
          expect(offsets[i]! % GRANULE).toBe(0)
          expect(offsets[i]! + rounded(a)).toBeLessThanOrEqual(bytes)
          lives.forEach((b, j) => {
            const meet = i !== j && a.first <= b.last && b.first <= a.last
            const apart = offsets[i]! + rounded(a) <= offsets[j]! || offsets[j]! + rounded(b) <= offsets[i]!
            expect(!meet || apart).toBe(true)
          })
        })
      }),
    )
  })

  test('take no more than all together, and no less than those of any step', () => {
    fc.assert(
      fc.property(fc.array(life, { maxLength: 20 }), (lives) => {
        const { bytes } = pack(lives, GRANULE)
        const sum = (of: readonly Life[]) => of.reduce((n, l) => n + rounded(l), 0)
        expect(bytes).toBeLessThanOrEqual(sum(lives))
        for (let step = 0; step < 25; step++)
          expect(bytes).toBeGreaterThanOrEqual(sum(lives.filter((l) => l.first <= step && step <= l.last)))
      }),
    )
  })

  test('of a chain take what two neighbours do', () => {
    const chain = [lifeOf(512, 0, 1), lifeOf(512, 1, 1), lifeOf(512, 2, 1), lifeOf(256, 3, 0)]
    expect(pack(chain, GRANULE).bytes).toBe(1024)
  })
})

test('a value lives from the first step that speaks of it to the last', () => {
  expect([...livesOf([['a'], ['a', 'b'], ['c'], ['b']])]).toEqual([
    ['a', { first: 0, last: 1 }],
    ['b', { first: 1, last: 3 }],
    ['c', { first: 2, last: 2 }],
  ])
})

/** Changes of the logits: the papers' formulas against the patterns' score and sinkLogit. */

import { describe, expect, it } from 'vitest'
import { alibi, alibiSlopes, relativeBias, sinkLogit, softcap } from '../../patterns/index.ts'
import { bucketOf } from '../../patterns/relative-bias.ts'
import { range, recordOf, square } from './pairs.ts'

describe('alibi', () => {
  it('has the slopes of the paper: 1/2, 1/4, .. for 8 heads, their geometric halves for 16', () => {
    expect([...alibiSlopes(8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((h) => 2 ** -h))
    expect([...alibiSlopes(16)]).toEqual(range(1, 17).map((h) => Math.fround(2 ** (-h / 2))))
    expect([...alibiSlopes(1)]).toEqual([2 ** -8])
    expect(alibiSlopes(0).length).toBe(0)
  })

  it('fills up other numbers of heads with every other slope of the next power of two', () => {
    expect(alibiSlopes(12).slice(0, 8)).toEqual(alibiSlopes(8))
    expect(alibiSlopes(12).slice(8)).toEqual(Float32Array.from([0, 2, 4, 6], (i) => alibiSlopes(16)[i]!))
  })

  it('takes slope times distance off the logit', () => {
    const record = recordOf(alibi, square(40, 8), { tables: { slope: alibiSlopes(8) } })
    expect(alibi.score!(3, record(1, 30, 30))).toBe(3)
    expect(alibi.score!(3, record(1, 30, 18))).toBe(3 - 12 / 4)
  })
})

describe('softcap', () => {
  it('is odd, bounded by the cap and nearly the logit while that is small', () => {
    const ix = recordOf(softcap, square(4), { params: { cap: 50 } })(0, 2, 1)
    const cap = (s: number) => softcap.score!(s, ix)
    expect([cap(0), cap(1e6), cap(-1e6)]).toEqual([0, 50, -50])
    expect(cap(0.5)).toBeCloseTo(0.5, 4)
    expect(cap(-7)).toBe(-cap(7))
  })
})

/**
 * T5's _relative_position_bucket, bidirectional=False, as its code states it, in f32 as it is computed there.
 */
function t5Bucket(distance: number): number {
  const [buckets, furthest] = [32, 128]
  const exact = buckets / 2
  if (distance < exact) return distance
  const ratio = Math.fround(Math.log(Math.fround(distance / exact)))
  const part = Math.fround(Math.fround(ratio / Math.log(furthest / exact)) * (buckets - exact))
  return Math.min(buckets - 1, exact + Math.floor(part))
}

describe('relative-bias', () => {
  it('has T5’s bucket at every distance', () => {
    for (const distance of range(0, 3000))
      expect([distance, bucketOf(distance)]).toEqual([distance, t5Bucket(distance)])
  })

  it('adds the head’s bias of that bucket', () => {
    const bias = Float32Array.from({ length: 64 }, (_, i) => i)
    const record = recordOf(relativeBias, square(200, 2), { tables: { bias } })
    expect(relativeBias.score!(1000, record(1, 150, 130))).toBe(1000 + 32 + t5Bucket(20))
    expect(relativeBias.score!(0, record(0, 199, 0))).toBe(31)
  })
})

describe('sink-logit', () => {
  it('reads one logit a head, for any row', () => {
    const record = recordOf(sinkLogit, square(9, 3), { tables: { sink: [0.5, -1, 2] } })
    expect([0, 1, 2].map((head) => sinkLogit.sinkLogit!(record(head, 4, 4)))).toEqual([0.5, -1, 2])
  })
})

/** Sets: what the choosing words take, what set algebra and votes make of it, and spans. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  blocks,
  count,
  difference,
  dot,
  intersect,
  map,
  pool,
  range,
  skew,
  softmax,
  split,
  tokens,
  topK,
  topP,
  union,
  values,
  where,
  whole,
  windows,
  within,
} from '../../../dsl/index.ts'
import { perHeadScores } from '../../../dsl/stages/evaluate.ts'
import { chosen, keysOf, matrix, scoresFrom, valuesOf, vectorFrom } from '../stage-values.ts'

const line = (numbers: readonly number[]) => {
  const v = valuesOf({ qLen: 1, kvLen: numbers.length, qHeads: 1 })
  return { v, s: scoresFrom(v, 'request', [[numbers]]) }
}
const N = -Infinity

describe('topK', () => {
  it('takes the greatest, the lower index of equals', () => {
    const { s } = line([3, 5, 5, 1, 5])
    expect([0, 1, 2, 3, 4, 99, Infinity].map((k) => chosen(topK(s, k)))).toEqual([
      [],
      [1],
      [1, 2],
      [1, 2, 4],
      [0, 1, 2, 4],
      [0, 1, 2, 3, 4],
      [0, 1, 2, 3, 4],
    ])
  })

  it('never takes NaN or -Infinity by rank, takes Infinity first, and equals -0 with 0', () => {
    expect(chosen(topK(line([Number.NaN, N, 2, Infinity, Infinity]).s, 5))).toEqual([2, 3, 4])
    expect(chosen(topK(line([N, Infinity, 9, Infinity]).s, 2))).toEqual([1, 3])
    expect(chosen(topK(line([-0, 0, -0]).s, 1))).toEqual([0])
  })

  it('takes forced cells first, of the budget, and never drops them', () => {
    const { s } = line([9, 1, 8, 2, N])
    const force = ({ kv }: { kv: { index: number } }) => kv.index === 1 || kv.index === 4
    expect([0, 1, 2, 3, 4].map((k) => chosen(topK(s, k, { force })))).toEqual([
      [1, 4],
      [1, 4],
      [1, 4],
      [0, 1, 4],
      [0, 1, 2, 4],
    ])
    expect(chosen(topK(s, 1, { force, forced: 'extra' }))).toEqual([0, 1, 4])
  })

  it('never takes what is invisible, not by force either', () => {
    const { Q, K } = valuesOf({ qLen: 3, kvLen: 3, qHeads: 1 })
    const set = topK(
      map(dot(Q, K), (_, { kv }) => kv.index),
      2,
      { force: ({ kv }) => kv.index === 2 },
    )
    expect([chosen(set, 0, 0), chosen(set, 0, 1), chosen(set, 0, 2)]).toEqual([[0], [0, 1], [1, 2]])
  })

  it('takes a budget of each sharer, and of each query unit', () => {
    const v = valuesOf({ qLen: 2, kvLen: 4, qHeads: 2 })
    const s = map(dot(v.Q, v.K, { visible: 'off' }), (_, { kv }) => kv.index)
    const byHead = topK(s, perHeadScores(v.call, [1, 3]))
    expect([chosen(byHead, 0, 1), chosen(byHead, 1, 0)]).toEqual([[3], [1, 2, 3]])
    const byRow = topK(
      s,
      map(pool(s, { kv: whole }, 'sum'), (_, { head, q }) => q.index - 2 + head),
    )
    expect([0, 1].map((row) => chosen(byRow, 0, row).length)).toEqual([0, 1])
    expect([0, 1].map((row) => chosen(byRow, 1, row).length)).toEqual([1, 2])
  })

  it('shares a budget by group of keys, by spans, or over a whole head', () => {
    const { s } = line([1, 2, 3, 4, 5, 6, 7])
    expect(chosen(topK(s, 1, { per: blocks(3) }))).toEqual([2, 5, 6])
    const spans = range(tokens, () => [1, 6])
    expect(chosen(topK(s, 2, { per: split(spans, { size: 3 }) }))).toEqual([2, 3, 4, 5])
    const v = valuesOf({ qLen: 2, kvLen: 2, qHeads: 1 })
    const two = scoresFrom(v, 'request', [
      [
        [1, 5],
        [5, 4],
      ],
    ])
    const overall = topK(two, 2, { per: 'head' })
    expect([chosen(overall, 0, 0), chosen(overall, 0, 1)]).toEqual([[1], [0]])
    const third = topK(two, 3, { per: 'head' })
    expect([chosen(third, 0, 0), chosen(third, 0, 1)]).toEqual([[1], [0, 1]])
  })

  it('is what sorting says, on any numbers', () => {
    const number = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(N, Number.NaN, 0.5))
    fc.assert(
      fc.property(fc.array(number, { minLength: 1, maxLength: 12 }), fc.nat(14), fc.nat(), (xs, k, seed) => {
        const forced = xs.map((_, i) => ((seed >> i) & 7) === 1)
        const set = chosen(topK(line(xs).s, k, { force: ({ kv }) => forced[kv.index]! }))
        const free = xs
          .flatMap((x, i) => (!forced[i] && x > N ? [i] : []))
          .toSorted((a, b) => xs[b]! - xs[a]! || a - b)
        const must = xs.flatMap((_, i) => (forced[i] ? [i] : []))
        const due = [...must, ...free.slice(0, Math.max(0, k - must.length))]
        expect(set).toEqual(due.toSorted((a, b) => a - b))
      }),
    )
  })
})

describe('topP', () => {
  const s = line([2 / 16, 8 / 16, 4 / 16, 1 / 16, 1 / 16]).s

  it('takes what reaches the mass, the crossing cell in or out', () => {
    const parts = [0, 0.25, 0.5, 0.6, 0.75]
    expect(parts.map((p) => chosen(topP(s, p)))).toEqual([[], [1], [1], [1, 2], [1, 2]])
    expect(parts.map((p) => chosen(topP(s, p, { cross: 'drop' })))).toEqual([[], [], [1], [1], [1, 2]])
  })

  it('is relative to the total, and takes everything from 1 on', () => {
    const weights = line([1, 4, 2, 2, 1]).s
    expect(chosen(topP(weights, 0.5))).toEqual([1, 2])
    const thirds = line([1 / 3, 1 / 3, 1 / 3, 0]).s
    expect([1, 7].map((p) => chosen(topP(thirds, p)))).toEqual([
      [0, 1, 2, 3],
      [0, 1, 2, 3],
    ])
    expect(chosen(topP(line([0, 0]).s, 0.9))).toEqual([])
  })

  it('counts the mass of what is forced, or adds it on top', () => {
    const force = ({ kv }: { kv: { index: number } }) => kv.index === 4
    expect(chosen(topP(s, 0.5, { force }))).toEqual([1, 4])
    expect(chosen(topP(s, 1 / 16, { force }))).toEqual([4])
    // The others hold 15/16: one of them reaches half of that, two reach 0.6 of it.
    expect([0.5, 0.6].map((p) => chosen(topP(s, p, { force, forced: 'extra' })))).toEqual([
      [1, 4],
      [1, 2, 4],
    ])
  })

  it('weighs what is forced for nothing, if it is no number', () => {
    const odd = line([Number.NaN, 0.5, 0.25, N]).s
    const force = ({ kv }: { kv: { index: number } }) => kv.index % 3 === 0
    expect(chosen(topP(odd, 0.5, { force }))).toEqual([0, 1, 3])
  })

  it('lets nothing lighter slip in behind the cell that does not fit', () => {
    expect(chosen(topP(line([0.5, 0.4, 0.1]).s, 0.65, { cross: 'drop' }))).toEqual([0])
  })

  it('spends one mass over a whole head', () => {
    const v = valuesOf({ qLen: 2, kvLen: 2, qHeads: 1 })
    const p = scoresFrom(v, 'request', [
      [
        [0.9, 0.1],
        [0.5, 0.5],
      ],
    ])
    const set = topP(p, 0.6, { per: 'head' })
    expect([chosen(set, 0, 0), chosen(set, 0, 1)]).toEqual([[0], [0]])
  })
})

describe('where', () => {
  it('takes visible cells, with operands broadcast; NaN compares to nothing', () => {
    const v = valuesOf({ qLen: 2, kvLen: 3, qHeads: 1 })
    const s = map(dot(v.Q, v.K), (_, { kv }) => (kv.index === 0 ? Number.NaN : kv.index))
    const bar = vectorFrom(v, [0, 1, 2])
    const set = where(s, bar, (x, t) => x >= t)
    expect([chosen(set, 0, 0), chosen(set, 0, 1)]).toEqual([[1], [1, 2]])
    const self = where(s, (_, { q, kv }) => q.first === kv.first)
    expect([chosen(self, 0, 0), chosen(self, 0, 1)]).toEqual([[1], [2]])
  })

  it('of positions is a rule for every head', () => {
    const v = valuesOf({ qLen: 2, kvLen: 5, qHeads: 2 })
    const set = where(({ q, kv, head }) => q - kv < 2 + head && kv <= q)
    expect([keysOf(set, v, 0, 4), keysOf(set, v, 1, 3)]).toEqual([
      [3, 4],
      [1, 2, 3],
    ])
  })
})

describe('set algebra', () => {
  const v = valuesOf({ qLen: 4, kvLen: 8, qHeads: 2 })
  const order = map(dot(v.Q, pool(v.K, blocks(2), 'mean')), (_, { kv }) => kv.index)
  const last = topK(order, 2)
  const first = topK(
    map(order, (x) => -x),
    1,
  )
  const even = where(({ kv }) => kv % 2 === 0)

  it('joins, meets and subtracts sets of the same units, and counts them', () => {
    const both = union(last, first)
    expect([
      chosen(both, 0, 0),
      chosen(intersect(last, both), 0, 0),
      chosen(difference(both, last), 0, 3),
    ]).toEqual([[0, 1, 2], [1, 2], [0]])
    expect(matrix(count(both))).toEqual([[3], [3], [3], [3]])
    expect(union(last)).toBe(last)
  })

  it('does so for pairs of tokens where units differ', () => {
    expect(keysOf(union(last, even), v, 1, 7)).toEqual([0, 2, 4, 5, 6, 7])
    expect(keysOf(intersect(last, even), v, 0, 7)).toEqual([4, 6])
    expect(
      keysOf(
        difference(
          last,
          even,
          where(({ kv }) => kv === 7),
        ),
        v,
        0,
        7,
      ),
    ).toEqual([5])
  })

  it('lets a set of one cell switch another on and off', () => {
    const flag = where(perHeadScores(v.call, [1, 0]), (x) => x > 0)
    const switched = intersect(last, flag)
    expect([keysOf(switched, v, 0, 7), keysOf(switched, v, 1, 7)]).toEqual([[4, 5, 6, 7], []])
  })

  it('reads distances as diagonals', () => {
    const near = where(
      pool(skew(dot(v.Q, v.K)), { q: whole }, 'sum'),
      (_, { kv }) => kv.index === 0 || kv.index === 3,
    )
    expect([keysOf(near, v, 0, 4), keysOf(near, v, 0, 7)]).toEqual([
      [1, 4],
      [4, 7],
    ])
    const byBlock = where(
      skew(dot(pool(v.Q, blocks(2), 'mean'), pool(v.K, blocks(2), 'mean'))),
      (_, { kv }) => kv.index === 1,
    )
    expect([keysOf(byBlock, v, 0, 4), keysOf(byBlock, v, 0, 7)]).toEqual([
      [2, 3],
      [4, 5],
    ])
  })

  it('meets windows that overlap by any of them', () => {
    const s = map(dot(v.Q, pool(v.K, windows(4, 2), 'mean')), (_, { kv }) => kv.index)
    expect(keysOf(topK(s, 1), v, 0, 7)).toEqual([4, 5, 6, 7])
    expect(keysOf(topK(s, 2), v, 0, 7)).toEqual([2, 3, 4, 5, 6, 7])
  })
})

describe('votes', () => {
  const v = valuesOf({ qLen: 4, kvLen: 4, qHeads: 2, kvHeads: 1 })
  const own = where(dot(v.Q, v.K), (_, { head, q, kv }) =>
    head === 0 ? q.index === kv.index : kv.index === 0,
  )

  it('of rows and of heads are any or all of the visible ones', () => {
    const anyRow = pool(own, { q: blocks(2) }, 'any')
    expect([chosen(anyRow, 0, 0), chosen(anyRow, 0, 1), chosen(anyRow, 1, 1)]).toEqual([[0, 1], [2, 3], [0]])
    const allRows = pool(own, { q: blocks(2) }, 'all')
    // Row 0 does not see key 1, so row 1's vote for it stands.
    expect([chosen(allRows, 0, 0), chosen(allRows, 1, 0)]).toEqual([[1], [0]])
    const group = pool(own, { share: 'kvHead' }, 'any')
    expect([group.share, chosen(group, 0, 2)]).toEqual(['kvHead', [0, 2]])
    expect(chosen(pool(own, { share: 'kvHead' }, 'all'), 0, 2)).toEqual([])
    expect(chosen(pool(own, { share: 'kvHead' }, 'all'), 0, 0)).toEqual([0])
  })

  it('of keys go to coarser and to finer units', () => {
    const coarse = pool(own, { kv: blocks(2) }, 'any')
    expect([chosen(coarse, 0, 3), chosen(coarse, 1, 3)]).toEqual([[1], [0]])
    const byBlock = topK(
      map(dot(v.Q, pool(v.K, blocks(4), 'mean')), () => 1),
      1,
    )
    expect(chosen(pool(byBlock, { kv: blocks(2) }, 'any'), 0, 0)).toEqual([0, 1])
  })

  it('draw distances for blocks of queries', () => {
    const w = valuesOf({ qLen: 6, kvLen: 8, qHeads: 1 })
    const lines = where(pool(skew(dot(w.Q, w.K)), { q: whole }, 'sum'), (_, { kv }) => kv.index === 3)
    const drawn = pool(lines, { q: blocks(4) }, 'any')
    expect(drawn.kv.grain).toBe('token')
    // Queries 2 and 3 of the first block, 4 to 7 of the second.
    expect([chosen(drawn, 0, 0), chosen(drawn, 0, 1)]).toEqual([[0], [1, 2, 3, 4]])
    expect(keysOf(drawn, w, 0, 7)).toEqual([1, 2, 3, 4])
    expect(chosen(pool(lines, { q: blocks(4) }, 'all'), 0, 1)).toEqual([])
  })
})

describe('spans', () => {
  const v = valuesOf({ qLen: 4, kvLen: 10, qHeads: 1 })
  const ones = map(dot(v.Q, v.K), () => 1)
  const spans = range(blocks(2), (q) => [1, q.first])
  const lengths = (set: ReturnType<typeof split>) =>
    matrix(pool(ones, { q: blocks(2), kv: set }, 'sum', ({ q, into }) => q.first === into.q.first))

  it('are one for each query unit, of the keys that exist', () => {
    expect([keysOf(spans, v, 0, 6), keysOf(spans, v, 0, 9)]).toEqual([
      [1, 2, 3, 4, 5],
      [1, 2, 3, 4, 5, 6, 7],
    ])
    expect(
      keysOf(
        range(blocks(2), () => [-5, 99]),
        v,
        0,
        7,
      ),
    ).toHaveLength(10)
    expect(
      keysOf(
        range(blocks(2), () => [4, 4]),
        v,
        0,
        7,
      ),
    ).toEqual([])
  })

  it('split into parts of nearly equal length, or of a size', () => {
    expect(lengths(split(spans, { parts: 3 }))).toEqual([
      [1, 2, 2],
      [2, 2, 3],
    ])
    expect(lengths(split(spans, { size: 3 }))).toEqual([
      [3, 2],
      [3, 3, 1],
    ])
    // Empty parts do not exist.
    expect(lengths(split(split(spans, { size: 1 }), { parts: 2 }))).toEqual([
      [1, 1, 1, 1, 1],
      [1, 1, 1, 1, 1, 1, 1],
    ])
  })

  it('cascade: the best span, then the best of its halves', () => {
    const s = map(dot(v.Q, v.K), (_, { kv }) => (kv.index * 7) % 10)
    const halves = split(spans, { parts: 2 })
    const best = topK(pool(s, { q: blocks(2), kv: halves }, 'max'), 1)
    // Of keys 1 to 5: 7 4 | 1 8 5, and of 1 to 7: 7 4 1 | 8 5 2 9.
    expect([keysOf(best, v, 0, 6), keysOf(best, v, 0, 9)]).toEqual([
      [3, 4, 5],
      [4, 5, 6, 7],
    ])
    const finer = topK(pool(s, { q: blocks(2), kv: split(best, { parts: 2 }) }, 'max'), 1)
    expect([keysOf(finer, v, 0, 7), keysOf(finer, v, 0, 8)]).toEqual([
      [4, 5],
      [6, 7],
    ])
    expect(matrix(count(finer))).toEqual([[1], [1]])
    expect(keysOf(topK(within(softmax(s), finer), 1), v, 0, 8)).toEqual([7])
  })

  it('are a vector of positions at most', () => {
    expect(matrix(values(v.K, (t) => Number(t.first > 7)))[0]!.at(-1)).toBe(1)
  })
})

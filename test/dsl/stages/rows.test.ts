/** Groupings and the words of rows: which tokens a unit holds, and what its vector is. */

import { describe, expect, it } from 'vitest'
import {
  blocks,
  channels,
  chunks,
  clusters,
  concat,
  linear,
  map,
  pool,
  quantize,
  residues,
  rope,
  slice,
  tokens,
  whole,
  windows,
  type Grouping,
  type Rows,
} from '../../../dsl/index.ts'
import { inputRows } from '../../../dsl/stages/evaluate.ts'
import { roundEven, roundFp8 } from '../../../dsl/stages/vectors.ts'
import { tableFrom, valuesOf, type Values } from '../stage-values.ts'

/** Keys whose vectors are [position, 10 position]. */
const counting = (v: Values): Rows<'request'> =>
  inputRows(v.call, 'kv', 'request', 'token', 2, (_, row) => Float64Array.of(row, 10 * row))

const unitsOf = (x: Rows, sharer = 0) => x.units.lists[x.units.lists.length === 1 ? 0 : sharer]![0]!
const tokensOf = (x: Rows, sharer = 0): number[][] => unitsOf(x, sharer).map((u) => [...u.tokens])
const vectors = (x: Rows, sharer = 0): number[][] => x.vectors[sharer]!.map((v) => [...v])

const cutTokens = (length: number, by: Grouping) =>
  tokensOf(pool(counting(valuesOf({ qLen: 1, kvLen: length })), by, 'sum'))

describe('groupings of keys', () => {
  it('cut blocks from token 0, the last one with the tokens that exist', () => {
    expect(cutTokens(7, blocks(3))).toEqual([[0, 1, 2], [3, 4, 5], [6]])
    expect(cutTokens(6, blocks(3))).toEqual([
      [0, 1, 2],
      [3, 4, 5],
    ])
    expect(cutTokens(0, blocks(3))).toEqual([])
  })

  it('have windows only where they fit whole', () => {
    expect(cutTokens(8, windows(4, 2))).toEqual([
      [0, 1, 2, 3],
      [2, 3, 4, 5],
      [4, 5, 6, 7],
    ])
    expect(cutTokens(7, windows(4, 2))).toHaveLength(2)
    expect(cutTokens(3, windows(4, 2))).toEqual([])
    // Steps longer than the window leave tokens out.
    expect(cutTokens(7, windows(2, 5))).toEqual([
      [0, 1],
      [5, 6],
    ])
  })

  it('have a whole even of nothing', () => {
    expect(cutTokens(3, whole)).toEqual([[0, 1, 2]])
    expect(cutTokens(0, whole)).toEqual([[]])
    expect(cutTokens(2, tokens)).toEqual([[0], [1]])
  })

  it('take residues of positions', () => {
    expect(cutTokens(5, residues(3))).toEqual([[0, 3], [1, 4], [2]])
    expect(cutTokens(2, residues(3))).toEqual([[0], [1]])
  })

  it('take chunks up to their ends, none for an empty one, and leave out what lies behind the last', () => {
    expect(cutTokens(7, chunks(tableFrom([3], [3], [2, 2, 6])))).toEqual([
      [0, 1],
      [2, 3, 4, 5],
    ])
    expect(cutTokens(4, chunks(tableFrom(['batch', 2], [1, 2], [1, 9])))).toEqual([[0], [1, 2, 3]])
  })

  it('take clusters by label, each head its own, and leave negative labels out', () => {
    expect(cutTokens(5, clusters(tableFrom(['kvLen'], [5], [1, 0, 1, -1, 0])))).toEqual([
      [1, 4],
      [0, 2],
    ])
    const v = valuesOf({ qLen: 1, kvLen: 3, qHeads: 2, kvHeads: 2 })
    const labels = tableFrom(['kvHead', 'kvLen'], [2, 3], [0, 0, 1, 1, 0, 0], 'kvHead')
    const pooled = pool(v.K, clusters(labels), 'mean')
    expect([tokensOf(pooled, 0), tokensOf(pooled, 1)]).toEqual([
      [[0, 1], [2]],
      [[1, 2], [0]],
    ])
  })
})

describe('units of queries', () => {
  it('are numbered from token 0 of the sequence, the first one ragged', () => {
    const { Q } = valuesOf({ qLen: 5, kvLen: 12 })
    const units = unitsOf(pool(Q, blocks(4), 'mean'))
    expect(units.map(({ index, first, last, length }) => [index, first, last, length])).toEqual([
      [1, 7, 7, 1],
      [2, 8, 11, 4],
    ])
    expect(unitsOf(Q).map((u) => u.index)).toEqual([7, 8, 9, 10, 11])
  })
})

describe('pool of rows', () => {
  const v = valuesOf({ qLen: 1, kvLen: 5 })
  const x = counting(v)

  it.each([
    ['sum', [1, 5, 4]],
    ['mean', [1, 2.5, 4]],
    ['max', [1, 3, 4]],
    ['min', [1, 2, 4]],
  ] as const)('by %s takes the members that are there', (how, due) => {
    // Of tokens 1 to 4: what is left of block {0, 1}, then {2, 3} and {4}.
    expect(vectors(pool(slice(x, 1), blocks(2), how)).map(([a]) => a)).toEqual(due)
  })

  it('divides a mean by the members, and a sum by hand counts the padding', () => {
    const mean = pool(x, blocks(4), 'mean')
    const padded = map(pool(x, blocks(4), 'sum'), (c) => c / 4)
    expect([vectors(mean), vectors(padded)]).toEqual([
      [
        [1.5, 15],
        [4, 40],
      ],
      [
        [1.5, 15],
        [1, 10],
      ],
    ])
  })

  it('leaves out members by a filter, and is 0 where none is left', () => {
    const odd = pool(x, blocks(2), 'mean', (u) => u.first % 2 === 1)
    expect(vectors(odd)).toEqual([
      [1, 10],
      [3, 30],
      [0, 0],
    ])
  })

  it('concatenates windows, and knows the width where there is none', () => {
    expect(vectors(pool(x, windows(2, 2), 'concat'))).toEqual([
      [0, 0, 1, 10],
      [2, 20, 3, 30],
    ])
    const none = pool(x, windows(9, 1), 'concat')
    expect([none.vectors[0], none.width]).toEqual([[], 18])
  })

  it('counts a unit that straddles by its tokens in each', () => {
    // Window {2, 3, 4, 5} of six tokens lies half in block {0 .. 3} and half in {4, 5}.
    const six = counting(valuesOf({ qLen: 1, kvLen: 6 }))
    const ones = map(pool(six, windows(4, 2), 'sum'), () => 1)
    expect(vectors(pool(ones, blocks(4), 'sum')).map(([a]) => a)).toEqual([1.5, 0.5])
  })
})

describe('words of rows', () => {
  const v = valuesOf({ qLen: 4, kvLen: 6 })
  const x = counting(v)

  it('slice as Python does, and keep where units stand', () => {
    expect(tokensOf(slice(x, -2))).toEqual([[4], [5]])
    expect(tokensOf(slice(x, 1, -1, 2))).toEqual([[1], [3]])
    expect(tokensOf(slice(x, -99))).toHaveLength(6)
    expect(unitsOf(slice(v.Q, -1)).map((u) => [u.index, u.first])).toEqual([[5, 5]])
  })

  it('concatenate channels', () => {
    const both = concat(
      x,
      map(x, (a) => -a),
    )
    expect([vectors(both)[2], both.width]).toEqual([[2, 20, -2, -20], 4])
  })

  it('pick channels, by a table of each query head for rows of kv heads', () => {
    const { call, K } = valuesOf({ qLen: 1, kvLen: 2, qHeads: 4, kvHeads: 2 })
    const index = tableFrom(['head', 1], [4, 1], [0, 1, 2, 3], 'head')
    const picked = channels(K, index)
    expect([picked.share, picked.width]).toEqual(['head', 1])
    // Query heads 0 and 1 read kv head 0, heads 2 and 3 kv head 1: h // G.
    expect([0, 1, 2, 3].map((h) => vectors(picked, h)[1]![0])).toEqual(
      [0, 1, 2, 3].map((h) => K.vectors[Math.floor(h / 2)]![1]![h]),
    )
    expect(call.kvHeads).toBe(2)
  })

  it('map linearly, with a weight in one part or by members', () => {
    const weight = tableFrom([2, 3], [2, 3], [1, 2, 3, 4, 5, 6])
    const bias = tableFrom([3], [3], [100, 200, 300])
    expect(vectors(linear(x, weight, bias))[1]).toEqual([1 + 40 + 100, 2 + 50 + 200, 3 + 60 + 300])
    const pairs = pool(x, windows(2, 2), 'concat')
    const flat = tableFrom([4, 1], [4, 1], [1, 2, 3, 4])
    const parts = tableFrom([2, 2, 1], [2, 2, 1], [1, 2, 3, 4])
    expect(vectors(linear(pairs, parts))).toEqual(vectors(linear(pairs, flat)))
    expect(vectors(linear(pairs, flat))[1]).toEqual([2 + 40 + 9 + 120])
  })

  it('map by channel, and with a row for all', () => {
    expect(vectors(map(x, (a, c) => a + c))[3]).toEqual([3, 31])
    const mean = pool(x, whole, 'mean')
    expect(vectors(map(x, mean, (a, m) => a - m))[0]).toEqual([-2.5, -25])
  })

  it('turn pairs by position, halves or neighbours, and some channels alone', () => {
    const { Q } = valuesOf({ qLen: 2, kvLen: 2 })
    const [a, b, c, d] = [...Q.vectors[0]![1]!]
    const [cos, sin, cosFine, sinFine] = [Math.cos(1), Math.sin(1), Math.cos(0.01), Math.sin(0.01)]
    const near = (x: Rows, due: number[]) =>
      vectors(x)[1]!.forEach((value, i) => expect(value).toBeCloseTo(due[i]!, 12))
    const halves = [
      a! * cos - c! * sin,
      b! * cosFine - d! * sinFine,
      c! * cos + a! * sin,
      d! * cosFine + b! * sinFine,
    ]
    near(rope(Q), halves)
    near(rope(Q, undefined, { pairs: 'neighbours' }), [
      a! * cos - b! * sin,
      b! * cos + a! * sin,
      c! * cosFine - d! * sinFine,
      d! * cosFine + c! * sinFine,
    ])
    near(rope(Q, undefined, { width: 2 }), [a! * cos - b! * sin, b! * cos + a! * sin, c!, d!])
    near(
      rope(Q, () => 0),
      [a!, b!, c!, d!],
    )
    // Inner products depend on the distance alone.
    const [r, s] = [rope(Q, () => 7), rope(Q, () => 5)]
    const [t, u] = [rope(Q, () => 102), rope(Q, () => 100)]
    const inner = (x: Rows, y: Rows) => vectors(x)[0]!.reduce((sum, v, i) => sum + v * vectors(y)[1]![i]!, 0)
    expect(inner(r, s)).toBeCloseTo(inner(t, u), 12)
  })

  it('quantise with one scale a row, to nearest even', () => {
    const row = inputRows(v.call, 'kv', 'request', 'whole', 4, () => Float64Array.of(127, 0.5, 1.5, -63.5))
    expect(vectors(quantize(row, 'int8'))).toEqual([[127, 0, 2, -64]])
    expect(vectors(quantize(row, 'int4'))[0]!.map((x) => (x / 127) * 7)).toEqual([7, 0, 0, -4])
    expect(vectors(quantize(row, 'sign'))).toEqual([[1, 1, 1, -1]])
    const zero = inputRows(v.call, 'kv', 'request', 'whole', 2, () => Float64Array.of(0, -0))
    expect(vectors(quantize(zero, 'fp8'))).toEqual([[0, 0]])
  })

  it('round to the numbers of e4m3', () => {
    expect([448, 1e9, -449, 17, 19, 0.0009765625, 2 ** -9, 2 ** -7 + 2 ** -10, 0].map(roundFp8)).toEqual([
      448,
      448,
      -448,
      16,
      20,
      0,
      2 ** -9,
      2 ** -7,
      0,
    ])
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999].map(roundEven)).toEqual([0, 2, 2, 0, -2, 2])
  })
})

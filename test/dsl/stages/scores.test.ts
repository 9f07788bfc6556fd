/** Scores: which cells are visible, what words make of them, and how pool() reduces and regrids them. */

import { describe, expect, it } from 'vitest'
import {
  argmax,
  blocks,
  dot,
  map,
  pool,
  residues,
  skew,
  slice,
  softmax,
  tokens,
  topK,
  unskew,
  values,
  where,
  whole,
  windows,
  within,
} from '../../../dsl/index.ts'
import { perHeadScores } from '../../../dsl/stages/evaluate.ts'
import { HIDDEN, OUTSIDE, VISIBLE, type Scores } from '../../../dsl/stages/scores.ts'
import { matrix, scoresFrom, valuesOf, vectorFrom } from '../stage-values.ts'

const N = -Infinity
const states = (s: Scores, sharer = 0): string[] =>
  s.visible[sharer]!.map((row) =>
    [...row].map((v) => ({ [HIDDEN]: '.', [VISIBLE]: 'x', [OUTSIDE]: 'o' })[v]).join(''),
  )

/** Three queries and keys; the numbers say row and column. */
const three = valuesOf({ qLen: 3, kvLen: 3 })
const grid = [
  [0, 1, 2],
  [10, 11, 12],
  [20, 21, 22],
]
const numbers = scoresFrom(three, 'head', [grid, grid.map((row) => row.map((x) => 100 + x))])

describe('dot', () => {
  it('multiplies a query head with the kv head it reads, unscaled unless told', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 2, qHeads: 4, kvHeads: 2 })
    const due = (h: number, i: number, j: number) =>
      Q.vectors[h]![i]!.reduce((sum, x, c) => sum + x * K.vectors[Math.floor(h / 2)]![j]![c]!, 0)
    const s = dot(Q, K)
    expect(s.share).toBe('head')
    for (const h of [0, 1, 2, 3])
      expect(matrix(s, h)).toEqual([
        [due(h, 0, 0), N],
        [due(h, 1, 0), due(h, 1, 1)],
      ])
    expect(matrix(dot(Q, K, { scale: 0.5 }), 3)[1]![1]).toBe(0.5 * due(3, 1, 1))
  })

  it('sees by the mask: any pair, all pairs, or with the mask off', () => {
    const { Q, K } = valuesOf({ qLen: 6, kvLen: 6 })
    const [q, k] = [pool(Q, blocks(2), 'mean'), pool(K, blocks(2), 'mean')]
    expect(states(dot(q, k))).toEqual(['x..', 'xx.', 'xxx'])
    expect(states(dot(q, k, { visible: 'all' }))).toEqual(['...', 'x..', 'xx.'])
    expect(states(dot(q, k, { visible: 'off' }))).toEqual(['xxx', 'xxx', 'xxx'])
    expect(states(dot(Q, pool(K, windows(3, 2), 'mean'), { visible: 'all' }))).toEqual([
      '..',
      '..',
      'x.',
      'x.',
      'xx',
      'xx',
    ])
  })

  it('sees what any head of a group sees, and all that each does', () => {
    const mask = (head: number, q: number, kv: number) => kv <= q && (head === 0 || kv > 0)
    const v = valuesOf({ qLen: 3, kvLen: 3, mask })
    const shared = pool(dot(v.Q, v.K), { share: 'kvHead' }, 'sum')
    expect([states(dot(v.Q, v.K), 1), states(shared)]).toEqual([
      ['...', '.x.', '.xx'],
      ['x..', 'xx.', 'xxx'],
    ])
    const alone = { ...v.Q, share: 'request' as const, vectors: [v.Q.vectors[0]!] }
    const keys = { ...v.K, share: 'request' as const }
    expect(states(dot(alone, keys))).toEqual(['x..', 'xx.', 'xxx'])
    expect(states(dot(alone, keys, { visible: 'all' }))).toEqual(['...', '.x.', '.xx'])
  })

  it('knows where the queries of a chunk stand', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 5 })
    expect(states(dot(Q, K))).toEqual(['xxxx.', 'xxxxx'])
    expect(states(dot(pool(Q, whole, 'mean'), K))).toEqual(['xxxxx'])
  })
})

describe('map', () => {
  it('leaves invisible cells alone and hands over the units of the others', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 3, qHeads: 2, kvHeads: 2 })
    const seen: string[] = []
    const s = map(dot(Q, K), (_, { batch, head, kvHead, q, kv }) => {
      seen.push(`${batch}${head}${kvHead}:${q.first},${kv.index}`)
      return 1
    })
    expect(matrix(s)).toEqual([
      [1, 1, N],
      [1, 1, 1],
    ])
    expect(seen).toEqual([
      '000:1,0',
      '000:1,1',
      '000:2,0',
      '000:2,1',
      '000:2,2',
      '011:1,0',
      '011:1,1',
      '011:2,0',
      '011:2,1',
      '011:2,2',
    ])
  })

  it('broadcasts whole axes and coarser shares', () => {
    const row = vectorFrom(three, [1000, 2000, 3000])
    const column = pool(numbers, { kv: whole }, 'max')
    const perHead = perHeadScores(three.call, [7, 8])
    expect([0, 1, 2].map((head) => perHead.at(head))).toEqual([7, 8, 0])
    expect(
      matrix(
        map(numbers, row, (a, b) => a + b),
        1,
      ),
    ).toEqual([
      [1100, 2101, 3102],
      [1110, 2111, 3112],
      [1120, 2121, 3122],
    ])
    expect(matrix(map(numbers, column, (a, b) => b - a))[2]).toEqual([2, 1, 0])
    const both = map(row, perHead, perHead, (a, b, c) => a + b * c)
    expect([both.share, matrix(both, 0), matrix(both, 1)]).toEqual([
      'head',
      [[1049, 2049, 3049]],
      [[1064, 2064, 3064]],
    ])
  })

  it('hides a cell that one operand hides', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 2 })
    const all = dot(Q, K, { visible: 'off' })
    expect(states(map(all, dot(Q, K), (a, b) => a + b))).toEqual(['x.', 'xx'])
  })
})

describe('softmax and argmax', () => {
  it('share 1 among the visible cells of a line', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 3 })
    const equal = softmax(map(dot(Q, K), () => 5))
    expect(matrix(equal)).toEqual([
      [0.5, 0.5, N],
      [1 / 3, 1 / 3, 1 / 3],
    ])
  })

  it('give 0 where nothing is visible or above -Infinity, and take NaN for it', () => {
    const none = valuesOf({ qLen: 2, kvLen: 2, mask: (_, q, kv) => q === 1 && kv === 0 })
    expect(matrix(softmax(map(dot(none.Q, none.K), () => 3)))).toEqual([
      [N, N],
      [1, N],
    ])
    const odd = scoresFrom(three, 'request', [
      [
        [N, Number.NaN, 1],
        [N, N, Number.NaN],
        [0, 0, 700],
      ],
    ])
    expect(matrix(softmax(odd))).toEqual([
      [0, 0, 1],
      [0, 0, 0],
      [Math.exp(-700), Math.exp(-700), 1],
    ])
    expect(matrix(argmax(odd))).toEqual([[2], [-1], [2]])
  })

  it('find the lower one of equals, by its number', () => {
    const ties = scoresFrom(three, 'request', [
      [
        [4, 9, 9],
        [1, 1, 1],
        [3, 2, 3],
      ],
    ])
    expect(matrix(argmax(ties))).toEqual([[1], [0], [0]])
    const { Q, K } = valuesOf({ qLen: 1, kvLen: 6 })
    const blocksFrom1 = argmax(
      map(dot(Q, pool(slice(K, 2), blocks(2), 'mean')), (_, { kv }) => Number(kv.index > 0)),
    )
    expect(matrix(blocksFrom1)).toEqual([[1]])
  })
})

describe('values', () => {
  it('are a vector of positions, every cell visible', () => {
    const { K, Q } = valuesOf({ qLen: 2, kvLen: 4, qHeads: 1 })
    expect(matrix(values(K, (t) => t.first * 2))).toEqual([[0, 2, 4, 6]])
    expect(matrix(values(Q, (t, { head }) => t.first + head))).toEqual([[2, 3]])
    expect(states(values(pool(K, blocks(3), 'sum'), (t) => t.length))).toEqual(['xx'])
  })
})

describe('pool of scores', () => {
  it('reduces along each axis and along all at once', () => {
    expect(matrix(pool(numbers, { q: whole }, 'sum'))).toEqual([[30, 33, 36]])
    expect(matrix(pool(numbers, { kv: whole }, 'max'))).toEqual([[2], [12], [22]])
    expect(matrix(pool(numbers, { share: 'kvHead' }, 'mean'))[0]).toEqual([50, 51, 52])
    expect(matrix(pool(numbers, { q: blocks(2), kv: blocks(2), share: 'request' }, 'min'))).toEqual([
      [0, N],
      [20, 22],
    ])
  })

  it('is visible where the mask allows a pair, with what is visible in it', () => {
    const { Q, K } = valuesOf({ qLen: 4, kvLen: 4, qHeads: 1 })
    const ones = map(dot(Q, K), () => 1)
    const coarse = pool(ones, { q: blocks(2), kv: blocks(2) }, 'sum')
    expect(matrix(coarse)).toEqual([
      [3, N],
      [4, 3],
    ])
    // Means divide by what is visible.
    expect(matrix(pool(ones, { q: blocks(2), kv: blocks(2) }, 'mean'))).toEqual([
      [1, N],
      [1, 1],
    ])
    // With the mask off for tokens it counts hidden pairs of an open unit; a closed one stays closed.
    const off = map(dot(Q, K, { visible: 'off' }), () => 1)
    expect(matrix(pool(off, { q: blocks(2), kv: blocks(2) }, 'sum'))).toEqual([
      [4, N],
      [4, 4],
    ])
    // Over the sharers alone nothing is seen anew.
    expect(states(pool(off, { share: 'request' }, 'sum'))).toEqual(['xxxx', 'xxxx', 'xxxx', 'xxxx'])
  })

  it('keeps a visible block that no window covers at 0', () => {
    const { Q, K } = valuesOf({ qLen: 1, kvLen: 7, qHeads: 1 })
    const p = map(dot(Q, pool(K, windows(4, 2), 'mean'), { visible: 'all' }), () => 1)
    expect(p.values[0]![0]).toHaveLength(2)
    expect(matrix(pool(p, { kv: blocks(2) }, 'sum'))).toEqual([[0.5, 1, 0.5, 0]])
    expect(matrix(pool(p, { kv: blocks(2) }, 'max'))).toEqual([[1, 1, 1, N]])
  })

  it('repeats to finer units, in the fraction of tokens for a sum', () => {
    const { Q, K } = valuesOf({ qLen: 1, kvLen: 5, qHeads: 1 })
    const coarse = map(dot(Q, pool(K, blocks(2), 'mean')), (_, { kv }) => 8 + kv.index)
    expect(matrix(pool(coarse, { kv: tokens }, 'max'))).toEqual([[8, 8, 9, 9, 10]])
    expect(matrix(pool(coarse, { kv: tokens }, 'sum'))).toEqual([[4, 4, 4.5, 4.5, 10]])
  })

  it('filters source cells by where they go', () => {
    const antidiagonal = pool(numbers, { q: whole, kv: whole }, 'sum', ({ q, kv, into }) => {
      expect([into.q.length, into.kv.length]).toEqual([3, 3])
      return q.index + kv.index === 2
    })
    expect(matrix(antidiagonal)).toEqual([[2 + 11 + 20]])
    expect(matrix(pool(numbers, { kv: residues(2) }, 'sum'))[1]).toEqual([22, 11])
  })

  it('goes to the units that a set chose, and stays out of what within() left out', () => {
    const { Q, K } = valuesOf({ qLen: 2, kvLen: 8, qHeads: 1 })
    const ones = map(dot(Q, K), (_, { kv }) => kv.index)
    const near = topK(
      map(dot(Q, pool(K, blocks(2), 'mean')), (_, { kv }) => -kv.index),
      2,
    )
    const inside = within(ones, near)
    expect(states(inside)).toEqual(['xxxxooo.', 'xxxxoooo'])
    expect(states(pool(inside, { kv: blocks(2) }, 'sum'))).toEqual(['xxoo', 'xxoo'])
    const to = pool(ones, { kv: near }, 'sum')
    expect(matrix(to)).toEqual([
      [1, 5],
      [1, 5],
    ])
    expect(
      states(
        within(
          dot(Q, K),
          where(({ kv }) => kv === 6),
        ),
      ),
    ).toEqual(['oooooox.', 'ooooooxo'])
  })
})

describe('skew', () => {
  it('makes a diagonal a column, and back', () => {
    const { Q, K } = valuesOf({ qLen: 3, kvLen: 4, qHeads: 1 })
    const s = map(dot(Q, K), (_, { q, kv }) => 10 * q.index + kv.index)
    const byDistance = skew(s)
    expect(byDistance.kv.lists[0]![0]!.map((u) => u.index)).toEqual([-2, -1, 0, 1, 2, 3])
    expect(matrix(byDistance)).toEqual([
      [N, N, 11, 10, N, N],
      [N, N, 22, 21, 20, N],
      [N, N, 33, 32, 31, 30],
    ])
    expect([matrix(unskew(byDistance)), states(unskew(byDistance))]).toEqual([matrix(s), states(s)])
    expect(matrix(pool(byDistance, { q: whole }, 'sum'))[0]!.slice(2)).toEqual([66, 63, 51, 30])
  })

  it('sees a vector from the last query', () => {
    const { Q, K } = valuesOf({ qLen: 3, kvLen: 4, qHeads: 1 })
    const sums = pool(skew(map(dot(Q, K), () => 1)), { q: whole }, 'sum')
    const back = unskew(sums)
    // Key t lies 3 - t before the last query; distances 0 to 3 had 3, 3, 2 and 1 pairs.
    expect(matrix(back)).toEqual([[1, 2, 3, 3]])
    const blocked = skew(pool(back, { kv: blocks(2) }, 'sum'))
    expect([blocked.kv.lists[0]![0]!.map((u) => u.index), matrix(blocked)]).toEqual([[0, 1], [[6, 3]]])
  })

  it('counts blocks from the sequence, so that a chunk has the same diagonals', () => {
    const { Q, K } = valuesOf({ qLen: 3, kvLen: 7, qHeads: 1 })
    const s = skew(dot(pool(Q, blocks(2), 'mean'), pool(K, blocks(2), 'mean')))
    // Queries 4 to 6 are blocks 2 and 3 of the keys' grid.
    expect(s.kv.lists[0]![0]!.map((u) => u.index)).toEqual([-1, 0, 1, 2, 3])
    expect(states(s)).toEqual(['.xxx.', '.xxxx'])
  })
})

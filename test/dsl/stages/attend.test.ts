/** attend, merge and gated: the softmax over a set and the mask, its state, and what goes on from it. */

import { describe, expect, it } from 'vitest'
import {
  argsort,
  attend,
  blocks,
  difference,
  dot,
  gated,
  intersect,
  map,
  merge,
  permute,
  pool,
  reuse,
  rope,
  slice,
  softmax,
  topK,
  topP,
  union,
  values,
  where,
  whole,
  windows,
  type Sel,
  type State,
  type Units,
} from '../../../dsl/index.ts'
import { callOf, inputRows } from '../../../dsl/stages/evaluate.ts'
import { carrying, type Carried } from '../../../dsl/stages/reuse.ts'
import { outputOf } from '../../../dsl/stages/state.ts'
import { keysOf, matrix, valuesOf, type Setting, type Values } from '../stage-values.ts'

const outs = (state: State): number[][][] =>
  state.rows.map((line) => line.map((row) => [...outputOf(state.call, row)]))

/** Attention of one row over keys, from its definition. */
function due({ call, Q, K, V }: Values, head: number, row: number, keys: readonly number[]): number[] {
  const g = Math.floor((head * call.kvHeads) / call.qHeads)
  const inner = (a: Float64Array, b: Float64Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0)
  const weights = keys.map((t) => Math.exp(call.scale * inner(Q.vectors[head]![row]!, K.vectors[g]![t]!)))
  const sum = weights.reduce((a, b) => a + b, 0)
  return [...V.vectors[g]![0]!].map((_, c) =>
    keys.length === 0
      ? 0
      : keys.reduce((total, t, i) => total + (weights[i]! / sum) * V.vectors[g]![t]![c]!, 0),
  )
}

function expectRows(state: State, v: Values, keysFor: (head: number, q: number) => readonly number[]) {
  const { qHeads, qLen, qStart } = v.call
  for (let head = 0; head < qHeads; head++) {
    for (let row = 0; row < qLen; row++) {
      const got = outs(state)[head]![row]!
      due(v, head, row, keysFor(head, qStart + row)).forEach((x, c) => expect(got[c]).toBeCloseTo(x, 12))
    }
  }
}

const causalKeys = (set: Sel, v: Values) => (head: number, q: number) =>
  keysOf(set, v, head, q).filter((kv) => kv <= q)

/** Logits of 0 and values of 1: a row's sum counts its keys. */
function counting(setting: Setting): Values {
  const v = valuesOf(setting)
  const zero = (x: Values['K']) => map(x, () => 0)
  return { ...v, Q: map(v.Q, () => 0), K: zero(v.K), V: map(v.V, () => 1) }
}
const sums = (state: State): number[][] => state.rows.map((line) => line.map((row) => row.sum))

describe('attend', () => {
  const v = valuesOf({ qLen: 5, kvLen: 9, qHeads: 4, kvHeads: 2 })
  const scores = dot(v.Q, pool(v.K, blocks(2), 'mean'))
  const chosen = topK(scores, 2)

  it('is exact over the set and the mask', () => {
    expectRows(attend(v.Q, v.K, v.V), v, (_, q) => Array.from({ length: q + 1 }, (_, i) => i))
    expectRows(attend(v.Q, v.K, v.V, chosen), v, causalKeys(chosen, v))
    const odd = where(({ kv }) => kv % 2 === 1)
    expectRows(attend(v.Q, v.K, v.V, odd), v, causalKeys(odd, v))
  })

  it('tells maximum and log-sum-exp of each row, and gives 0 and -Infinity to an empty one', () => {
    const first = attend(
      v.Q,
      v.K,
      v.V,
      where(({ q, kv }) => kv === 0 && q > 4),
    )
    const logits = dot(v.Q, v.K, { scale: v.call.scale })
    for (let head = 0; head < 4; head++) {
      expect(matrix(first.max, head)).toEqual([
        [-Infinity],
        ...matrix(logits, head)
          .slice(1)
          .map(([x]) => [x]),
      ])
      expect(matrix(first.lse, head)).toEqual(matrix(first.max, head))
      expect(outs(first)[head]![0]).toEqual([0, 0, 0, 0])
    }
    const all = attend(v.Q, v.K, v.V)
    const p = softmax(logits)
    const largest = matrix(p, 2)[3]!.reduce((a, b) => Math.max(a, b), 0)
    expect(matrix(all.max, 2)[3]![0]! - matrix(all.lse, 2)[3]![0]!).toBeCloseTo(Math.log(largest), 12)
  })

  it('passes the scaled logit through the score, at positions', () => {
    const seen = new Set<string>()
    const call = callOf({
      ...v.call,
      logit: (s, head, q, kv) => {
        seen.add(`${head}:${q},${kv}`)
        return s + kv
      },
    })
    const rows = (side: 'q' | 'kv', from: Values['Q'] | Values['K']) =>
      inputRows(call, side, from.share, 'token', 4, (h, r) => from.vectors[h]![r]!)
    const [Q, K, V] = [rows('q', v.Q), rows('kv', v.K), rows('kv', v.V)] as unknown as [
      Values['Q'],
      Values['K'],
      Values['V'],
    ]
    const state = attend(
      Q,
      K,
      V,
      where(({ q, kv }) => q === kv),
    )
    expect([...seen].slice(0, 2)).toEqual(['0:4,4', '0:5,5'])
    const plain = attend(
      v.Q,
      v.K,
      v.V,
      where(({ q, kv }) => q === kv),
    )
    expect(matrix(state.max)[2]![0]).toBeCloseTo(matrix(plain.max)[2]![0]! + 6, 12)
  })

  it('leaves rows of queries that are not there empty', () => {
    const last = attend(slice(v.Q, -2), v.K, v.V)
    expect(sums(last)[1]!.map((sum) => sum > 0)).toEqual([false, false, false, true, true])
  })

  it('gives the same in another order of keys, and of queries', () => {
    const byHead = argsort(
      map(
        values(v.K, (t) => (t.first * 4) % 9),
        (x) => x,
      ),
    )
    const [Ks, Vs] = [permute(v.K, byHead), permute(v.V, byHead)]
    const shuffled = attend(v.Q, Ks, Vs)
    expectRows(shuffled, v, (_, q) => Array.from({ length: q + 1 }, (_, i) => i))
    const backwards = permute(v.Q, argsort(values(v.Q, (t) => -t.first)))
    expect(backwards.units.lists[0]![0]!.map((u) => [u.index, u.first])).toEqual([
      [4, 8],
      [5, 7],
      [6, 6],
      [7, 5],
      [8, 4],
    ])
    expectRows(attend(backwards, Ks, Vs), v, (_, q) => Array.from({ length: q + 1 }, (_, i) => i))
  })

  it('chooses blocks of sorted keys, causal by where their tokens come from', () => {
    const order = argsort(values(v.K, (t) => (t.first * 4) % 9))
    const [Ks, Vs] = [permute(v.K, order), permute(v.V, order)]
    const pooled = pool(Ks, blocks(3), 'mean')
    // Places 0 to 8 hold tokens 0 7 5 | 3 1 8 | 6 4 2.
    expect(pooled.units.lists[0]![0]!.map((u) => [...u.tokens])).toEqual([
      [0, 7, 5],
      [3, 1, 8],
      [6, 4, 2],
    ])
    expect(pooled.units.lists[0]![0]!.map((u) => [u.index, u.first, u.last])).toEqual([
      [0, 0, 7],
      [1, 1, 8],
      [2, 2, 6],
    ])
    const set = where(dot(v.Q, pooled), (_, { kv }) => kv.index === 1)
    expectRows(attend(v.Q, Ks, Vs, set), v, (_, q) => [1, 3, 8].filter((kv) => kv <= q))
    const both = union(
      set,
      where(({ kv }) => kv === 0),
    )
    expectRows(attend(v.Q, Ks, Vs, both), v, (_, q) => [0, 1, 3, 8].filter((kv) => kv <= q))
  })

  it('attends pooled keys by their own causality and their own sets', () => {
    const c = counting({ qLen: 4, kvLen: 8, qHeads: 1 })
    const [kc, vc] = [pool(c.K, windows(4, 2), 'mean'), pool(c.V, windows(4, 2), 'mean')]
    // Windows {0 .. 3}, {2 .. 5}, {4 .. 7} for queries 4 to 7.
    const counts = (o: Parameters<typeof attend>[4]) => sums(attend(c.Q, kc, vc, undefined, o))[0]
    expect(counts({ visible: 'all' })).toEqual([1, 2, 2, 3])
    expect(counts({})).toEqual([3, 3, 3, 3])
    expect(counts({ visible: 'off' })).toEqual([3, 3, 3, 3])
    const best = topK(
      map(dot(c.Q, kc), (_, { kv }) => kv.index),
      2,
    )
    expect(sums(attend(c.Q, kc, vc, best))[0]).toEqual([2, 2, 2, 2])
    expect(sums(attend(c.Q, kc, vc, best, { visible: 'all' }))[0]).toEqual([0, 1, 1, 2])
    const none = where(pool(dot(c.Q, kc), { kv: whole }, 'sum'), (_, { q }) => q.first > 5)
    expect(sums(attend(c.Q, kc, vc, none))[0]).toEqual([0, 0, 3, 3])
    expect(sums(attend(c.Q, kc, vc, difference(best, none)))[0]).toEqual([2, 2, 0, 0])
  })

  it('weighs a key by the exponential of its bias', () => {
    const c = counting({ qLen: 2, kvLen: 6, qHeads: 1 })
    const one = (x: typeof c.K) => pool(x, whole, 'mean')
    const weighed = attend(c.Q, one(c.K), one(c.V), undefined, {
      visible: 'off',
      bias: ({ kv }) => Math.log(kv.length),
    })
    expect(
      sums(weighed)
        .flat()
        .map((sum, i) => sum * Math.exp(weighed.rows[0]![i]!.max)),
    ).toEqual([expect.closeTo(6, 12), expect.closeTo(6, 12)])
    const none = attend(c.Q, one(c.K), one(c.V), undefined, { visible: 'off', bias: () => -Infinity })
    expect(sums(none)).toEqual([[0, 0]])
  })

  it('turns queries and keys as it reads them', () => {
    const turned = attend(v.Q, v.K, v.V, chosen, { position: ({ q, kv }) => [q.first, kv.first] })
    const before = attend(rope(v.Q), rope(v.K), v.V, chosen)
    outs(turned).forEach((line, h) =>
      line.forEach((row, r) => row.forEach((x, c) => expect(x).toBeCloseTo(outs(before)[h]![r]![c]!, 12))),
    )
    const ranks: number[][] = []
    attend(
      slice(v.Q, -1),
      v.K,
      v.V,
      where(({ kv }) => kv % 3 === 1),
      {
        position: ({ kv, rank, kept }) => {
          ranks.push([kv.first, rank, kept])
          return [0, rank]
        },
      },
    )
    expect(ranks.slice(0, 3)).toEqual([
      [1, 0, 3],
      [4, 1, 3],
      [7, 2, 3],
    ])
  })
})

describe('parts of a set', () => {
  const c = counting({ qLen: 6, kvLen: 11, qHeads: 2, seed: 5 })
  const noise = (of: (index: number) => number) =>
    map(dot(c.Q, pool(c.K, blocks(2), 'mean')), (_, { head, q, kv }) => of(kv.index * 7 + q.first * 3 + head))
  const listed = topK(
    noise((x) => (x * 37) % 11),
    2,
  )
  const columns = where(
    values(c.K, (t) => t.first),
    (x) => x % 4 === 1,
  )
  const ranges = where(({ q, kv }) => q - kv < 3 || kv < 2)
  const mass = topP(softmax(noise((x) => x % 5)), 0.4)

  const pairs = (set: Sel) =>
    [0, 1].map((head) => [5, 6, 7, 8, 9, 10].map((q) => causalKeys(set, c)(head, q).length))

  it('count once where they overlap: with logits of 0 a row sums to the size of its set', () => {
    const sets = [
      union(listed, columns, ranges, mass),
      intersect(union(listed, mass), ranges),
      difference(union(ranges, mass), columns),
      union(intersect(listed, columns), difference(mass, ranges)),
    ]
    for (const set of sets) expect(sums(attend(c.Q, c.K, c.V, set))).toEqual(pairs(set))
    expect(new Set(pairs(sets[0]!).flat()).size).toBeGreaterThan(1)
  })

  it('go on after a state with what it does not hold', () => {
    const base = attend(c.Q, c.K, c.V, ranges)
    const more = attend(c.Q, c.K, c.V, union(listed, columns), { after: base })
    expect(sums(more)).toEqual(pairs(union(listed, columns, ranges)))
    const again = attend(c.Q, c.K, c.V, ranges, { after: more })
    expect(sums(again)).toEqual(sums(more))
    const v = valuesOf({ qLen: 6, kvLen: 11, qHeads: 2, seed: 5 })
    const [near, far] = [where(({ q, kv }) => q - kv < 3), where(({ kv }) => kv % 2 === 0)]
    const whole = attend(v.Q, v.K, v.V, union(near, far))
    const continued = attend(v.Q, v.K, v.V, far, { after: attend(v.Q, v.K, v.V, near) })
    const merged = merge(attend(v.Q, v.K, v.V, near), attend(v.Q, v.K, v.V, difference(far, near)))
    for (const state of [continued, merged]) {
      expectRows(state, v, causalKeys(union(near, far), v))
      matrix(state.lse).forEach(([x], row) => expect(x).toBeCloseTo(matrix(whole.lse)[row]![0]!, 12))
    }
  })

  it('go on with compressed keys, those of the state left out however often they are pooled', () => {
    const half = () => [pool(c.K, windows(4, 2), 'mean'), pool(c.V, windows(4, 2), 'mean')] as const
    const [k, v] = half()
    const base = attend(
      c.Q,
      k,
      v,
      topK(
        map(dot(c.Q, k), (_, { kv }) => kv.index),
        1,
      ),
    )
    const all = attend(c.Q, ...half(), undefined, { after: base })
    expect(sums(all)).toEqual(sums(attend(c.Q, ...half())))
  })

  it('merge with keys of another kind', () => {
    const near = where(({ q, kv }) => q - kv < 3)
    const rest = attend(c.Q, pool(c.K, whole, 'mean'), pool(c.V, whole, 'mean'))
    expect(sums(merge(rest, attend(c.Q, c.K, c.V, near)))[0]).toEqual([4, 4, 4, 4, 4, 4])
  })
})

describe('gated', () => {
  const v = valuesOf({ qLen: 3, kvLen: 3, qHeads: 2, kvHeads: 1 })
  it('adds up normalised outputs by weights of functions and of scores', () => {
    const [a, b] = [
      attend(v.Q, v.K, v.V),
      attend(
        v.Q,
        v.K,
        v.V,
        where(({ kv }) => kv === 0),
      ),
    ]
    const weight = map(a.max, (_, { head, q }) => head + q.index)
    const out = gated([a, ({ head, q }) => 10 * head + q], [b, weight])
    out.rows.forEach((line, head) =>
      line.forEach((row, r) =>
        row.forEach((x, c) =>
          expect(x).toBeCloseTo(
            (10 * head + r) * outs(a)[head]![r]![c]! + (head + r) * outs(b)[head]![r]![c]!,
            12,
          ),
        ),
      ),
    )
    expect(out.branches).toEqual([a, b])
  })
})

describe('tiles', () => {
  const v = valuesOf({ qLen: 6, kvLen: 10, qHeads: 1, seed: 3 })
  const at = (skip: Parameters<typeof attend>[4]) =>
    attend(v.Q, v.K, v.V, undefined, { tile: { q: 4, kv: 4 }, ...skip })

  it('are cut from token 0 on both sides, and asked for each query that sees a key', () => {
    const asked: string[] = []
    const state = at({
      skip: ({ q, kv, rowMax, tileMax }) => {
        asked.push(`${q}:${kv}${rowMax === -Infinity ? ' first' : ''}`)
        expect(tileMax).toBeGreaterThan(-Infinity)
        return false
      },
    })
    // Query 4 of tile {4 .. 7} is asked of each tile of keys; one refusal is enough.
    expect(asked).toEqual(['4:0 first', '4:4', '8:0 first', '8:4', '8:8'])
    expectRows(state, v, (_, q) => Array.from({ length: q + 1 }, (_, i) => i))
  })

  it('are left out where all agree', () => {
    expectRows(at({ skip: ({ kv }) => kv === 4 }), v, (_, q) =>
      Array.from({ length: q + 1 }, (_, i) => i).filter((kv) => kv < 4 || kv > 7),
    )
    // Of tile {4 .. 7} query 7 refuses.
    expectRows(at({ skip: ({ q, kv }) => kv === 0 && q !== 7 }), v, (_, q) =>
      Array.from({ length: q + 1 }, (_, i) => i).filter((kv) => kv > 3 || q < 8),
    )
  })

  it('end where all agree to stop', () => {
    expectRows(at({ stop: ({ kv }) => kv >= 4 }), v, () => [0, 1, 2, 3])
  })

  it('are judged by the state before', () => {
    const base = attend(
      v.Q,
      v.K,
      v.V,
      where(({ kv }) => kv === 0),
    )
    const seen: number[] = []
    attend(v.Q, v.K, v.V, undefined, {
      after: base,
      tile: { q: 16, kv: 16 },
      skip: ({ rowMax }) => {
        seen.push(rowMax)
        return true
      },
    })
    expect(seen).toEqual(matrix(base.max).map(([x]) => x))
  })

  it('follow falling scores where a list is sorted so, behind what comes by position', () => {
    const set = topK(
      map(dot(v.Q, v.K), (_, { kv }) => (kv.index * 3) % 10),
      5,
      { sorted: 'score' },
    )
    const visited = (
      given: Sel<'head' | 'request', Units<'q', 'token', 'natural'>, Units<'kv', 'token', 'natural'>>,
    ) => {
      const tiles: number[] = []
      attend(slice(v.Q, -1), v.K, v.V, given, {
        tile: { q: 1, kv: 2 },
        stop: ({ kv }) => {
          tiles.push(kv)
          return false
        },
      })
      return tiles
    }
    // Keys by score: 3 6 9 2 5; two at a time.
    expect(visited(set)).toEqual([3, 9, 5])
    // Key 6 belongs to the range, whose tile {6, 7} comes first.
    expect(
      visited(
        union(
          where(({ kv }) => kv === 6),
          set,
        ),
      ),
    ).toEqual([6, 3, 2])
  })
})

describe('reuse', () => {
  const v = valuesOf({ qLen: 2, kvLen: 2, qHeads: 1 })
  /** How often a value was made in so many calls that carry what came before. */
  const made = (calls: number, take: (make: () => number, call: number) => number): number[] => {
    const carried: Carried = new Map()
    let count = 0
    return Array.from({ length: calls }, (_, call) => carrying(carried, () => take(() => ++count, call)))
  }

  it('makes a value anew every so many calls', () => {
    expect(made(7, (make) => reuse('x', make, { steps: 3 }))).toEqual([1, 1, 1, 2, 2, 2, 3])
    expect(made(3, (make) => reuse('x', make, { steps: 1 }))).toEqual([1, 2, 3])
  })

  it('keeps what another layer published, and each name its own', () => {
    expect(made(3, (make) => reuse('x', make, { layers: true }))).toEqual([1, 1, 1])
    expect(made(2, (make, call) => reuse(`x${call}`, make, { layers: true }))).toEqual([1, 2])
  })

  it('makes it anew when the queries have turned away', () => {
    const turned = (angle: number) =>
      inputRows(v.call, 'q', 'head', 'whole', 2, () => Float64Array.of(Math.cos(angle), Math.sin(angle)))
    const angles = [0, 0.1, 0.4, 0.5, 0.9]
    const take = (make: () => number, call: number) =>
      reuse('x', make, { similar: turned(angles[call]!), above: 0.95 })
    // Against the one it was made with, not the one before: cos 0.4 is 0.92.
    expect(made(5, take)).toEqual([1, 1, 2, 2, 3])
  })

  it('makes it each time where nothing is carried', () => {
    let count = 0
    const make = () => ++count
    expect([reuse('x', make, { steps: 9 }), reuse('x', make, { steps: 9 })]).toEqual([1, 2])
  })
})

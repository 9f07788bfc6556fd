/** Programs that use most of the language at once, against their specifications or where they must be dense. */

import { describe, expect, it } from 'vitest'
import {
  argsort,
  attend,
  blocks,
  channels,
  clamp,
  count,
  difference,
  dot,
  f32,
  floorDiv,
  i32,
  intersect,
  linear,
  map,
  max,
  merge,
  mod,
  pattern,
  permute,
  pool,
  range,
  rows,
  skew,
  slice,
  softmax,
  split,
  table,
  topK,
  topP,
  union,
  unskew,
  values,
  where,
  whole,
  type Pattern,
} from '../../../dsl/index.ts'
import { reference, type ReferenceCall, type ReferenceResult } from '../../../runtime/reference.ts'
import { seededRandom } from '../../../runtime/testing/draw.ts'
import type { Shape } from '../../../runtime/tensor.ts'
import { inner, range as upTo, softmaxOf, type Matrix } from '../../patterns/specifications.ts'

const D = 8
const tensor = (random: () => number, ...shape: Shape) => ({
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() * 4 - 2),
  shape,
})
function callOf(qLen: number, kvLen: number, heads = 2, kvHeads = 1, seed = 1): ReferenceCall {
  const random = seededRandom(seed)
  return {
    q: tensor(random, 1, heads, qLen, D),
    k: tensor(random, 1, kvHeads, kvLen, D),
    v: tensor(random, 1, kvHeads, kvLen, D),
  }
}
const matrixOf = (
  { data, shape: [, , rows, width] }: { data: ArrayLike<number>; shape: Shape },
  head: number,
): Matrix => upTo(0, rows).map((r) => upTo(0, width).map((c) => data[(head * rows + r) * width + c]!))

const dense = ({ q, k, v }: ReferenceCall): ReferenceResult =>
  reference(pattern({ name: 'dense', mask: ({ q, kv }) => kv <= q }), { q, k, v })
function expectSame(got: ReferenceResult, due: ReferenceResult) {
  got.out.forEach((x, i) => expect(x).toBeCloseTo(due.out[i]!, 10))
  got.lse.forEach((x, i) => expect(x).toBeCloseTo(due.lse[i]!, 10))
}
const keysOf = (result: ReferenceResult, kvLen: number, head: number, row: number): number[] =>
  upTo(0, kvLen).filter((kv) => result.keeps(0, head, row, kv))

/** FlexPrefill: columns and diagonals of blocks, budgets from the mass, and a switch by divergence for each head. */
const flexprefill = pattern({
  name: 'flexprefill',
  consts: { block: 8, share: 4 },
  params: { gamma: f32(0.7), tau: f32(0.3), least: i32(1), most: i32(99) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, scale, block, share, gamma, tau, least, most }) => {
    const last = slice(Q, -block)
    const p = softmax(dot(last, K, { scale }))
    const byKey = pool(p, { q: whole }, 'mean')
    const byDistance = map(pool(skew(p), { q: whole }, 'sum'), (x) => x / block)
    const columnBlocks = pool(byKey, { kv: blocks(block) }, 'sum')
    const lineBlocks = skew(pool(unskew(byDistance), { kv: blocks(block) }, 'sum'))
    const means = pool(K, blocks(block), 'mean')
    const estimate = softmax(dot(pool(last, whole, 'mean'), means, { scale }))
    const half = (x: number, y: number) => (x > 0 ? (x * Math.log((2 * x) / (x + y))) / 2 : 0)
    const divergence = map(
      pool(
        map(estimate, columnBlocks, (x, y) => half(x, y) + half(y, x)),
        { kv: whole },
        'sum',
      ),
      (x) => Math.sqrt(max(x, 0)),
    )
    const budget = (n: number, d: number) => (d < tau ? least : clamp(floorDiv(n, share) + 1, least, most))
    const first = { force: ({ kv }: { kv: { index: number } }) => kv.index === 0 }
    const columns = topK(columnBlocks, map(count(topP(byKey, gamma)), divergence, budget), first)
    const lines = topK(lineBlocks, map(count(topP(byDistance, gamma)), divergence, budget), first)
    const pooled = softmax(dot(pool(Q, blocks(block), 'mean'), means, { scale }))
    const aware = where(divergence, (d) => d < tau)
    const overall = intersect(topP(pooled, gamma, { per: 'head', cross: 'drop' }), aware)
    return attend(Q, K, V, union(columns, lines, overall))
  },
})

/** The block pairs that the description of FlexPrefill gives, and whether its head is query-aware. */
function flexSpecification(q: Matrix, k: Matrix, gamma: number, tau: number) {
  const [n, B, share, scale] = [q.length, 8, 4, D ** -0.5]
  const nb = Math.ceil(n / B)
  const p = upTo(n - B, n).map((i) =>
    softmaxOf(k.map((key, t) => (t <= i ? scale * inner(q[i]!, key) : -Infinity))),
  )
  const vertical = upTo(0, n).map((t) => p.reduce((sum, row) => sum + row[t]! / B, 0))
  const slash = upTo(0, n).map((o) => p.reduce((sum, row, r) => sum + (row[n - B + r - o] ?? 0) / B, 0))
  const order = (xs: readonly number[]) => xs.map((_, i) => i).sort((a, b) => xs[b]! - xs[a]! || a - b)
  const cover = (xs: readonly number[]) => {
    let [sum, taken] = [0, 0]
    for (const i of order(xs)) {
      sum += xs[i]!
      if (sum > gamma) break
      taken++
    }
    return taken + 1
  }
  const members = (b: number) => upTo(b * B, Math.min(n, (b + 1) * B))
  const mean = (rows: Matrix) => upTo(0, D).map((c) => rows.reduce((s, r) => s + r[c]! / rows.length, 0))
  const columnMass = upTo(0, nb).map((b) => members(b).reduce((s, t) => s + vertical[t]!, 0))
  const lineMass = upTo(0, nb).map((o) =>
    slash.reduce((s, x, distance) => s + (nb - 1 - Math.floor((n - 1 - distance) / B) === o ? x : 0), 0),
  )
  const means = upTo(0, nb).map((b) => mean(members(b).map((t) => k[t]!)))
  const estimate = softmaxOf(means.map((m) => scale * inner(mean(q.slice(n - B)), m)))
  const kl = (xs: number[], ys: number[]) =>
    xs.reduce((s, x, i) => s + (x > 0 ? x * Math.log(x / ((x + ys[i]!) / 2)) : 0), 0)
  const aware = Math.sqrt((kl(estimate, columnMass) + kl(columnMass, estimate)) / 2) < tau
  const budget = (xs: readonly number[]) => (aware ? 1 : Math.floor(cover(xs) / share) + 1)
  const best = (xs: readonly number[], count: number) =>
    new Set(order(xs.map((x, i) => (i === 0 ? Infinity : x))).slice(0, count))
  const [columns, lines] = [best(columnMass, budget(vertical)), best(lineMass, budget(slash))]
  const global = new Set<string>()
  if (aware) {
    const cells = upTo(0, nb).flatMap((i) => {
      const mine = mean(members(i).map((t) => q[t]!))
      const weights = softmaxOf(means.map((m, j) => (j <= i ? scale * inner(mine, m) : -Infinity)))
      return upTo(0, i + 1).map((j) => ({ key: `${i},${j}`, weight: weights[j]! }))
    })
    let sum = 0
    for (const { key, weight } of cells.sort((a, b) => b.weight - a.weight)) {
      sum += weight
      if (sum > gamma * nb) break
      global.add(key)
    }
  }
  const keeps = (i: number, j: number) =>
    j <= i && (columns.has(j) || lines.has(i - j) || global.has(`${i},${j}`))
  return {
    aware,
    keys: (row: number) => upTo(0, row + 1).filter((t) => keeps(Math.floor(row / B), Math.floor(t / B))),
  }
}

describe('flexprefill', () => {
  it.each([
    [48, 0.3],
    [45, 0.3],
    [61, 0.45],
    [33, 0],
  ])('keeps what its description does: %i tokens, tau %d', (n, tau) => {
    const call = { ...callOf(n, n, 4, 2, n), params: { tau, gamma: 0.7 } }
    const result = reference(flexprefill, call)
    const [gamma32, tau32] = [Math.fround(0.7), Math.fround(tau)]
    const kinds = upTo(0, 4).map((head) => {
      const spec = flexSpecification(
        matrixOf(call.q, head),
        matrixOf(call.k, Math.floor(head / 2)),
        gamma32,
        tau32,
      )
      for (const row of upTo(0, n)) {
        expect({ head, row, keys: keysOf(result, n, head, row) }).toEqual({ head, row, keys: spec.keys(row) })
      }
      return spec.aware
    })
    if (tau === 0) expect(kinds).toEqual([false, false, false, false])
    if (tau === 0.45) expect(kinds).toContain(true)
  })
})

/** HiP: a beam of spans, halved until they are single pairs of keys. */
const hip = pattern({
  name: 'hip',
  consts: { queries: 8, keys: 2, beam: 4, rounds: 5 },
  params: { window: i32(4) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, queries, keys, beam, rounds, window }) => {
    const s = dot(slice(Q, 0, undefined, 2), K)
    const first = ({ kv, into }: { kv: { first: number }; into: { kv: { first: number } } }) =>
      kv.first < into.kv.first + keys
    const all = range(blocks(queries), (q) => [0, max(q.last + 1 - window, 0)])
    let best = topK(pool(s, { q: blocks(queries), kv: split(all, { parts: beam }) }, 'max', first), beam)
    for (let round = 0; round < rounds; round++) {
      best = topK(pool(s, { q: blocks(queries), kv: split(best, { parts: 2 }) }, 'max', first), beam)
    }
    return attend(
      Q,
      K,
      V,
      union(
        best,
        where(({ q, kv }) => q - kv < window),
      ),
    )
  },
})

/** HyperAttention by doubling halves: queries and keys sorted by hash, met block by block, and a sample of the rest. */
const hyper = pattern({
  name: 'hyper',
  consts: { block: 4, least: 8, levels: 2, planes: 3 },
  tables: {
    directions: table('f32', ['head', 'headDim', 'planes']),
    powers: rows('q', 'request', 'whole'),
    sample: table('i32', ['head', 'levels', 'kvLen']),
  },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, block, least, levels, directions, powers, sample }) => {
    const bit = (x: number) => Number(x > 0)
    const hashes = [
      dot(powers, map(linear(Q, directions), bit), { visible: 'off' }),
      dot(powers, map(linear(K, directions), bit), { visible: 'off' }),
    ] as const
    let out = attend(
      Q,
      K,
      V,
      where(({ q, kv }) => floorDiv(q, least) === floorDiv(kv, least)),
    )
    for (let level = 0; level < levels; level++) {
      const half = least * 2 ** level
      const oq = argsort(hashes[0], { per: blocks(half) })
      const ok = argsort(hashes[1], { per: blocks(half) })
      const [Qs, Ks, Vs] = [permute(Q, oq), permute(K, ok), permute(V, ok)]
      const pair = (q: number, kv: number) =>
        mod(floorDiv(q, half), 2) === 1 && floorDiv(kv, half) === floorDiv(q, half) - 1
      const grid = dot(pool(Qs, blocks(block), 'sum'), pool(Ks, blocks(block), 'sum'))
      const diagonal = where(
        grid,
        (_, { q, kv }) =>
          pair(q.first, kv.first) && mod(q.index * block, half) === mod(kv.index * block, half),
      )
      const drawn = where(
        values(K, (t, { head }) => sample.at(head, level, t.index)),
        (x) => x > 0,
      )
      const rest = difference(
        intersect(
          drawn,
          where(({ q, kv }) => pair(q, kv)),
        ),
        diagonal,
      )
      out = merge(
        out,
        attend(Qs, Ks, Vs, diagonal),
        attend(Q, K, V, rest, { bias: () => Math.log(half / 8) }),
      )
    }
    return out
  },
})

/** RazorAttention: sinks, recent keys, and one key that stands for all that was dropped. */
const razor = pattern({
  name: 'razor',
  params: { sink: i32(2), window: i32(5) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, kvLen, sink, window }) => {
    const gone = (t: { first: number }) => t.first >= sink && t.first < kvLen - window
    const rest = attend(Q, pool(K, whole, 'mean', gone), pool(V, whole, 'mean', gone), undefined, {
      visible: 'off',
      bias: () => Math.log(max(kvLen - window - sink, 0)),
    })
    return merge(
      rest,
      attend(
        Q,
        K,
        V,
        where(({ kv }) => kv < sink || kv >= kvLen - window),
      ),
    )
  },
})

const doubleSparsity = pattern({
  name: 'double-sparsity',
  params: { k: i32(5) },
  tables: { label: table('i32', ['head', 3]) },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, k, label }) => attend(Q, K, V, topK(dot(channels(Q, label), channels(K, label)), k)),
})

describe('a beam of spans', () => {
  it('ends in leaves that the budget holds, each with its window', () => {
    const result = reference(hip, callOf(40, 40))
    for (const head of [0, 1]) {
      for (const row of upTo(0, 40)) {
        const keys = keysOf(result, 40, head, row)
        expect(upTo(Math.max(0, row - 3), row + 1).every((kv) => keys.includes(kv))).toBe(true)
        expect(keys.length).toBeLessThanOrEqual(4 + 4)
      }
    }
  })

  it('is dense where the beam holds every key', () => {
    const call = callOf(13, 37)
    expectSame(reference({ ...hip, consts: { ...hip.consts, beam: 64 } }, call), dense(call))
  })
})

describe('sorted halves', () => {
  const call = (n: number, taken: number): ReferenceCall => {
    const random = seededRandom(n)
    return {
      ...callOf(n, n, 2, 1, n),
      rows: { powers: { data: Float32Array.of(1, 2, 4), shape: [1, 1, 1, 3] } },
      tables: {
        directions: Float32Array.from({ length: 2 * D * 3 }, () => random() - 0.5),
        sample: Int32Array.from({ length: 2 * 2 * n }, () => Number(random() < taken)),
      },
    }
  }

  it('are dense below the least length', () => {
    expectSame(reference(hyper, call(8, 0)), dense(call(8, 0)))
  })

  it('hold each pair once, sample or block, and nothing else', () => {
    const [none, all] = [reference(hyper, call(32, 0)), reference(hyper, call(32, 1))]
    // Four triangles of 8; then of each query in an odd half of 8 or 16 tokens, one block of 4 in the half before.
    expect(none.kept).toBe(2 * (4 * 36 + 2 * 8 * 4 + 16 * 4))
    expect(all.kept).toBe(2 * ((32 * 33) / 2))
  })
})

describe('one key for many', () => {
  it('weighs as many as it stands for', () => {
    const call = callOf(1, 20)
    const result = reference(razor, call)
    for (const head of [0, 1]) {
      const [q] = matrixOf(call.q, head)
      const [k, v] = [matrixOf(call.k, 0), matrixOf(call.v, 0)]
      const gone = upTo(2, 15)
      const mean = (rows: Matrix) =>
        upTo(0, D).map((c) => gone.reduce((s, t) => s + rows[t]![c]! / gone.length, 0))
      const entries = [
        { key: mean(k), value: mean(v), weight: gone.length },
        ...[0, 1, ...upTo(15, 20)].map((t) => ({ key: k[t]!, value: v[t]!, weight: 1 })),
      ]
      const weights = entries.map((e) => e.weight * Math.exp(D ** -0.5 * inner(q!, e.key)))
      const sum = weights.reduce((a, b) => a + b, 0)
      expect(result.lse[head]).toBeCloseTo(Math.log(sum), 12)
      upTo(0, D).forEach((c) => {
        const due = entries.reduce((s, e, i) => s + (weights[i]! / sum) * e.value[c]!, 0)
        expect(result.out[head * D + c]).toBeCloseTo(due, 12)
      })
    }
  })

  it('stands for nothing where all keys are near', () => {
    const call = callOf(1, 6)
    expectSame(reference(razor, call), dense(call))
  })
})

describe('some channels', () => {
  it('rank keys for each query head by its own', () => {
    const call = {
      ...callOf(9, 21, 4, 2),
      tables: { label: Int32Array.of(0, 3, 5, 1, 2, 7, 4, 6, 0, 2, 2, 5) },
    }
    const result = reference(doubleSparsity, call)
    for (const head of upTo(0, 4)) {
      const [q, k] = [matrixOf(call.q, head), matrixOf(call.k, Math.floor(head / 2))]
      const label = [...call.tables.label.slice(3 * head, 3 * head + 3)]
      for (const row of upTo(0, 9)) {
        const score = (t: number) => label.reduce((s, c) => s + q[row]![c]! * k[t]![c]!, 0)
        const best = upTo(0, 13 + row)
          .sort((a, b) => score(b) - score(a) || a - b)
          .slice(0, 5)
        expect(keysOf(result, 21, head, row)).toEqual(best.sort((a, b) => a - b))
      }
    }
  })
})

it('are patterns', () => {
  const all: readonly Pattern[] = [flexprefill, hip, hyper, razor, doubleSparsity]
  expect(all.every((p) => p.forward !== null)).toBe(true)
})

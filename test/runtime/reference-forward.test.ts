/** The oracle of forward programs: the same result as of masks, its inputs checked, its selections told. */

import { describe, expect, it } from 'vitest'
import {
  and,
  attend,
  blocks,
  dot,
  f32,
  gated,
  i32,
  merge,
  or,
  pattern,
  perHead,
  pool,
  rename,
  reuse,
  rows,
  table,
  topK,
  where,
  type Pattern,
} from '../../dsl/index.ts'
import type { Carried } from '../../runtime/reference-forward.ts'
import { plain16, plain32, reference, type ReferenceCall } from '../../runtime/reference.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import { HeddleError } from '../../runtime/messages.ts'
import type { Shape } from '../../runtime/tensor.ts'

const random = seededRandom(11)
const tensor = (...shape: Shape) => ({
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() * 2 - 1),
  shape,
})

const given = {
  cite: 'nobody',
  params: { window: i32(6, { min: 1 }), slope: perHead(f32(0.5)) },
  tables: { bias: table('f32', ['head', 'kvLen']), sink: table('f32', ['head']) },
} as const
const masked = pattern({
  ...given,
  name: 'masked',
  mask: ({ q, kv, window }) => kv <= q && q - kv < window,
  score: (s, { head, kv, slope, bias }) => s * slope + bias.at(head, kv),
  sinkLogit: ({ head, sink }) => sink.at(head),
})
const forwarded = pattern({
  ...given,
  name: 'forwarded',
  mask: ({ q, kv, window }) => kv <= q && q - kv < window,
  score: (s, { head, kv, slope, bias }) => s * slope + bias.at(head, kv),
  sinkLogit: ({ head, sink }) => sink.at(head),
  forward: ({ Q, K, V }) => attend(Q, K, V),
})

const call: ReferenceCall = {
  q: tensor(2, 4, 7, 6),
  k: tensor(2, 2, 19, 6),
  v: tensor(2, 2, 19, 5),
  params: { slope: [0.5, 1, 2, -1] },
  tables: {
    bias: Float32Array.from({ length: 4 * 19 }, (_, i) => (i % 7) / 8),
    sink: Float32Array.of(0, -1, 1, 2),
  },
}

describe('attend(Q, K, V)', () => {
  it.each([
    ['all rows', undefined],
    ['padding, an empty entry', [{ qRow: 2, qLen: 4, kvStart: 3, kvLen: 11 }, { qLen: 0 }]],
    [
      'queries of one token, no keys',
      [
        { qLen: 1, kvLen: 8 },
        { kvLen: 0, qStart: 3 },
      ],
    ],
  ] as const)('means what no forward does: %s', (_, lengths) => {
    const both = { ...call, ...(lengths === undefined ? {} : { lengths }) }
    for (const run of [reference, plain32, plain16]) {
      const [a, b] = [run(masked, both), run(forwarded, both)]
      const { out, lse, keeps, steps, ...rest } = b
      expect(rest).toEqual({ kept: a.kept, logitMax: a.logitMax, valueMax: a.valueMax })
      // The order of summation is the same but for the sink, which comes last.
      out.forEach((x, i) => expect(x).toBeCloseTo(a.out[i]!, run === reference ? 12 : 5))
      lse.forEach((x, i) => {
        if (a.lse[i] === -Infinity) expect(x).toBe(-Infinity)
        else expect(x).toBeCloseTo(a.lse[i]!, run === reference ? 12 : 5)
      })
      for (const [row, kv] of [
        [0, 0],
        [3, 5],
        [3, 9],
        [6, 18],
        [9, 0],
      ] as const) {
        expect(keeps(0, 1, row, kv)).toBe(a.keeps(0, 1, row, kv))
      }
      expect(steps.map((list) => list.map((s) => s.word))).toEqual([['attend'], ['attend']])
    }
  })

  it('is rounded as a yardstick says', () => {
    const [exact, single] = [reference(forwarded, call), plain32(forwarded, call)]
    const errors = single.out.map((x, i) => Math.abs(x - exact.out[i]!))
    expect(Math.max(...errors)).toBeGreaterThan(1e-9)
    expect(Math.max(...errors)).toBeLessThan(1e-5)
    expect(single.out.every((x) => Math.fround(x) === x)).toBe(true)
  })
})

const routed = pattern({
  name: 'routed',
  consts: { block: 4 },
  params: { k: perHead(i32(1, { min: 1 })) },
  tables: { route: rows('kv', 'kvHead'), shift: rows('q', 'request', 'whole') },
  mask: ({ q, kv }) => kv <= q,
  forward: ({ Q, K, V, route, k, block }) => {
    const chosen = topK(dot(Q, pool(route, blocks(block), 'mean')), k)
    const base = attend(
      Q,
      K,
      V,
      where(({ q, kv }) => q === kv),
    )
    return attend(Q, K, V, chosen, { after: base })
  },
})
const route = tensor(2, 2, 19, 6)
const routedCall = { q: call.q, k: call.k, v: call.v, rows: { route, shift: tensor(2, 1, 1, 3) } }

describe('a program', () => {
  it('reads its own rows, params of each head and consts', () => {
    const few = reference(routed, { ...routedCall, params: { k: [1, 1, 1, 5] } })
    const own = (head: number) =>
      Array.from({ length: 19 }, (_, kv) => kv).filter((kv) => few.keeps(1, head, 6, kv))
    expect(
      own(0)
        .filter((kv) => kv < 18)
        .map((kv) => Math.floor(kv / 4))
        .every((b, _, all) => b === all[0]),
    ).toBe(true)
    expect(own(3)).toHaveLength(19)
    const changed = {
      ...routedCall,
      rows: { ...routedCall.rows, route: { ...route, data: route.data.map((x) => -x) } },
    }
    expect(reference(routed, changed).out).not.toEqual(reference(routed, routedCall).out)
    const wide = reference({ ...routed, consts: { block: 64 } }, routedCall)
    expect(wide.kept).toBe(2 * 4 * Array.from({ length: 7 }, (_, r) => 13 + r).reduce((a, b) => a + b, 0))
  })

  it('tells each selection with its scores, in order, for each batch entry', () => {
    const { steps } = reference(routed, routedCall)
    expect(steps).toHaveLength(2)
    for (const list of steps) {
      expect(list.map(({ word, nth }) => `${word} ${nth}`)).toEqual(['topK 0', 'attend 0', 'attend 1'])
      const [chosen, , last] = list
      expect(chosen!.scores!.values.map((units) => units.length)).toEqual([7, 7, 7, 7])
      expect(last!.set).toBe(chosen!.set)
      // What was chosen scores above what was not.
      const { body } = chosen!.set!
      if (body.form !== 'cells') throw new Error('a list of blocks')
      const line = chosen!.scores!.values[2]![6]!
      const picked = body.has[2]![6]!.indexOf(1)
      expect(line[picked]).toBe(Math.max(...line))
    }
  })

  it('refuses rows that are missing, unknown or of another shape', () => {
    const error = (rows: ReferenceCall['rows']) => {
      try {
        reference(routed, { ...routedCall, ...(rows ? { rows } : {}) })
      } catch (e) {
        if (e instanceof HeddleError) return [e.code, e.message]
        throw e
      }
      return null
    }
    expect(error({})).toEqual([
      'rows-missing',
      'rows.route is missing: expected [batch, kvHead, tokens, channels] = [2, 2, 19, any]',
    ])
    expect(error({ ...routedCall.rows, other: route })).toEqual([
      'rows-unknown',
      'rows: there is no `other`; the pattern has route, shift',
    ])
    const short = { ...routedCall.rows, route: tensor(2, 2, 18, 6) }
    expect(() => reference(routed, { ...routedCall, rows: short })).toThrow(
      'route: expected [batch, kvHead, tokens, channels] = [2, 2, 19, 6], got [2, 2, 18, 6]',
    )
  })

  it('takes as many index heads as its rows have, all alike', () => {
    const indexed = pattern({
      name: 'indexed',
      tables: {
        qIndex: rows('q', 'indexHead'),
        kIndex: rows('kv', 'indexHead'),
        weight: table('f32', ['indexHead']),
      },
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V, qIndex, kIndex }) =>
        attend(Q, K, V, topK(pool(dot(qIndex, kIndex), { share: 'request' }, 'sum'), 2)),
    })
    const weight = new Float32Array(3)
    const inputs = { q: call.q, k: call.k, v: call.v, tables: { weight } }
    const { kept } = reference(indexed, {
      ...inputs,
      rows: { qIndex: tensor(2, 3, 7, 2), kIndex: tensor(2, 3, 19, 2) },
    })
    expect(kept).toBe(2 * 4 * 7 * 2)
    expect(() =>
      reference(indexed, { ...inputs, rows: { qIndex: tensor(2, 3, 7, 2), kIndex: tensor(2, 4, 19, 2) } }),
    ).toThrow('kIndex: expected [batch, indexHead, tokens, channels] = [2, 3, 19, 2], got [2, 4, 19, 2]')
  })

  it('gives a gated sum without a log-sum-exp, and pairs that any branch holds', () => {
    const branches = pattern({
      name: 'branches',
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V }) =>
        gated(
          [
            attend(
              Q,
              K,
              V,
              where(({ q, kv }) => q === kv),
            ),
            () => 1,
          ],
          [
            attend(
              Q,
              K,
              V,
              where(({ q, kv }) => q - kv < 2),
            ),
            () => -1,
          ],
        ),
    })
    const result = reference(branches, { q: call.q, k: call.k, v: call.v })
    expect([result.kept, result.lse.every(Number.isNaN)]).toEqual([2 * 4 * 7 * 2, true])
  })

  it('carries what reuse() keeps, each batch entry its own', () => {
    const made: number[] = []
    const reusing = pattern({
      name: 'reusing',
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V, kvLen }) => {
        const make = () => {
          made.push(kvLen)
          return where(({ kv }) => kv === 0)
        }
        return merge(
          attend(Q, K, V, reuse('first', make, { steps: 2 })),
          attend(
            Q,
            K,
            V,
            where(({ kv }) => kv > 2),
          ),
        )
      },
    })
    const carried: Carried[] = [new Map(), new Map()]
    for (let i = 0; i < 3; i++) reference(reusing, { q: call.q, k: call.k, v: call.v, carried })
    expect(made).toHaveLength(4)
    reference(reusing, { q: call.q, k: call.k, v: call.v })
    expect(made).toHaveLength(6)
  })
})

describe('combined patterns', () => {
  const near = pattern({
    name: 'near',
    params: { reach: i32(3) },
    mask: ({ q, kv, reach }) => q - kv < reach,
  })
  const inputs = { q: call.q, k: call.k, v: call.v }

  it('keep the forward of one, under the mask of both', () => {
    const narrow = and(routed, near)
    const { kept } = reference(narrow, { ...routedCall, params: { k: 99 } })
    expect(kept).toBe(2 * 4 * 7 * 3)
    expect(or(near, routed).forward).toBe(routed.forward)
    expect(near.forward).toBe(null)
    expect(() => and(routed, forwarded)).toThrow('score-clash')
  })

  it('rename what a forward reads', () => {
    const other = rename(routed, { k: 'budget', route: 'path', block: 'unit' })
    const due = reference(routed, { ...routedCall, params: { k: 2 } })
    const { route: path, shift } = routedCall.rows
    const got = reference(other, { ...inputs, rows: { path, shift }, params: { budget: 2 } })
    expect(got.out).toEqual(due.out)
    expect(other.tables.path).toBe(routed.tables.route)
  })

  it('are patterns like others', () => {
    const all: readonly Pattern[] = [masked, forwarded, routed, and(routed, near)]
    expect(all.map((p) => p.forward !== null)).toEqual([false, true, true, true])
  })
})

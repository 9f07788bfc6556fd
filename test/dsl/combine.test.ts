/**
 * and, or, not, rename: the pattern they give keeps what its operands' masks say, under the names it shows.
 */

import { describe, expect, it } from 'vitest'
import { and, f32, i32, not, or, pattern, rename, table } from '../../dsl/index.ts'
import { causal, documentStarts, slidingWindow, softcap } from '../../patterns/index.ts'
import { keeps, keysOf, range, square } from '../patterns/pairs.ts'

const near = pattern({
  name: 'near',
  cite: 'Near, arXiv:0000.00001',
  params: { reach: i32(3, { min: 0 }) },
  mask: ({ q, kv, reach }) => q - kv <= reach && kv - q <= reach,
})
const even = pattern({ name: 'even', cite: 'Near, arXiv:0000.00001', mask: ({ kv }) => kv % 2 === 0 })

describe('and, or, not', () => {
  it('are those of the masks', () => {
    const sizes = square(20)
    const [a, b, c] = [keeps(near, sizes), keeps(even, sizes), keeps(causal, sizes)]
    const all = keeps(and(near, even, causal), sizes)
    const any = keeps(or(near, even, causal), sizes)
    const none = keeps(not(or(near, even)), sizes)
    for (const q of range(0, 20)) {
      for (const kv of range(0, 20)) {
        const [x, y, z] = [a(0, q, kv), b(0, q, kv), c(0, q, kv)]
        expect([all(0, q, kv), any(0, q, kv), none(0, q, kv)]).toEqual([x && y && z, x || y || z, !(x || y)])
      }
    }
  })

  it('build a name and cite each paper once', () => {
    expect(and(causal, near).name).toBe('causal-and-near')
    expect(or(causal, near, even).name).toBe('causal-or-near-or-even')
    expect(not(and(causal, near)).name).toBe('not-causal-and-near')
    expect(or(near, even, causal).cite).toBe(`${near.cite}; ${causal.cite}`)
    expect(and(pattern({ name: 'x', mask: () => true }), near).cite).toBe(near.cite)
  })

  it('share what is declared alike', () => {
    const again = pattern({
      name: 'again',
      params: { reach: i32(3, { min: 0 }) },
      mask: ({ q, reach }) => q > reach,
    })
    const both = and(near, again)
    expect(Object.keys(both.params)).toEqual(['reach'])
    expect(keysOf(both, square(9), { params: { reach: 1 } })(0, 4)).toEqual([3, 4, 5])
    const docs = or(documentStarts, and(documentStarts, near))
    expect(Object.keys(docs.tables)).toEqual(['docStart'])
  })

  it('see every difference of two declarations', () => {
    const one = (spec: ReturnType<typeof i32>) =>
      pattern({ name: 'p', params: { a: spec }, mask: () => true })
    for (const other of [i32(4), i32(3, { min: 0 }), i32(3, { max: 9 }), f32(3)]) {
      expect(() => and(one(i32(3)), one(other))).toThrow(/param-clash/)
    }
    const of = (spec: ReturnType<typeof table>) =>
      pattern({ name: 'p', tables: { t: spec }, mask: () => true } as never)
    const plain = table('i32', ['kvLen'])
    const others = [
      table('f32', ['kvLen']),
      table('i32', ['qLen']),
      table('i32', ['batch', 'kvLen']),
      table('i32', ['kvLen'], { min: 0 }),
      table('i32', ['kvLen'], { max: 9 }),
      table('i32', ['kvLen'], { monotone: true }),
    ]
    for (const other of others) expect(() => and(of(plain), of(other))).toThrow(/param-clash/)
    expect(and(of(plain), of(table('i32', ['kvLen']))).tables).toEqual({ t: plain })
  })

  it('hand on the one score and the one sink logit', () => {
    const sunk = pattern({ name: 'sunk', mask: () => true, sinkLogit: ({ head }) => head })
    for (const both of [and(near, softcap, sunk), or(sunk, softcap), not(and(softcap, sunk))]) {
      expect([both.score, both.sinkLogit]).toEqual([softcap.score, sunk.sinkLogit])
    }
    expect([and(near, even).score, or(near, even).sinkLogit]).toEqual([null, null])
  })
})

describe('rename', () => {
  const local = pattern({
    name: 'local',
    consts: { size: 4 },
    params: { window: i32(2, { min: 1 }), gain: f32(3) },
    tables: { bias: table('f32', ['head', 'size']) },
    mask: ({ q, kv, window }) => kv <= q && q - kv < window,
    score: (s, { gain, bias, size }) => s * gain + bias.at(0, size - 1),
    sinkLogit: ({ gain, bias }) => gain + bias.at(0, 0),
  })

  it('changes names as seen from outside and nothing else', () => {
    const other = rename(local, { window: 'recent', gain: 'factor', bias: 'offsets', size: 'width' }, 'other')
    expect(other.name).toBe('other')
    expect(other.params).toEqual({ recent: local.params.window, factor: local.params.gain })
    expect(other.consts).toEqual({ width: 4 })
    expect(other.tables).toEqual({ offsets: { ...local.tables.bias, dims: ['head', 'width'] } })
    const index = {
      batch: 0,
      head: 0,
      kvHead: 0,
      q: 5,
      kv: 3,
      qLen: 8,
      kvLen: 8,
      qHeads: 1,
      kvHeads: 1,
      headDim: 16,
    }
    const ix = {
      ...index,
      recent: 3,
      factor: 10,
      width: 4,
      offsets: { at: (_: number, i: number) => i * 100 },
    }
    expect([other.mask(ix), other.score!(2, ix), other.sinkLogit!(ix)]).toEqual([true, 320, 10])
    expect(rename(local, {}).name).toBe('local')
  })

  it('lets a pattern meet itself with other values', () => {
    const two = or(slidingWindow, rename(slidingWindow, { window: 'late' }, 'late'))
    expect(two.name).toBe('sliding-window-or-late')
    const kept = keysOf(and(two, not(rename(slidingWindow, { window: 'gap' }, 'gap'))), square(30), {
      params: { window: 4, late: 8, gap: 2 },
    })
    expect(kept(0, 20)).toEqual(range(13, 19))
  })

  it('swaps two names', () => {
    const pair = pattern({
      name: 'pair',
      params: { a: i32(1), b: i32(2) },
      mask: ({ kv, a, b }) => kv >= a && kv < b,
    })
    const swapped = rename(pair, { a: 'b', b: 'a' })
    expect([swapped.params.a.default, swapped.params.b.default]).toEqual([2, 1])
    expect(keysOf(swapped, square(9), { params: { b: 3, a: 6 } })(0, 0)).toEqual([3, 4, 5])
  })

  it('can be combined and renamed again', () => {
    const twice = rename(rename(local, { window: 'x' }), { x: 'y' })
    expect(
      keysOf(and(causal, twice), square(9), { params: { y: 3 }, tables: { bias: [0, 0, 0, 0] } })(0, 5),
    ).toEqual([3, 4, 5])
  })
})

/** pattern(), i32, f32, perHead, table: the records they give. */

import { describe, expect, it } from 'vitest'
import { f32, i32, INDEX_FIELDS, isPattern, pattern, perHead, table } from '../../dsl/index.ts'
import { INDEX_VARS } from '../../compiler/ir.ts'

describe('declarations', () => {
  it('have the bounds of their type where none are given', () => {
    const base = { kind: 'param', perHead: false } as const
    expect(i32(8)).toEqual({ ...base, type: 'i32', default: 8, min: -(2 ** 30), max: 2 ** 30 })
    expect(i32(8, { min: 1 })).toEqual({ ...base, type: 'i32', default: 8, min: 1, max: 2 ** 30 })
    const most = 3.4028234663852886e38
    expect(f32(0.5)).toEqual({ ...base, type: 'f32', default: 0.5, min: -most, max: most })
    expect(Math.fround(most)).toBe(most)
    expect(perHead(f32(1, { max: 2 }))).toEqual({
      ...base,
      type: 'f32',
      default: 1,
      min: -most,
      max: 2,
      perHead: true,
    })
  })

  it('of tables promise nothing unless told', () => {
    expect(table('i32', ['kvLen'])).toEqual({
      kind: 'table',
      type: 'i32',
      dims: ['kvLen'],
      monotone: false,
      min: -(2 ** 30),
      max: 2 ** 30,
    })
    expect(table('f32', ['head', 32], { min: 0, monotone: true })).toEqual({
      kind: 'table',
      type: 'f32',
      dims: ['head', 32],
      monotone: true,
      min: 0,
      max: Infinity,
    })
  })
})

describe('pattern()', () => {
  it('gives a complete record of what it got', () => {
    const mask = () => true
    const plain = pattern({ name: 'plain', mask })
    expect(plain).toEqual({
      kind: 'heddle/pattern',
      name: 'plain',
      cite: '',
      consts: {},
      params: {},
      tables: {},
      mask,
      score: null,
      sinkLogit: null,
      forward: null,
    })
    expect(isPattern(plain)).toBe(true)
    expect([null, undefined, {}, mask, { kind: 'param' }].some(isPattern)).toBe(false)
  })

  it('keeps the functions as they are, so that they run as plain JavaScript', () => {
    const mine = pattern({
      name: 'mine',
      cite: 'a paper',
      consts: { block: 4 },
      params: { window: i32(3, { min: 1 }), gain: perHead(f32(2)) },
      tables: { sink: table('f32', ['head']) },
      mask: ({ q, kv, window }) => kv <= q && q - kv < window,
      score: (s, { gain, block }) => s * gain + block,
      sinkLogit: ({ head, sink }) => sink.at(head),
    })
    const index = {
      batch: 0,
      head: 1,
      kvHead: 1,
      q: 5,
      kv: 3,
      qLen: 8,
      kvLen: 8,
      qHeads: 2,
      kvHeads: 2,
      headDim: 16,
    }
    const ix = { ...index, block: 4, window: 3, gain: 10, sink: { at: (head: number) => [7, 9][head] ?? 0 } }
    expect([mine.mask(ix), mine.mask({ ...ix, kv: 2 }), mine.score!(2, ix), mine.sinkLogit!(ix)]).toEqual([
      true,
      false,
      24,
      9,
    ])
  })

  it('reserves the names of the index record, which are the compiler’s', () => {
    expect([...INDEX_FIELDS].toSorted()).toEqual([...INDEX_VARS].toSorted())
  })
})

/**
 * What an author's editor must mark: each directive below is an error of tsc if the line under it is none.
 */

import { describe, expect, it } from 'vitest'
import { and, f32, i32, not, or, pattern, perHead, rename, table, type Pattern } from '../../dsl/index.ts'

const causal = pattern({ name: 'causal', mask: ({ q, kv }) => kv <= q })
const local = pattern({
  name: 'local',
  consts: { block: 64 },
  params: { window: i32(8, { min: 1 }), weight: perHead(f32(1)) },
  tables: { docId: table('i32', ['batch', 'kvLen']), bias: table('f32', ['head', 'block']) },
  mask: ({ q, kv, window, docId, batch, block }) => q - kv < window && docId.at(batch, q) === block,
  score: (s, { weight, bias, head }) => s * weight + bias.at(head, 0),
})

/** Never run: only its types are looked at. */
export const refused = (): readonly unknown[] => [
  // @ts-expect-error a param that is misspelt in the mask
  pattern({ name: 'x', params: { window: i32(8) }, mask: ({ q, kv, windw }) => q - kv < windw }),
  // @ts-expect-error a name in a pattern that declares none
  pattern({ name: 'x', mask: ({ q, kv, window }) => q - kv < window }),
  // @ts-expect-error a const that is misspelt in the score
  pattern({ name: 'x', consts: { cap: 2 }, mask: () => true, score: (s, { cup }) => s * cup }),
  // @ts-expect-error a table that is misspelt
  pattern({ name: 'x', tables: { docId: table('i32', ['kvLen']) }, mask: ({ docID }) => docID.at(0) === 0 }),
  // @ts-expect-error a table read with too few indices
  pattern({ name: 'x', tables: { id: table('i32', ['batch', 'kvLen']) }, mask: ({ q, id }) => id.at(q) > 0 }),
  // @ts-expect-error a table used as a number
  pattern({ name: 'x', tables: { id: table('i32', ['kvLen']) }, mask: ({ q, id }) => id < q }),
  // @ts-expect-error a param used as a table
  pattern({ name: 'x', params: { id: i32(0) }, mask: ({ q, id }) => id.at(q) === 0 }),
  // @ts-expect-error a dim that is misspelt
  pattern({ name: 'x', tables: { id: table('i32', ['kvlen']) }, mask: () => true }),
  // @ts-expect-error a dim that is a const of no such name
  pattern({ name: 'x', consts: { bucket: 8 }, tables: { id: table('i32', ['buckets']) }, mask: () => true }),
  // @ts-expect-error a param called like a field of the index record
  pattern({ name: 'x', params: { kvLen: i32(8) }, mask: () => true }),
  // @ts-expect-error a const called like a field of the index record
  pattern({ name: 'x', consts: { q: 8 }, mask: () => true }),
  // @ts-expect-error a table called like a field of the index record
  pattern({ name: 'x', tables: { head: table('i32', ['head']) }, mask: () => true }),
  // @ts-expect-error one name in params and consts
  pattern({ name: 'x', consts: { block: 8 }, params: { block: i32(8) }, mask: () => true }),
  // @ts-expect-error one name in params and tables
  pattern({ name: 'x', params: { id: i32(8) }, tables: { id: table('i32', ['kvLen']) }, mask: () => true }),
  // @ts-expect-error a sink logit that depends on the query's position
  pattern({ name: 'x', mask: () => true, sinkLogit: ({ q }) => q }),
  // @ts-expect-error a mask that gives a number
  pattern({ name: 'x', mask: ({ q, kv }) => q - kv }),
  // @ts-expect-error a number where a param is due
  pattern({ name: 'x', params: { window: 8 }, mask: () => true }),
  // @ts-expect-error a field that patterns do not have
  pattern({ name: 'x', mask: () => true, scores: () => 0 }),
  // @ts-expect-error perHead of a number
  perHead(8),
  // @ts-expect-error an old name that the pattern does not have
  rename(local, { windw: 'reach' }),
  // @ts-expect-error one operand
  and(causal),
  // @ts-expect-error the old name is gone
  rename(local, { window: 'reach' }).params.window,
  // @ts-expect-error no operand has it
  and(causal, local).params.reach,
]

describe('the types of a pattern', () => {
  it('keep the names of params, consts and tables', () => {
    const window: number = local.params.window.default
    const dims: readonly ['batch', 'kvLen'] = local.tables.docId.dims
    expect([window, dims, local.consts.block]).toEqual([8, ['batch', 'kvLen'], 64])
  })

  it('go through the combinators', () => {
    const both = or(not(causal), rename(local, { window: 'reach', docId: 'document' }))
    const reach: number = both.params.reach.default
    expect([reach, both.tables.document.dims, both.consts.block]).toEqual([8, ['batch', 'kvLen'], 64])
    const three = and(causal, causal, both)
    expect(three.params.weight.perHead).toBe(true)
  })

  it('are checked under an annotation, too', () => {
    const right: Pattern = pattern({ name: 'x', params: { near: i32(8) }, mask: ({ q, near }) => q < near })
    // @ts-expect-error a param that is misspelt in the mask
    const wrong: Pattern = pattern({ name: 'x', params: { near: i32(8) }, mask: ({ q, neer }) => q < neer })
    expect([right.name, wrong.name]).toEqual(['x', 'x'])
  })

  it('let any pattern stand where its names do not matter', () => {
    const all: readonly Pattern[] = [causal, local, and(causal, local), rename(local, { block: 'size' })]
    expect(all.map((p) => p.name)).toEqual(['causal', 'local', 'causal-and-local', 'local'])
  })
})

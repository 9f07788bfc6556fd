/** A layer of mixed heads: each is what the pattern of its kind makes of it, and the other kinds give it nothing. */

import { describe, expect, it } from 'vitest'
import { cellForm } from '../../dsl/stages/sets.ts'
import { aShape, minference, minferenceBlock, minferenceVerticalSlash } from '../../patterns/index.ts'
import { reference, type ReferencePattern, type ReferenceResult } from '../../runtime/reference.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import { range } from './specifications.ts'

const CONSTS = { block: 8, last: 8, firstKeys: 2, nearest: 4 }
const HEADS = 6
const HEAD_DIM = 8
/** Two heads of each kind, none beside its like, so that heads of a group differ, too. */
const KINDS = ['lines', 'blocks', 'shape', 'blocks', 'shape', 'lines'] as const
type Kind = (typeof KINDS)[number]
const BUDGETS = {
  vertical: [5, 0, 0, 0, 0, 1],
  slash: [9, 0, 0, 0, 0, 6],
  k: [0, 3, 0, 1, 0, 0],
  window: [0, 0, 13, 0, 1, 0],
  sinkTokens: [0, 0, 3, 0, 0, 0],
}

interface Case {
  readonly qLen: number
  readonly kvLen: number
  readonly kvHeads: number
}
const CASES: readonly Case[] = [
  { qLen: 64, kvLen: 64, kvHeads: 3 },
  { qLen: 61, kvLen: 61, kvHeads: 6 },
  { qLen: 23, kvLen: 77, kvHeads: 2 },
  { qLen: 1, kvLen: 50, kvHeads: 1 },
]

function callOf({ qLen, kvLen, kvHeads }: Case) {
  const random = seededRandom(qLen + kvLen)
  const tensor = (heads: number, rows: number) => ({
    data: Float32Array.from({ length: heads * rows * HEAD_DIM }, () => random() * 4 - 2),
    shape: [1, heads, rows, HEAD_DIM] as const,
  })
  return { q: tensor(HEADS, qLen), k: tensor(kvHeads, kvLen), v: tensor(kvHeads, kvLen) }
}
type Tensors = ReturnType<typeof callOf>

type Params = Readonly<Record<string, number | number[]>>
const run = (pattern: ReferencePattern, call: Tensors, params: Params): ReferenceResult => {
  const own = Object.keys(pattern.consts)
  const consts = Object.fromEntries(Object.entries(CONSTS).filter(([name]) => own.includes(name)))
  return reference({ ...pattern, consts: { ...pattern.consts, ...consts } }, { ...call, params })
}

/** The pattern of a kind with one head's numbers. */
const ALONE: Readonly<Record<Kind, (call: Tensors, head: number) => ReferenceResult>> = {
  lines: (call, head) =>
    run(minferenceVerticalSlash, call, {
      vertical: BUDGETS.vertical[head]!,
      slash: BUDGETS.slash[head]!,
    }),
  blocks: (call, head) => run(minferenceBlock, call, { k: BUDGETS.k[head]! }),
  shape: (call, head) =>
    run(aShape, call, { window: BUDGETS.window[head]!, sinkTokens: BUDGETS.sinkTokens[head]! }),
}

describe.each(CASES)('$qLen queries, $kvLen keys, $kvHeads kv heads', (c) => {
  const call = callOf(c)
  const mixed = run(minference, call, BUDGETS)

  it.each(KINDS.map((kind, head) => [head, kind] as const))('head %i is one of %s', (head, kind) => {
    const alone = ALONE[kind](call, head)
    const keysOf = (result: ReferenceResult, row: number) =>
      range(0, c.kvLen).filter((kv) => result.keeps(0, head, row, kv))
    for (const row of range(0, c.qLen)) {
      expect(keysOf(mixed, row)).toEqual(keysOf(alone, row))
      const at = (head * c.qLen + row) * HEAD_DIM
      expect(mixed.lse[head * c.qLen + row]).toBeCloseTo(alone.lse[head * c.qLen + row]!, 9)
      for (const i of range(at, at + HEAD_DIM)) expect(mixed.out[i]).toBeCloseTo(alone.out[i]!, 9)
    }
  })

  it('selects nothing for a head in the stages of other kinds, and something in its own', () => {
    const chosen = mixed.steps[0]!.filter(({ word }) => word === 'topK')
    expect(chosen).toHaveLength(3)
    const [near, verticals, slashes] = chosen.map(({ set }) =>
      cellForm('topK', set!, null).body.has.map((rows) => rows.some((row) => row.includes(1))),
    )
    const are = (kind: Kind) => KINDS.map((k) => k === kind)
    expect(near).toEqual(are('blocks'))
    expect(verticals).toEqual(are('lines'))
    expect(slashes).toEqual(are('lines'))
  })
})

describe('a head of several kinds of numbers, and of none', () => {
  const c = CASES[0]!
  const call = callOf(c)

  it('attends the union', () => {
    const both = run(minference, call, { vertical: 0, slash: 0, k: 2, window: 5, sinkTokens: 1 })
    const parts = [
      run(minferenceBlock, call, { k: 2 }),
      run(aShape, call, { window: 5, sinkTokens: 1 }),
    ] as const
    for (const head of range(0, HEADS)) {
      for (const row of range(0, c.qLen)) {
        for (const kv of range(0, c.kvLen)) {
          const due = parts.some((part) => part.keeps(0, head, row, kv))
          expect(both.keeps(0, head, row, kv)).toBe(due)
        }
      }
    }
  })

  it('attends nothing', () => {
    const none = run(minference, call, { vertical: 0, slash: 0, k: 0, window: 0, sinkTokens: 0 })
    expect(none.kept).toBe(0)
    expect(none.out.every((x) => x === 0)).toBe(true)
    expect(none.lse.every((x) => x === -Infinity)).toBe(true)
  })
})

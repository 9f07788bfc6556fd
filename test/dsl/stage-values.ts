/** Sizes and a mask in; a call's Q, K and V with seeded contents out, and plain numbers of what words make. */

import { kvTokens, qTokens, type Call, type Share } from '../../dsl/stages/call.ts'
import { callOf, inputRows, perHeadScores } from '../../dsl/stages/evaluate.ts'
import type { ForwardTable } from '../../dsl/index.ts'
import { scoresOf, VISIBLE, type Scores } from '../../dsl/stages/scores.ts'
import { membership, type AnySet } from '../../dsl/stages/sets.ts'
import type { KvTokens, QTokens } from '../../dsl/stages/units.ts'
import type { Rows } from '../../dsl/index.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'

export interface Setting {
  readonly qLen: number
  readonly kvLen: number
  readonly qHeads?: number
  readonly kvHeads?: number
  readonly indexHeads?: number
  readonly headDim?: number
  readonly seed?: number
  readonly mask?: (head: number, q: number, kv: number) => boolean
}

export interface Values {
  readonly call: Call
  readonly Q: Rows<'head', QTokens>
  readonly K: Rows<'kvHead', KvTokens>
  readonly V: Rows<'kvHead', KvTokens>
  readonly random: () => number
}

/** Causal, the last query at the last key, unless told. */
export function valuesOf(setting: Setting): Values {
  const { qLen, kvLen, qHeads = 2, kvHeads = 1, indexHeads = 0, headDim = 4, seed = 1 } = setting
  const uniform = seededRandom(seed)
  const random = () => uniform() * 2 - 1
  const call = callOf({
    batch: 0,
    qHeads,
    kvHeads,
    indexHeads,
    qStart: kvLen - qLen,
    qLen,
    kvLen,
    headDim,
    scale: headDim ** -0.5,
    keeps: setting.mask ?? ((_, q, kv) => kv <= q),
    logit: (s) => s,
    single: false,
    weigh: (x) => x,
    trace: [],
  })
  const vector = () => Float64Array.from({ length: headDim }, random)
  return {
    call,
    Q: inputRows(call, 'q', 'head', 'token', headDim, vector) as Values['Q'],
    K: inputRows(call, 'kv', 'kvHead', 'token', headDim, vector) as Values['K'],
    V: inputRows(call, 'kv', 'kvHead', 'token', headDim, vector) as Values['V'],
    random,
  }
}

/** Token scores of given numbers, one matrix for each sharer. */
export const scoresFrom = <H extends Share>(
  { call }: Values,
  share: H,
  numbers: readonly (readonly (readonly number[])[])[],
): Scores<H, QTokens, KvTokens> =>
  scoresOf(call, share, qTokens(call), kvTokens(call), ({ sharer, row, column }) => ({
    value: numbers[sharer.at]![row]![column]!,
    visible: VISIBLE,
  }))

/** A vector over the keys. */
export const vectorFrom = ({ call }: Values, numbers: readonly number[]) =>
  scoresOf(call, 'request', tokenAxisWhole(call), kvTokens(call), ({ column }) => ({
    value: numbers[column]!,
    visible: VISIBLE,
  }))

const tokenAxisWhole = (call: Call) =>
  perHeadScores(
    call,
    Array.from({ length: call.qHeads }, () => 0),
  ).q

/** A table as a forward program sees it. */
export function tableFrom<const D extends readonly (string | number)[], H extends Share = 'request'>(
  dims: D,
  sizes: readonly number[],
  data: readonly number[],
  share: H = 'request' as H,
): ForwardTable<D, H> {
  const at = (...index: readonly number[]): number =>
    index.some((i, d) => !(i >= 0 && i < sizes[d]!))
      ? 0
      : data[index.reduce((place, i, d) => place * sizes[d]! + i, 0)]!
  return { kind: 'table-input', name: 'given', share, dims, sizes, at } as ForwardTable<D, H>
}

export const matrix = (s: Scores, sharer = 0): number[][] => s.values[sharer]!.map((row) => [...row])

/** The keys that a set gives a query of a head, by position. */
export function keysOf(set: AnySet, { call }: Pick<Values, 'call'>, head: number, q: number): number[] {
  const member = membership(set, call)
  return Array.from({ length: call.kvLen }, (_, kv) => kv).filter((kv) =>
    member({ call, share: 'head', at: head }, q, kv),
  )
}

/** Positions of the chosen units of a line, by their numbers. */
export const chosen = (set: AnySet, sharer = 0, row = 0): number[] => {
  if (set.body.form !== 'cells') throw new Error('not made of cells')
  const line = set.kv.lists[set.kv.lists.length === 1 ? 0 : sharer]!
  const units = line[line.length === 1 ? 0 : row]!
  const has = set.body.has[sharer]![row]!
  return units.flatMap((unit, column) => (has[column] === 1 ? [unit.index] : []))
}

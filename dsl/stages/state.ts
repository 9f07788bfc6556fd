/** The state of the online softmax, row by row: keys and values in, maximum, sum and accumulator out. */

import type { Call } from './call.ts'
import { qTokens } from './call.ts'
import { scoresOf, VISIBLE, type Scores } from './scores.ts'
import { wholeOf } from './score-words.ts'
import { kvTokens } from './call.ts'
import type { QTokens, Units, Whole } from './units.ts'

/** What a row has seen: acc is the sum of exp(logit - max) times the value. */
export interface RowState {
  readonly max: number
  readonly sum: number
  readonly acc: Float64Array
}

/** Which keys of one operand the rows hold. */
export interface Held {
  /** The operand's units if they are not tokens; tokens of whatever order are the sequence's. */
  readonly units: Units | null
  /** By head and row: 1 for each key of the operand that is in the state. */
  readonly keys: readonly (readonly Uint8Array[])[]
}

/**
 * Attention that may go on: every query's running maximum and sum of its logits and the values weighed with
 * them.
 */
export interface State {
  readonly kind: 'state'
  readonly call: Call
  /** The greatest logit of each row; -Infinity of a row that has attended nothing. */
  readonly max: Scores<'head', QTokens, Whole<'kv'>>
  /** The logarithm of the sum of exponentials of each row's logits. */
  readonly lse: Scores<'head', QTokens, Whole<'kv'>>
  /** Length of an output vector. */
  readonly width: number
  /** By head, then by row of the call. */
  readonly rows: readonly (readonly RowState[])[]
  readonly held: readonly Held[]
  /** The greatest magnitudes of a logit and of a value that were attended. */
  readonly logitMax: number
  readonly valueMax: number
}

/** Attention that is done: branches added up by weight, which no log-sum-exp belongs to. */
export interface Output {
  readonly kind: 'output'
  readonly call: Call
  /** By head, then by row of the call: the values' weighted sum. */
  readonly rows: readonly (readonly Float64Array[])[]
  readonly branches: readonly State[]
}

export const emptyRow = (width: number): RowState => ({
  max: -Infinity,
  sum: 0,
  acc: new Float64Array(width),
})

export function stateOf(
  call: Call,
  width: number,
  rows: State['rows'],
  held: State['held'],
  peaks: Pick<State, 'logitMax' | 'valueMax'>,
): State {
  const [q, kv] = [qTokens(call), wholeOf(kvTokens(call))]
  const column = (f: (row: RowState) => number) =>
    scoresOf(call, 'head', q, kv, ({ sharer, row }) => ({
      value: f(rows[sharer.at]![row]!),
      visible: VISIBLE,
    }))
  return {
    kind: 'state',
    call,
    max: column((row) => row.max),
    lse: column((row) => lseOf(call, row)),
    width,
    rows,
    held,
    ...peaks,
  }
}

export const rounder = (call: Call): ((x: number) => number) => (call.single ? Math.fround : (x) => x)

export function lseOf(call: Call, { max, sum }: RowState): number {
  const round = rounder(call)
  return max === -Infinity ? -Infinity : round(max + round(Math.log(sum)))
}

export interface Key {
  readonly logit: number
  readonly value: Float64Array
}

/** The state of a row that has met some more keys. */
export function meetKeys(call: Call, row: RowState, keys: readonly Key[]): RowState {
  const round = rounder(call)
  const max = keys.reduce((top, key) => Math.max(top, key.logit), row.max)
  if (max === -Infinity) return row
  const before = rescaled(call, row, max)
  let { sum } = before
  const acc = before.acc
  for (const { logit, value } of keys) {
    const p = round(Math.exp(round(logit - max)))
    sum = round(sum + p)
    const weight = call.weigh(p)
    for (let i = 0; i < acc.length; i++) acc[i] = round(acc[i]! + round(weight * value[i]!))
  }
  return { max, sum, acc }
}

/** The same state under another maximum. */
function rescaled(call: Call, { max, sum, acc }: RowState, to: number): RowState {
  const round = rounder(call)
  const factor = max === to ? 1 : round(Math.exp(round(max - to)))
  return { max: to, sum: round(sum * factor), acc: acc.map((x) => round(x * factor)) }
}

/** One softmax over the keys of both. */
export function mergedRow(call: Call, a: RowState, b: RowState): RowState {
  const round = rounder(call)
  const max = Math.max(a.max, b.max)
  if (max === -Infinity) return a
  const [x, y] = [rescaled(call, a, max), rescaled(call, b, max)]
  return { max, sum: round(x.sum + y.sum), acc: x.acc.map((v, i) => round(v + y.acc[i]!)) }
}

/** One state over the keys of two, which share none. */
export function mergedState(a: State, b: State): State {
  const { call, width } = a
  const rows = a.rows.map((line, h) => line.map((row, r) => mergedRow(call, row, b.rows[h]![r]!)))
  return stateOf(call, width, rows, [...a.held, ...b.held], {
    logitMax: Math.max(a.logitMax, b.logitMax),
    valueMax: Math.max(a.valueMax, b.valueMax),
  })
}

/** What softmax gives the row: 0 where it attends nothing. */
export function outputOf(call: Call, { sum, acc }: RowState): Float64Array {
  const round = rounder(call)
  return sum === 0 ? acc.map(() => 0) : acc.map((x) => round(x / sum))
}

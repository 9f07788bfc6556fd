/**
 * Running a forward program on one batch entry: its sizes, tensors and params in, what attention gives out.
 */

import { describe, patternError } from '../messages.ts'
import type { ForwardInputs, PerHead } from '../pattern.ts'
import { kvTokens, qTokens, type Call, type Share } from './call.ts'
import { isKind } from './check.ts'
import { carrying, type Carried } from './reuse.ts'
import { rowsOf, type Rows } from './rows.ts'
import { scoresOf, VISIBLE } from './scores.ts'
import { wholeOf } from './score-words.ts'
import { lseOf, mergedRow, outputOf, type Output, type RowState, type State } from './state.ts'
import type { Step } from './trace.ts'
import type { Side, Units } from './units.ts'

export type { Call, Carried, Step }

/** The rows of an input: a vector for each sharer and token of a side, or one for all its tokens. */
export function inputRows<H extends Share>(
  call: Call,
  side: Side,
  share: H,
  grain: 'token' | 'whole',
  width: number,
  vectorAt: (sharer: number, row: number) => Float64Array,
): Rows<H> {
  const tokens: Units = side === 'q' ? qTokens(call) : kvTokens(call)
  const units = grain === 'whole' ? wholeOf(tokens) : tokens
  return rowsOf(call, share, units, width, ({ at }, row) => vectorAt(at, row))
}

/** A param of each head as a forward program sees it. */
export function perHeadScores(call: Call, values: readonly number[]): PerHead {
  const axes = [wholeOf(qTokens(call)), wholeOf(kvTokens(call))] as const
  const scores = scoresOf(call, 'head', ...axes, ({ sharer }) => ({
    value: values[sharer.at]!,
    visible: VISIBLE,
  }))
  return { ...scores, at: (head) => values[head] ?? 0 }
}

/** A call whose mask is asked once a pair. */
export function callOf(fields: Call): Call {
  const known = Array.from({ length: fields.qHeads }, () =>
    new Int8Array(fields.qLen * fields.kvLen).fill(-1),
  )
  const keeps = (head: number, q: number, kv: number): boolean => {
    const at = (q - fields.qStart) * fields.kvLen + kv
    const line = known[head]!
    if (line[at] === -1) line[at] = Number(fields.keeps(head, q, kv))
    return line[at] === 1
  }
  return { ...fields, keeps }
}

/** What a program answers, by head and row of the call. */
export interface Answer {
  readonly out: readonly (readonly Float64Array[])[]
  /** The logarithm of each row's softmax sum; null of a gated sum, which has none. */
  readonly lse: readonly (readonly number[])[] | null
  /** The softmaxes that the output is made of: one, unless it is a gated sum. */
  readonly branches: readonly State[]
}

export interface Program {
  readonly name: string
  readonly forward: (inputs: ForwardInputs) => State | Output
  /** The logit that a head's softmax has in its denominator alone; null without one. */
  readonly sinkAt: ((head: number) => number) | null
}

/**
 * Runs a program and checks that it answers with attention.
 *
 * @param carried what reuse() keeps from call to call of one sequence
 * @throws PatternError `bad-answer`, `gated-sink`, and whatever the program's words throw
 */
export function runForward(
  { name, forward, sinkAt }: Program,
  inputs: ForwardInputs,
  carried: Carried = new Map(),
): Answer {
  const answer: unknown = carrying(carried, () => forward(inputs))
  if (isKind(answer, 'state')) {
    const state = answer as State
    const rows = sinkAt ? state.rows.map((line, head) => withSink(state, line, sinkAt(head))) : state.rows
    const { call } = state
    return {
      out: rows.map((line) => line.map((row) => outputOf(call, row))),
      lse: rows.map((line) => line.map((row) => lseOf(call, row))),
      branches: [state],
    }
  }
  if (isKind(answer, 'output')) {
    if (sinkAt) throw patternError('gated-sink', { pattern: name })
    const { rows, branches } = answer as Output
    return { out: rows, lse: null, branches }
  }
  throw patternError('bad-answer', { pattern: name, got: describe(answer) })
}

/** Rows that have met one more key, whose value is nothing. */
const withSink = ({ call }: State, line: readonly RowState[], logit: number): readonly RowState[] =>
  line.map((row) => mergedRow(call, row, { max: logit, sum: 1, acc: row.acc.map(() => 0) }))

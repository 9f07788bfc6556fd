/** The words of `forward`: a call of one in, the node, grouping or error that it is out. */

import type ts from 'typescript'
import type { Call } from '../calls.ts'
import { report, textOf, type Context } from '../context.ts'
import { nodesOf, type Expr } from '../ir.ts'
import { NOTES } from '../messages.ts'
import { BAD, describeValue, type Condition, type Value } from '../value.ts'
import { StageCall } from './call.ts'
import type { StageNode } from './graph.ts'
import { Misfit, type Typing } from './typing.ts'
import { ATTEND_WORDS } from './words-attend.ts'
import { ROW_WORDS, type Reader } from './words-rows.ts'
import { SCORE_WORDS } from './words-scores.ts'
import { SET_WORDS } from './words-sets.ts'

const WORDS: Readonly<Record<string, Reader>> = {
  ...ROW_WORDS,
  ...SCORE_WORDS,
  ...SET_WORDS,
  ...ATTEND_WORDS,
}

export const isStageWord = (name: string): boolean => Object.hasOwn(WORDS, name)

export function callStage(cx: Context, word: string, call: Call): Value {
  const read = WORDS[word]!
  if (!cx.stages) return report(cx, 'stage-place', call.node, { word })
  return attempt(cx, call.node, () => read(new StageCall(cx, cx.stages!, word, call.node, call)))
}

/** Reports a misfit where it was found. */
function attempt(cx: Context, node: ts.Node, work: () => Value): Value {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Misfit)) throw error
    const { places, at } = error
    error.report((code, args) => {
      const span = cx.program.spanOf(at ?? node)
      const called = cx.calls.slice(1).map((c) => ({ span: c.at, text: NOTES.calledFrom }))
      cx.session.report(code, span, args, { notes: [...places, ...called.toReversed().slice(0, 3)] })
    })
    return BAD
  }
}

/** `max` and `lse` of a state. */
export function stageMember(cx: Context, node: StageNode, name: string, at: ts.Node): Value | null {
  const word = name === 'max' ? 'stateMax' : name === 'lse' ? 'stateLse' : null
  if (word === null || node.type.kind !== 'state' || !cx.stages) return null
  return new StageCall(cx, cx.stages, name, at).make(word, [node], null)
}

/** `c ? a : b` over values of stages: `c` of params and lengths, so that all kernels know it before they run. */
export function chooseStage(
  cx: Context,
  c: Condition,
  a: Value,
  b: Value,
  node: ts.ConditionalExpression,
): Value {
  if (typeof c === 'boolean') return c ? a : b
  if (a.kind === 'bad' || b.kind === 'bad') return BAD
  if (a === b || !cx.stages) return a
  if (!isOfTheCall(c, cx.stages))
    return report(cx, 'stage-branch', node.condition, { text: textOf(node.condition) })
  const [x, y] = [a, b].map((v) => (v.kind === 'stage' ? v.node : null))
  if (!x || !y) return report(cx, 'stage-choice', node, { first: describeValue(a), second: describeValue(b) })
  const call = new StageCall(cx, cx.stages, '?:', node)
  return attempt(cx, node, () => call.make('choose', [x, y], { when: c }))
}

/** True if an expression has one value for the whole call. */
function isOfTheCall(e: Expr, { params }: Typing): boolean {
  const perHead = new Set(params.filter((p) => p.perHead).map((p) => p.name))
  return nodesOf(e).every((n) => {
    if (n.op === 'load') return false
    if (n.op === 'param') return !perHead.has(n.arg)
    return n.op !== 'var' || !['batch', 'head', 'kvHead'].includes(n.arg)
  })
}

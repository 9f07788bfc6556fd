/** What a `where` reads of the scores that it is over: a predicate without values asks only which cells there are. */

import { nodesOf, type Expr } from '../ir.ts'
import { isWord, type StageNode } from './graph.ts'

const readsValue = (keep: Expr): boolean => nodesOf(keep).some((e) => e.op === 'var' && e.arg === 's')

/** The scores whose cells are visible as those of `scores` are, and that take least to know of: functions keep visibility. */
function visibleAs(scores: StageNode): StageNode {
  const keeps = isWord(scores, 'softmax') || (isWord(scores, 'map') && scores.src.length === 1)
  return keeps ? visibleAs(scores.src[0]!) : scores
}

/** The scores that a predicate is over: those given, or where it reads no value others with the same visible cells. */
export const askedOf = (scores: StageNode, keep: Expr): StageNode => {
  const asked = readsValue(keep) ? scores : visibleAs(scores)
  return asked.word === 'dot' ? asked : scores
}

/** A dot whose value nobody reads says only which cells there are. */
export const readsScore = (node: StageNode<'where'>): boolean =>
  node.src[0]!.word !== 'dot' || readsValue(node.arg.keep)

/** The operands whose values a node needs. */
export const operandsOf = (node: StageNode): readonly StageNode[] =>
  isWord(node, 'where') && !readsScore(node) ? node.src.slice(1) : node.src

/** schedule: a stage graph in, the kernels that compute it, in order, out; what cannot be done in the open is refused. */

import type { Session } from '../diagnostics.ts'
import type { PatternIr } from '../plan.ts'
import { isWord, type StageGraph, type StageNode } from './graph.ts'
import { checkMerge } from './kept.ts'
import { prepareOrder, prepareRows } from './plan-rows.ts'
import { prepareScores } from './plan-scores.ts'
import { prepareSet } from './plan-sets.ts'
import { planResult, prepareState } from './plan-states.ts'
import type { StageBuffer, StagePlan } from './plan.ts'
import { Planner } from './planner.ts'
import type { Typing } from './typing.ts'

export function planStages(
  typing: Typing,
  graph: StageGraph,
  pattern: PatternIr,
  session: Session,
): StagePlan {
  const planner = new Planner(typing, graph, pattern, session, prepare)
  for (const node of graph.nodes) if (isWord(node, 'merge')) checkMerge(planner, node)
  planResult(planner, graph.result)
  return planner.finish()
}

function prepare(p: Planner, node: StageNode): ReadonlySet<StageBuffer> {
  switch (node.type.kind) {
    case 'rows':
      return prepareRows(p, node)
    case 'scores':
      return prepareScores(p, node)
    case 'set':
      return prepareSet(p, node)
    case 'permutation':
      return prepareOrder(p, node)
    default:
      return prepareState(p, node)
  }
}

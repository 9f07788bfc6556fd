/** schedule: a stage graph in, the kernels that compute it, in order, out; what cannot be done in the open is refused. */

import type { Session } from '../diagnostics.ts'
import type { PatternIr } from '../plan.ts'
import { filterRange } from './filter-range.ts'
import { isWord, type StageGraph, type StageNode } from './graph.ts'
import { checkMerge } from './kept.ts'
import { patchesOf } from './patches.ts'
import { prepareOrder, prepareRows } from './plan-rows.ts'
import { prepareScores } from './plan-scores.ts'
import { prepareSet } from './plan-sets.ts'
import { planResult, prepareState } from './plan-states.ts'
import type { StageBuffer, StagePlan } from './plan.ts'
import { Planner } from './planner.ts'
import { bySoftmaxOfStates } from './state-softmax.ts'
import { scoresOf, type Typing } from './typing.ts'

/** The graph as its author wrote it in: what its softmaxes share with its attends is made once. */
export const planProgram = (
  typing: Typing,
  graph: StageGraph,
  pattern: PatternIr,
  session: Session,
): StagePlan => planStages(typing, bySoftmaxOfStates(typing, graph, pattern), pattern, session)

export function planStages(
  typing: Typing,
  graph: StageGraph,
  pattern: PatternIr,
  session: Session,
): StagePlan {
  const planner = new Planner(typing, graph, pattern, session, prepare)
  for (const node of graph.nodes) if (isWord(node, 'merge')) checkMerge(planner, node)
  findFilters(planner)
  noteUnseen(planner)
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

/** What a filter leaves is gone over where that is an interval; else every cell is computed and asked. */
function findFilters(p: Planner): void {
  for (const node of p.graph.nodes) {
    if (!isWord(node, 'poolScores') || node.arg.of === null) continue
    const range = filterRange(p.typing, node)
    if (range) {
      p.filters.set(node, range)
      const patches = patchesOf(node, range)
      if (patches) p.patches.set(node, patches)
    } else p.report('filter-by-cell', node, {})
  }
}

/** A choice among units that the mask does not know is correct, and may spend its budget on keys that nobody attends. */
function noteUnseen(p: Planner): void {
  const { mask } = p.pattern
  if (mask.op === 'const' && mask.arg === true) return
  for (const node of p.graph.nodes) {
    const scores = isWord(node, 'topK', 'topP', 'where') ? scoresOf(node.src[0]!) : null
    const matrix = scores && scores.q.units.kind !== 'whole' && scores.kv.units.kind !== 'whole'
    if (matrix && scores.visible === 'off') p.report('selection-unseen', node, { word: node.word })
  }
}

/**
 * Softmaxes that an attend sums up: a stage graph in; the graph in which a softmax over the logits of an attend of all keys is what the
 * state's log-sum-exp makes of each cell, out. The statistics of a row are then neither found again nor stored, and no row has to be known
 * as a whole before its cells are.
 */

import type { PatternIr } from '../plan.ts'
import { isEverything, isWord, type StageGraph, type StageNode } from './graph.ts'
import { stageRow } from './table.ts'
import { rowsOf, scoresOf, type Typing } from './typing.ts'
import { rewriteGraph } from './rewrite.ts'

export function bySoftmaxOfStates(
  typing: Typing,
  graph: StageGraph,
  { score }: Pick<PatternIr, 'score'>,
): StageGraph {
  // A state's logits are those that the pattern's score has changed.
  if (score !== null) return graph
  const attends = graph.nodes.filter((n) => isWord(n, 'attend') && isStored(graph, n))
  const made = rewriteGraph(typing, graph, (node, [cells]) => {
    const dot = node.word === 'softmax' ? node.src[0]! : null
    const attend = dot && attends.find((a) => hasLogitsOf(a as Attend, dot))
    return attend ? weightOf(typing, node, cells!, attend) : null
  })
  return made ?? graph
}

type Attend = StageNode<'attend'>

/** True of a state that others read: the last of all makes the output alone. */
const isStored = ({ nodes, result }: StageGraph, attend: StageNode): boolean =>
  attend !== result && nodes.some((n) => n.src.includes(attend) && !isWord(n, 'choose'))

/** True if the attend's logits, all of them, are the cells. */
function hasLogitsOf({ src, arg }: Attend, cells: StageNode): boolean {
  const [q, k, , set, after] = src as readonly StageNode[]
  if (!isWord(cells, 'dot') || cells.src[0] !== q || cells.src[1] !== k) return false
  const { scale, visible } = cells.arg
  const isPlain = !arg.bias && !arg.position && !arg.skip && !arg.stop && !after && isEverything(set!)
  const isScaled = scale.op === 'var' && scale.arg === 'scale'
  const { axis } = rowsOf(k!)
  // Of tokens an attend asks the mask whatever it is told.
  const isSeenAlike = axis.units.kind === 'token' ? visible !== 'off' : visible === arg.visible
  return isPlain && isScaled && isSeenAlike && axis.order === null && rowsOf(q!).axis.order === null
}

function weightOf(t: Typing, softmax: StageNode, cells: StageNode, attend: StageNode): StageNode {
  const { stages, sizes } = t
  const { ir } = sizes
  const type = stageRow('stateLse').type(t, [attend], null)
  const lse = stages.node('stateLse', [attend], null, type, softmax.span)
  const value = ir.make('exp', [ir.make('sub', [ir.var('s'), ir.var('t')])])
  return stages.node('map', [cells, lse], { value }, scoresOf(softmax), softmax.span)
}

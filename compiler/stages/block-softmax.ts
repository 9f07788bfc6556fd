/**
 * Softmaxes by blocks: a plan in; the plan of the same program, in which a softmax that only its sums over blocks of keys are read
 * of is one over the blocks' own log-sum-exps, out. What is then stored for a row of patches or keys is a number a block: the block's
 * weight is the exponential of that less the row's. It pays where a product's cells of a block meet in one kernel.
 */

import { Session } from '../diagnostics.ts'
import { filterRange } from './filter-range.ts'
import { isWord, type StageGraph, type StageNode, type ScoresType } from './graph.ts'
import { patchesOf } from './patches.ts'
import type { StagePlan } from './plan.ts'
import { finerRows, isCoarse } from './plan-scores.ts'
import { rewriteGraph } from './rewrite.ts'
import { planStages } from './schedule.ts'
import { scoresOf, type Typing } from './typing.ts'

/** @param widths how many cells of a row a block may have */
export function bySoftmaxOfBlocks(plan: StagePlan, widths: readonly number[]): StagePlan {
  const { typing, graph, pattern } = plan
  const made = rewriteGraph(typing, graph, (node, src) => {
    if (!isMass(typing, graph, node, widths)) return null
    return massOf(typing, node, src[0]!)
  })
  return made ? planStages(typing, made, pattern, new Session()) : plan
}

type Pool = StageNode<'poolScores'>

/** True of the sum over blocks of keys of a softmax that nobody else reads, of cells that are products. */
function isMass(t: Typing, { nodes }: StageGraph, node: StageNode, widths: readonly number[]): node is Pool {
  if (!isWord(node, 'poolScores') || node.src.length > 1) return false
  const [softmax] = node.src as [StageNode]
  const { how, kv, q, of, share } = node.arg
  const isSum = how === 'sum' && of === null && share === null && q !== null && kv?.kind === 'block'
  if (!isSum || softmax.word !== 'softmax') return false
  const [cells] = softmax.src as [StageNode]
  const own = scoresOf(cells)
  const isAlone = nodes.filter((n) => n.src.includes(softmax) || n.src.includes(cells)).length === 2
  const size = own.kv.units.kind === 'block' ? own.kv.units.size : own.kv.units.kind === 'token' ? 1 : NaN
  return (
    isAlone &&
    own.visible === 'any' &&
    own.kv.order === null &&
    isCoarse(cells) &&
    isProduct(t, cells) &&
    widths.includes(kv.size / size) &&
    !!finerRows(t.sizes, own.q, scoresOf(node).q)
  )
}

function isProduct(t: Typing, cells: StageNode): boolean {
  if (isWord(cells, 'dot')) return true
  return isWord(cells, 'poolScores') && patchesOf(cells, filterRange(t, cells) ?? undefined) !== null
}

/** `softmax` is the pool's operand, made anew: its own operand is pooled first. */
function massOf({ stages }: Typing, pool: Pool, softmax: StageNode): StageNode {
  const [cells] = softmax.src as [StageNode]
  const type: ScoresType = { ...scoresOf(cells), kv: scoresOf(pool).kv }
  const over = { q: null, kv: pool.arg.kv, share: null, of: null, how: 'lse' } as const
  const blocks = stages.node('poolScores', [cells], over, type, pool.span)
  const weights = stages.node('softmax', [blocks], null, type, softmax.span)
  return stages.node('poolScores', [weights], { ...pool.arg, kv: null }, pool.type, pool.span)
}

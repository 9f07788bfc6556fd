/** Scores: what a cell is made of stored, statistics and small vectors as kernels; cells themselves stay virtual. */

import type { Expr } from '../ir.ts'
import type { StageNode } from './graph.ts'
import type { StageBuffer } from './plan.ts'
import type { Planner } from './planner.ts'
import { atMost, growth } from './sizes.ts'
import { stageRow } from './table.ts'
import { scoresOf } from './typing.ts'

/** Sees to it that any cell of the scores can be evaluated; the buffers that this reads. */
export function prepareScores(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known?.some((b) => b.holds === 'scores')) return new Set(known)
  if (node.word === 'softmax') return new Set([...p.prepare(...node.src), ...statistics(p, node)])
  if (node.word === 'dot' && isShallow(p, node)) return storeScores(p, node)
  const isReduction = stageRow(node.word).had === 'reduce'
  return isReduction && isSmall(p, node) ? storeScores(p, node) : p.prepare(...node.src)
}

/** Rows of a dot that are stored rather than made again by each kernel that reads them: statistics, pools, orders. */
const SHALLOW = 128

/** True of a few rows against all keys, as the last queries are: one product then serves every reader. */
const isShallow = (p: Planner, node: StageNode): boolean =>
  isSmall(p, node) && atMost(p.sizes.units(scoresOf(node).q)) <= SHALLOW

/** True if at most one axis grows with the length. */
export const isSmall = (p: Planner, node: StageNode): boolean => growth(p.sizes.cells(node.type)) <= 1

/** All cells in a buffer. */
export function storeScores(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)?.filter((b) => b.holds === 'scores') ?? []
  if (known.length > 0) return new Set(known)
  const { share, q, kv } = scoresOf(node)
  return writeScores(p, node, p.sizes.units(q), () =>
    p.buffer(node, 'scores', share, [p.sizes.units(q), p.sizes.units(kv)]),
  )
}

/** The rows of one chunk of q units. */
export const storeChunk = (p: Planner, node: StageNode, rows: Expr): Set<StageBuffer> =>
  writeScores(p, node, rows, () => {
    const { share, kv } = scoresOf(node)
    return p.buffer(node, 'scores', share, [rows, p.sizes.units(kv)], 'chunk')
  })

function writeScores(p: Planner, node: StageNode, rows: Expr, make: () => StageBuffer): Set<StageBuffer> {
  const reads =
    node.word === 'softmax'
      ? new Set([...p.prepare(...node.src), ...statistics(p, node)])
      : p.prepare(...node.src)
  const computes = p.virtualUnder(node)
  const made = make()
  const { share } = scoresOf(node)
  const members = membersOf(p, node)
  p.kernel({
    kind: 'scores',
    node,
    grid: { share, units: rows },
    reads,
    writes: [made],
    streams: [node],
    members,
    computes,
  })
  return new Set([made])
}

/** How many cells of the dots beneath go into one cell, on average. */
function membersOf(p: Planner, node: StageNode): Expr {
  const leaves = p.virtualUnder(node).filter((n) => n.word === 'dot')
  const { ir } = p.sizes
  const own = p.sizes.cells(node.type)
  const all = leaves.map((n) => p.sizes.cells(n.type)).reduce((a, b) => p.sizes.max(a, b), own)
  return all === own ? p.sizes.num(1) : ir.make('floorDiv', [all, p.sizes.max(p.sizes.num(1), own)])
}

/** Maximum and sum of each row of a softmax. */
function statistics(p: Planner, node: StageNode): readonly StageBuffer[] {
  const known = p.stored.get(node)
  if (known) return known
  const [operand] = node.src as [StageNode]
  const { share, q } = scoresOf(node)
  const units = p.sizes.units(q)
  const reads = p.prepare(operand)
  const computes = p.virtualUnder(operand)
  const writes = [p.buffer(node, 'max', share, [units]), p.buffer(node, 'sum', share, [units])]
  p.kernel({
    kind: 'statistics',
    node,
    grid: { share, units },
    reads,
    writes,
    streams: [operand],
    computes: [...computes, node],
  })
  return writes
}

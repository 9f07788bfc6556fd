/** Scores: what a cell is made of stored, statistics and small vectors as kernels; cells themselves stay virtual. */

import type { Expr } from '../ir.ts'
import { isWord, type Axis, type Share, type StageNode } from './graph.ts'
import type { Finer, StageBuffer } from './plan.ts'
import { tokensOf } from './axes.ts'
import type { Planner } from './planner.ts'
import { atMost, growth, type Sizes } from './sizes.ts'
import { stageRow } from './table.ts'
import { scoresOf } from './typing.ts'

/** Sees to it that any cell of the scores can be evaluated; the buffers that this reads. */
export function prepareScores(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known?.some((b) => b.holds === 'scores')) return new Set(known)
  const here = p.ofChunk.get(node)
  if (here) return new Set(node.word === 'softmax' ? [...p.prepare(...node.src), ...here] : here)
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

/** Cells that a chunk stores for its other kernels: inner products, or what heads' products add up to. */
export interface ChunkCells {
  readonly cells: StageNode
  /** The softmax that is made of them, whose statistics the chunk has too; null: there is none. */
  readonly softmax: StageNode | null
  /** Null: their rows are the units that the chunk counts. */
  readonly finer: Finer | null
}

/**
 * What only a chunk of `scores` reads and is made of a row of inner products: operands of softmaxes, whose product is then made once
 * and not for the statistics and for the cells; and sums over sharers, which are made for the units that are put together and not again
 * by each that they go into.
 */
export function chunkCells(p: Planner, scores: StageNode, user: StageNode): readonly ChunkCells[] {
  // Another reader would find nothing of what a chunk had.
  if (!p.isOnlyFor(scores, user)) return []
  const { q } = scoresOf(scores)
  const found: ChunkCells[] = []
  const add = (cells: StageNode | null, softmax: StageNode | null): boolean => {
    const finer = cells && finerRows(p.sizes, scoresOf(cells).q, q)
    if (!cells || finer === undefined) return false
    found.push({ cells, softmax, finer })
    return true
  }
  const go = (node: StageNode, isPooled: boolean): void => {
    if (node.type.kind !== 'scores' || p.stored.has(node)) return
    if (isPooled && isTotal(p, node) && add(node, null)) return
    const pools = isPooled || (isWord(node, 'poolScores') && (node.arg.q ?? node.arg.kv) !== null)
    for (const source of node.src) if (p.isOnlyFor(source, node)) go(source, pools)
    if (node.word !== 'softmax') return
    const product = productUnder(p, node.src[0]!, node)
    if (product && isCoarse(product)) add(product, node)
  }
  go(scores, false)
  return found
}

/** True of a sum over sharers of functions of one inner product each. */
function isTotal(p: Planner, node: StageNode): boolean {
  if (!isWord(node, 'poolScores') || node.src.length > 1) return false
  const { how, q, kv, of, share } = node.arg
  const isSum = how === 'sum' && share !== null && q === null && kv === null && of === null
  return isSum && productUnder(p, node.src[0]!, node) !== null
}

/** Of pairs of tokens themselves a chunk would have too few rows for a tile. */
export const isCoarse = (product: StageNode): boolean => {
  const { q, kv } = scoresOf(product)
  return tokensOf(q.units) * tokensOf(kv.units) >= 8
}

/** The dot, the pool that is one, or that of its blocks, that cells are made of by functions alone. */
function productUnder(p: Planner, node: StageNode, user: StageNode): StageNode | null {
  if (!p.isOnlyFor(node, user) || p.stored.has(node)) return null
  if (node.word === 'dot' || p.patches.has(node)) return node
  const blocks = isWord(node, 'poolScores') && node.arg.how === 'lse'
  if (blocks && productUnder(p, node.src[0]!, node)) return node
  if (node.word !== 'map') return null
  // What rows or columns have besides is read, wherever it comes from.
  const [made, ...more] = node.src.length === 1 ? node.src : node.src.filter((n) => !isSmall(p, n))
  return made && more.length === 0 ? productUnder(p, made, node) : null
}

/** How rows of one axis lie in the units of another of the same line; undefined: some lie in several. */
export function finerRows(sizes: Sizes, own: Axis, chunk: Axis): Finer | null | undefined {
  if (own === chunk) return null
  const [a, b] = [own.units, chunk.units]
  const size = a.kind === 'token' ? 1 : a.kind === 'block' ? a.size : NaN
  if (own.order || chunk.order || b.kind !== 'block' || b.size % size !== 0) return undefined
  const start = sizes.difference(sizes.var('kvLen'), sizes.var('qLen'))
  const each = b.size / size
  const before = sizes.difference(
    sizes.floorDiv(start, size),
    sizes.product(sizes.floorDiv(start, b.size), sizes.num(each)),
  )
  return { each, before }
}

/** Bytes that a row of a chunk takes of these, for each sharer of the scores that the chunk is of. */
export function bytesOfRows({ sizes }: Planner, all: readonly ChunkCells[], share: Share): Expr {
  const { ir } = sizes
  return sizes.sum(
    ...all.map(({ cells, softmax, finer }) => {
      const { share: own, kv } = scoresOf(cells)
      const sharers = ir.make('floorDiv', [sizes.sharers(own), sizes.max(sizes.num(1), sizes.sharers(share))])
      const each = sizes.sum(sizes.units(kv), sizes.num(softmax ? 2 : 0))
      return sizes.product(own === share ? sizes.num(1) : sharers, sizes.num(4 * (finer?.each ?? 1)), each)
    }),
  )
}

/** The rows of such cells, and the statistics of their softmax, of one chunk. */
export function storeCells(p: Planner, { cells, softmax, finer }: ChunkCells, chunk: Expr): void {
  const rows = p.sizes.product(chunk, p.sizes.num(finer?.each ?? 1))
  const { share, kv } = scoresOf(cells)
  const buffer = () => p.buffer(cells, 'scores', share, [rows, p.sizes.units(kv)], 'chunk', { finer })
  p.ofChunk.delete(cells)
  p.ofChunk.set(cells, [...writeScores(p, cells, rows, buffer, finer)])
  if (softmax) p.ofChunk.set(softmax, writeStatistics(p, softmax, rows, 'chunk', finer))
}

function writeScores(
  p: Planner,
  node: StageNode,
  rows: Expr,
  make: () => StageBuffer,
  finer: Finer | null = null,
): Set<StageBuffer> {
  const reads =
    node.word === 'softmax'
      ? new Set([...p.prepare(...node.src), ...(p.ofChunk.get(node) ?? statistics(p, node))])
      : p.prepare(...node.src)
  const computes = p.virtualUnder(node)
  const made = make()
  const { share } = scoresOf(node)
  const members = membersOf(p, node)
  p.kernel({
    kind: 'scores',
    node,
    grid: { share, units: rows, ...(finer ? { finer } : {}) },
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
  return p.stored.get(node) ?? writeStatistics(p, node, p.sizes.units(scoresOf(node).q))
}

function writeStatistics(
  p: Planner,
  node: StageNode,
  units: Expr,
  life?: 'chunk',
  finer: Finer | null = null,
): readonly StageBuffer[] {
  const [operand] = node.src as [StageNode]
  const { share } = scoresOf(node)
  const reads = p.prepare(operand)
  const computes = p.virtualUnder(operand)
  const writes = (['max', 'sum'] as const).map((holds) =>
    p.buffer(node, holds, share, [units], life, { finer }),
  )
  p.kernel({
    kind: 'statistics',
    node,
    grid: { share, units, ...(finer ? { finer } : {}) },
    reads,
    writes,
    streams: [operand],
    computes: [...computes, node],
  })
  return writes
}

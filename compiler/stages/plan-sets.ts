/** Sets: lists and bits as kernels; choices from planes that are too big to store go chunk by chunk. */

import type { Expr } from '../ir.ts'
import { nesting, tokensOf } from './axes.ts'
import { drawnRoom } from './drawn.ts'
import { isWord, type StageNode } from './graph.ts'
import type { SetForm, StageBuffer } from './plan.ts'
import {
  bytesOfRows,
  chunkCells,
  type ChunkCells,
  isSmall,
  storeCells,
  storeChunk,
  storeScores,
} from './plan-scores.ts'
import type { Planner } from './planner.ts'
import { operandsOf, readsScore } from './reads.ts'
import { growth } from './sizes.ts'
import { scoresOf, setOf } from './typing.ts'

/** Sees to it that a kernel can ask what is in the set; the buffers that this reads. */
export function prepareSet(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known) return new Set(known)
  switch (node.word) {
    case 'pairs':
      return new Set()
    case 'union':
    case 'intersect':
    case 'difference':
    case 'choose':
      return p.prepare(...node.src)
    case 'reuse':
      return p.prepare(node.src[0]!)
    case 'topK':
    case 'topP':
      return select(p, node)
    case 'where':
      return isTest(node) ? p.prepare(...operandsOf(node), ...ordersOf(node)) : filter(p, node)
    case 'poolSet':
      return isRepeat(node) ? p.prepare(node.src[0]!) : (vote(p, node) ?? lists(p, node))
    case 'range':
    case 'split':
      return lists(p, node)
    default:
      throw new Error(`${node.word} is no set`)
  }
}

/** The node under a set whose units only repeat, or are kept, that holds its list. */
export function listOf(node: StageNode): StageNode {
  if (isWord(node, 'reuse') || (isWord(node, 'poolSet') && isRepeat(node))) return listOf(node.src[0]!)
  return node
}

/** A pool that gives each q unit the set of the coarser unit that it lies in: the list is the same. */
function isRepeat(node: StageNode): boolean {
  if (node.word !== 'poolSet') return false
  const [from, to] = [setOf(node.src[0]!), setOf(node)]
  const same = from.kv === to.kv && from.share === to.share
  return same && nesting(from.q.units, to.q.units) === 'around'
}

/** Ids where a row's length is bounded, spans where the units are the row's own, else bits. */
export function formOf(node: StageNode): SetForm {
  const { kv, most } = setOf(node)
  if (kv.units.kind === 'span' || kv.units.kind === 'units') return 'spans'
  if (isDrawn(node)) return 'spans'
  return node.word === 'topK' && growth(most) === 0 ? 'ids' : 'bits'
}

/** Distances drawn for groups of queries. */
const isDrawn = (node: StageNode): boolean =>
  node.word === 'poolSet' &&
  setOf(node.src[0]!).kv.units.kind === 'offset' &&
  setOf(node).kv.units.kind !== 'offset'

function setBuffers(p: Planner, node: StageNode): StageBuffer[] {
  const { share, q, kv, most } = setOf(node)
  const units = p.sizes.units(q)
  const form = formOf(node)
  const room = isDrawn(node) ? drawnRoom(p.sizes, setOf(node)) : null
  const dims = {
    ids: [units, most],
    spans: room ? [p.sizes.sum(units, room.parts), room.each, p.sizes.num(2)] : [units, most, p.sizes.num(2)],
    bits: [units, p.sizes.ceilDiv(p.sizes.units(kv), 32)],
  }[form]
  const made = [p.buffer(node, 'counts', share, [units]), p.buffer(node, form, share, dims)]
  for (const buffer of made) p.checkSize(buffer, q, kv)
  return made
}

/** topK and topP. */
function select(p: Planner, node: StageNode): Set<StageBuffer> {
  const [scores] = node.src as [StageNode]
  const per = isWord(node, 'topK', 'topP') ? node.arg.per : 'row'
  const extra = p.prepare(...node.src.slice(1))
  const scope = per === 'row' || per === 'head' ? per : 'group'
  const { share, q, kv } = scoresOf(scores)
  const pick = (
    reads: ReadonlySet<StageBuffer>,
    units: Expr,
    streams: readonly StageNode[],
  ): StageBuffer[] => {
    const writes = setBuffers(p, node)
    const computes = [...streams.flatMap((s) => p.virtualUnder(s)), node]
    p.kernel({
      kind: 'select',
      node,
      grid: { share, units },
      reads: [...reads, ...extra],
      writes,
      streams,
      scope,
      computes,
    })
    return writes
  }
  const units = p.sizes.units(q)
  if (isSmall(p, scores)) return new Set(pick(storeScores(p, scores), units, []))
  // All rows of a head at once: two sweeps over the scores, the first of which counts them by size.
  if (scope === 'head') return new Set(pick(p.prepare(scores), units, [scores]))
  const inside = chunkCells(p, scores, node)
  // Their statistics are the chunk's: what is prepared before it is what their products read.
  for (const { softmax } of inside) if (softmax) p.ofChunk.set(softmax, [])
  p.prepare(scores)
  let made: StageBuffer[] = []
  const own = p.sizes.product(p.sizes.units(kv), p.sizes.num(4))
  const rowBytes = p.sizes.sum(own, bytesOfRows(p, inside, share))
  p.chunked(q, share, rowBytes, tileOf(inside), (rows) => {
    for (const cells of inside) storeCells(p, cells, rows)
    made = pick(storeChunk(p, scores, rows), rows, [])
  })
  p.ofChunk.clear()
  return new Set(made)
}

/** Rows of a product that a tile has where there are units for it, in units of the chunk. */
const TILE_ROWS = 128
const tileOf = (all: readonly ChunkCells[]): number =>
  Math.max(1, ...all.map(({ finer }) => Math.floor(TILE_ROWS / (finer?.each ?? 1))))

/** True of a predicate that reads no score and is too fine for a buffer. */
export function isTest(node: StageNode): boolean {
  if (!isWord(node, 'where') || readsScore(node)) return false
  const { q, kv } = setOf(node)
  return tokensOf(q.units) === 1 && tokensOf(kv.units) === 1
}

/** Where the tokens of units stand is known by the orders that they were put in. */
const ordersOf = ({ src: [scores] }: StageNode<'where'>): readonly StageNode[] =>
  [scoresOf(scores!).q.order, scoresOf(scores!).kv.order].filter((order) => order !== null)

/** where, with the pools of its set that only it feeds. */
function filter(
  p: Planner,
  node: StageNode<'where'>,
  votes: readonly StageNode<'poolSet'>[] = [],
): Set<StageBuffer> {
  const streams = operandsOf(node)
  const reads = p.prepare(...streams, ...ordersOf(node))
  const last = votes.at(-1) ?? node
  const writes = setBuffers(p, last)
  const { share, q } = setOf(last)
  const computes = [...new Set(streams.flatMap((s) => p.virtualUnder(s))), node, ...votes]
  p.kernel({
    kind: 'filter',
    node: last,
    grid: { share, units: p.sizes.units(q) },
    reads,
    writes,
    streams,
    votes,
    computes,
  })
  return new Set(writes)
}

/** Votes of a filter's cells are taken where they are found, if nobody else reads the cells. */
function vote(p: Planner, node: StageNode<'poolSet'>): Set<StageBuffer> | null {
  const votes: StageNode<'poolSet'>[] = [node]
  let source = node.src[0]!
  while (isWord(source, 'poolSet') && p.isOnlyFor(source, votes[0]!)) {
    votes.unshift(source)
    source = source.src[0]!
  }
  if (!isWord(source, 'where') || !p.isOnlyFor(source, votes[0]!)) return null
  return filter(p, source, votes)
}

/** A set from another set. */
function lists(p: Planner, node: StageNode): Set<StageBuffer> {
  const reads = p.prepare(...node.src)
  const writes = setBuffers(p, node)
  const { share, q } = setOf(node)
  p.kernel({
    kind: 'lists',
    node,
    grid: { share, units: p.sizes.units(q) },
    reads,
    writes,
    streams: [],
    computes: [node],
  })
  return new Set(writes)
}

/** Rows and orders: operands in; what a loader reads of them, and the kernels that store what no loader can make, out. */

import type { StageBuffer } from './plan.ts'
import { isWord, type Axis, type RowsType, type Share, type StageNode } from './graph.ts'
import type { Planner } from './planner.ts'
import { rowsOf, typeOf } from './typing.ts'
import { stageRow } from './table.ts'

/** Sees to it that a loader can read the rows; the buffers that it reads. */
export function prepareRows(p: Planner, node: StageNode): Set<StageBuffer> {
  switch (stageRow(node.word).had) {
    case 'input':
      return new Set()
    case 'loader':
    case 'control':
      return p.prepare(...node.src)
    default:
      return storeRows(p, node)
  }
}

function storeRows(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known) return new Set(known)
  const computes: StageNode[] = []
  const reads = fused(p, node, computes)
  const { share, axis, channels } = rowsOf(node)
  const units = p.sizes.units(axis)
  const also = besides(p, node)
  const rowsFor = (n: StageNode) => p.buffer(n, 'rows', share, [units, channels])
  const own = isCoded(p, node)
    ? [
        p.buffer(node, 'codes', share, [units, p.sizes.ceilDiv(channels, 2)]),
        p.buffer(node, 'scales', share, [units]),
      ]
    : [rowsFor(node)]
  const writes = [...own, ...also.map(rowsFor)]
  computes.push(...also)
  p.kernel({ kind: 'rows', node, also, grid: { share, units }, reads, writes, streams: [], computes })
  return new Set(own)
}

/** The other pools that one sweep over a pool's operand makes as well: to read it is most of the work of either. */
function besides(p: Planner, node: StageNode): StageNode<'poolRows'>[] {
  if (!isSwept(node)) return []
  return p.graph.nodes.filter(
    (n): n is StageNode<'poolRows'> =>
      n !== node &&
      isSwept(n) &&
      n.src[0] === node.src[0] &&
      n.type.axis === node.type.axis &&
      n.arg.of === node.arg.of &&
      !p.stored.has(n) &&
      p.isNeededAs(n, node) &&
      // What only one kernel of rows reads may be made in that.
      p.readersOf(n).some((word) => stageRow(word).had !== 'rows'),
  )
}

type Swept = StageNode<'poolRows'> & { readonly type: RowsType }
const isSwept = (node: StageNode): node is Swept => isWord(node, 'poolRows') && node.arg.how !== 'concat'

/** Numbers of few bits that only products and pools read are kept as they are, beside their row's scale. */
const isCoded = (p: Planner, node: StageNode): boolean =>
  isWord(node, 'quantize') &&
  node.arg.precision !== 'sign' &&
  p.readersOf(node).every((word) => word === 'dot' || word === 'poolRows')

/**
 * The words that one kernel computes together: down to what others read too, and to rows over other units, of which a
 * unit's own would have to be made again for every unit that holds it.
 */
function fused(p: Planner, node: StageNode, computes: StageNode[]): Set<StageBuffer> {
  computes.push(node)
  const reads = node.src.map((source) => {
    const { had } = stageRow(source.word)
    const own =
      source.type.kind === 'rows' &&
      !p.stored.has(source) &&
      p.isOnlyFor(source, node) &&
      source.type.axis === rowsOf(node).axis
    return own && (had === 'rows' || had === 'loader') ? fused(p, source, computes) : p.prepare(source)
  })
  return new Set(reads.flatMap((buffers) => [...buffers]))
}

/** Sees to it that an order is stored, and where the blocks of tokens lie that were cut after it. */
export function prepareOrder(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known) return new Set(known)
  if (!isWord(node, 'argsort')) return p.prepare(node.src[0]!)
  const [scores] = node.src as [StageNode]
  const reads = p.prepare(scores)
  const { share, side } = typeOf(node, 'permutation')
  const made = p.buffer(node, 'order', share, [p.sizes.tokens(side)])
  p.kernel({
    kind: 'sort',
    node,
    grid: { share, units: p.sizes.num(1) },
    reads,
    writes: [made],
    streams: [scores],
    computes: [...p.virtualUnder(scores), node],
  })
  return new Set([made, ...blocksIn(p, node).map((axis) => storeExtents(p, node, share, axis, made))])
}

/** The blocks of tokens in this order that anything in the program has. */
function blocksIn(p: Planner, order: StageNode): readonly Axis[] {
  const axes = p.graph.nodes.flatMap(({ type }) => {
    if (type.kind === 'rows') return [type.axis]
    return type.kind === 'scores' || type.kind === 'set' ? [type.q, type.kv] : []
  })
  return [...new Set(axes)].filter((a) => a.order === order && a.units.kind === 'block')
}

function storeExtents(
  p: Planner,
  node: StageNode,
  share: Share,
  axis: Axis,
  order: StageBuffer,
): StageBuffer {
  const units = p.sizes.units(axis)
  const suffix = axis.units.kind === 'block' ? `of${axis.units.size}` : ''
  const made = p.buffer(node, 'extents', share, [units, p.sizes.num(2)], undefined, { axis, suffix })
  p.kernel({
    kind: 'extents',
    node,
    axis,
    grid: { share, units },
    reads: [order],
    writes: [made],
    streams: [],
    computes: [],
  })
  return made
}

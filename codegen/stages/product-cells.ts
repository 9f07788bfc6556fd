/** Product cells: a node of scores in; if one inner product each goes into its cells, or one of each head, which one and by what, out. */

import { sameUnits } from '../../compiler/stages/axes.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { stageRow } from '../../compiler/stages/table.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Products } from '../target.ts'
import { knownChannels, leafOf, type Leaf } from './panels.ts'
import type { StageText } from './text.ts'

/** Cells that are each made of one inner product, or of one of each head. */
export interface ProductCells {
  readonly leaf: Leaf
  /** Adds up over sharers; null: no node does. */
  readonly pool: StageNode<'poolScores'> | null
  /** What is made of the dot before that, and after; the last is the kernel's own node. */
  readonly inner: readonly StageNode[]
  readonly outer: readonly StageNode[]
  /** Log-sum-exps of blocks of cells, the kernel's own node; null: it has the cells themselves. */
  readonly blocks: { readonly node: StageNode<'poolScores'>; readonly width: number } | null
}

export function productCells(
  t: StageText,
  node: StageNode,
  widths: readonly number[] = [],
): ProductCells | null {
  const width = blockWidth(node)
  if (isWord(node, 'poolScores') && width !== null) {
    const cells = widths.includes(width) ? productCells(t, node.src[0]!) : null
    return cells && cells.pool === null ? { ...cells, blocks: { node, width } } : null
  }
  const path = pathToLeaf(t, node)
  const leaf = path && leafOf(t, path.at(-1)!)
  if (!leaf) return null
  const above = path.slice(0, -1)
  const pools = above.filter((n) => isWord(n, 'poolScores'))
  if (pools.length > 1) return null
  const pool = pools[0] ?? null
  const cut = pool === null ? -1 : above.indexOf(pool)
  return { leaf, pool, inner: above.slice(cut + 1), outer: above.slice(0, Math.max(0, cut)), blocks: null }
}

/** How many cells of a row a block of the node's has, of which it is the log-sum-exp; null: it is none. */
function blockWidth(node: StageNode): number | null {
  if (!isWord(node, 'poolScores') || node.arg.how !== 'lse') return null
  const [from, to] = [scoresOf(node.src[0]!).kv.units, scoresOf(node).kv.units]
  const size = from.kind === 'block' ? from.size : 1
  return to.kind === 'block' && to.size % size === 0 ? to.size / size : null
}

/** From the node to the one inner product that it is made of, cell by cell. */
function pathToLeaf(t: StageText, node: StageNode): readonly StageNode[] | null {
  if (node.type.kind !== 'scores' || isStored(t, node)) return null
  const leaf = leafOf(t, node)
  // Eight channels of a panel are of one token.
  if (leaf?.patches && t.problem.headDim % 8 !== 0) return null
  if (leaf) return node.type.visible === 'sources' ? null : [node]
  if (!isWord(node, 'map', 'softmax', 'within') && !isShared(node)) return null
  const made = node.src.filter((n) => n.type.kind === 'scores' && isMade(t, n))
  const [only] = made
  if (!only || made.length > 1 || !hasAxesOf(only, node)) return null
  const rest = pathToLeaf(t, only)
  return rest && [node, ...rest]
}

/** True of nodes whose cells a kernel reads from memory. */
function isStored(t: StageText, node: StageNode): boolean {
  const stored = t.find(node, 'scores')
  return stored !== null && !t.writes(stored)
}

/** True of cells that are made wherever they are needed, of products among others. */
export const isMade = (t: StageText, node: StageNode): boolean =>
  node.word !== 'fill' && node.word !== 'values' && stageRow(node.word).had !== 'vector' && !isStored(t, node)

const hasAxesOf = (a: StageNode, b: StageNode): boolean =>
  sameUnits(scoresOf(a).q, scoresOf(b).q) && sameUnits(scoresOf(a).kv, scoresOf(b).kv)

/** A sum over sharers alone. */
function isShared(node: StageNode): boolean {
  if (!isWord(node, 'poolScores')) return false
  const { q, kv, of, how } = node.arg
  return q === null && kv === null && of === null && how === 'sum' && node.src.length === 1
}

/** What its cells are best multiplied by. */
export function productsFor(
  text: StageText,
  products: Products | undefined,
  cells: ProductCells | null,
): Products | undefined {
  if (!products || !cells) return products
  if (cells.pool) return products.totals ?? products
  const channels = knownChannels(text, cells.leaf)
  const { short } = products
  return short && channels !== null && channels <= short.most ? short.products : products
}

/** Sums over sharers as products: cells in; if all sharers of a query can be the rows of one, and for which calls that pays, out. */

import type { Expr } from '../../compiler/ir.ts'
import { readsHead } from '../../compiler/plan.ts'
import { isWord, type Share, type StageNode } from '../../compiler/stages/graph.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { stageRow } from '../../compiler/stages/table.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { Products, SharerProducts } from '../target.ts'
import type { ProductCells } from './product-cells.ts'
import type { StageText } from './text.ts'

/** Cells whose sums over sharers are rows of products: all sharers of a query see the same columns. */
export interface SharerCells extends ProductCells {
  readonly pool: StageNode<'poolScores'>
}

export function sharerCells(
  t: StageText,
  cells: ProductCells,
  { halfParts }: Pick<Products, 'halfParts'>,
  { columnParts }: Pick<SharerProducts, 'columnParts'>,
): cells is SharerCells {
  const { leaf, pool, inner, blocks } = cells
  if (pool === null || blocks !== null || leaf.patches !== null) return false
  const [x, y] = leaf.dot.src.map(rowsOf)
  const isOfSharers = x!.share === scoresOf(pool.src[0]!).share && scoresOf(pool).share !== x!.share
  const isOfAll = y!.share === 'request' || y!.share === scoresOf(pool).share
  const [rowParts, parts] = leaf.dot.src.map((n) => partsOf(t, n, halfParts))
  const isMultiplied = rowParts === 1 && (parts === 1 || parts === columnParts)
  // What hides a cell is the mask and what is asked of the total.
  const isSeenAlike = inner.every((n) => isWord(n, 'map') && n.src.filter((s) => !isOfRows(s)).length === 1)
  const isMaskAlike = scoresOf(leaf.node).visible === 'off' || !readsHead(t.problem.pattern)
  return isOfSharers && isOfAll && isMultiplied && isSeenAlike && isMaskAlike
}

/** A number for each row, which every cell has. */
export const isOfRows = (node: StageNode): boolean => stageRow(node.word).had === 'vector'

/** How many numbers of eight bits a channel of stored vectors is the sum of; null: they have to be made. */
function partsOf(t: StageText, node: StageNode, halfParts: number): number | null {
  const isRead = (holds: 'codes' | 'rows') => {
    const found = t.find(node, holds)
    return found !== null && !t.writes(found)
  }
  if (isRead('codes')) return 1
  if (isWord(node, 'input') && t.input(node.arg.name).role !== 'rows') return halfParts
  return isRead('rows') || isWord(node, 'input') ? FLOAT_PARTS : null
}
const FLOAT_PARTS = 3

/** Of a call: whether it has as many sharers and channels as such products are for. */
export function sharersPay(sizes: Sizes, products: SharerProducts, { leaf, pool }: SharerCells): Expr {
  const { ir } = sizes
  const between = (least: number, e: Expr, most: number): Expr =>
    ir.make('and', [ir.make('le', [sizes.num(least), e]), ir.make('le', [e, sizes.num(most)])])
  const { least, most } = products.sharers
  const { channels } = rowsOf(leaf.dot.src[0]!)
  const rest = ir.make('mod', [channels, sizes.num(products.channels.multiple)])
  const areWhole = ir.make('eq', [rest, sizes.num(0)])
  const count = sharersOf(sizes, scoresOf(pool.src[0]!).share, scoresOf(pool).share)
  return ir.make('and', [
    between(least, count, most),
    ir.make('and', [areWhole, between(1, channels, products.channels.most)]),
  ])
}

/** How many sharers of a finer level go into one of a coarser. */
function sharersOf(sizes: Sizes, finer: Share, coarser: Share): Expr {
  if (coarser === 'request') return sizes.sharers(finer)
  return sizes.ir.make('floorDiv', [sizes.sharers(finer), sizes.sharers(coarser)])
}

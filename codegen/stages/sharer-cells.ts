/** Sums over sharers as products: cells in; if all sharers of a query can be the rows of one, and for which calls that pays, out. */

import type { Expr } from '../../compiler/ir.ts'
import { readsHead } from '../../compiler/plan.ts'
import { isWord, type Share, type StageNode } from '../../compiler/stages/graph.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { SharerProducts } from '../target.ts'
import type { ProductCells } from './product-cells.ts'
import type { StageText } from './text.ts'

/** Cells whose sums over sharers are rows of products: all sharers of a query see the same columns. */
export interface SharerCells extends ProductCells {
  readonly pool: StageNode<'poolScores'>
}

export function sharerCells(t: StageText, cells: ProductCells): cells is SharerCells {
  const { leaf, pool, inner, blocks } = cells
  if (pool === null || blocks !== null || leaf.patches !== null) return false
  const [x, y] = leaf.dot.src.map(rowsOf)
  const isOfSharers = x!.share === scoresOf(pool.src[0]!).share && scoresOf(pool).share !== x!.share
  const isOfAll = y!.share === 'request' || y!.share === scoresOf(pool).share
  const isOnePart = leaf.dot.src.every((n) => isCode(t, n))
  // What hides a cell is the mask and what is asked of the total.
  const isSeenAlike = inner.every((n) => isWord(n, 'map') && n.src.length === 1)
  const isMaskAlike = scoresOf(leaf.node).visible === 'off' || !readsHead(t.problem.pattern)
  return isOfSharers && isOfAll && isOnePart && isSeenAlike && isMaskAlike
}

/** Vectors that go into a product as they are stored, in numbers of eight bits. */
function isCode(t: StageText, node: StageNode): boolean {
  const codes = t.find(node, 'codes')
  return codes !== null && !t.writes(codes)
}

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

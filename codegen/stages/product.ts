/**
 * Kernels of products: cells of scores that one inner product each goes into in; the entry on what the target multiplies panels by out. A
 * workgroup has a tile of cells. What is made of the products (functions, sums over heads, the mask) happens in registers, and a cell is
 * written once; a tile that the mask hides is not read.
 */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  fromU32,
  i32,
  lt,
  mul,
  op,
  quotient,
  remainder,
  select,
  u32,
  type Code,
  type Entry,
  type Memory,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import { HIDDEN_BITS, isVisible, seenAt, storeCell, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { sumAt } from './panels.ts'
import { unitsOf, type CellPlace, type Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import type { ProductCells } from './product-cells.ts'
import { ProductTile } from './product-tile.ts'
import { partOf } from './sets.ts'
import type { Made } from './team.ts'
import type { Sharer } from './text.ts'
import { countOf } from './units.ts'

/** All threads of a tile have it together. */
export const entryOf = ({ threads, blocks = 1 }: Products, { stmts }: Block): Entry => ({
  name: 'run',
  threads,
  body: stmts,
  blocks,
})

export function productEntry(
  c: Cells,
  products: Products,
  { node, grid }: ScoresKernel,
  { leaf, pool, inner, outer, blocks }: ProductCells,
): Made {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  const { block, of, base, rows, columns, firstRow, firstColumn } = tileAt(
    t,
    grid.share,
    countOf(t, scoresOf(leaf.node).kv),
    products.tile,
  )
  const tile = new ProductTile(c, products, leaf, inner, {
    top: block.let('top', add(base, firstRow)),
    left: firstColumn,
    rows: { from: base, end: block.let('end', add(base, rows)) },
    columns,
  })
  const store = (b: Block, place: CellPlace, own: Cells): void => {
    const seen = seenAt(own, node, place)
    const value = () => valueAt(own, node, place)
    storeCell(b, seen, value, () => at(target, storedIndex(t, node, place)))
  }
  const extra: Memory[] = []
  // A variable: WGSL refuses an infinity that it can see.
  const hidden = op('f32', 'bitsFloat', block.var('hiddenBits', u32(HIDDEN_BITS)))
  if (blocks !== null) {
    const { node: own, width } = blocks
    const source = own.src[0]!
    const count = block.let('blocks', countOf(t, scoresOf(own).kv))
    const left = block.let('firstBlock', quotient(firstColumn, i32(width)))
    const wide = products.tile.kv / width
    const put = (b: Block, row: Code, column: Code, value: Code): void => {
      const place = { of, q: tile.placeAt(of, row, column).q, kv: add(left, column) }
      b.if(and(tile.hasRow(place.q), lt(place.kv, count)), (d) =>
        d.set(at(target, storedIndex(t, own, place)), value),
      )
    }
    tile.multiply(block, of, {
      cell: (b, { place, own: cells, sum }) =>
        b.set(sum, select(seenAt(cells, source, place), valueAt(cells, source, place), hidden)),
      beyond: (b, sum) => b.set(sum, hidden),
      after: (b, sums) => b.lses(sums, width, put),
      hidden: (b) =>
        b.for('n', fromU32(op('u32', 'thread')), i32(products.tile.q * wide), products.threads, (d, n) =>
          put(d, quotient(n, i32(wide)), remainder(n, i32(wide)), hidden),
        ),
    })
  } else if (pool === null)
    tile.multiply(block, of, {
      cell: (b, { place, own }) => store(b, place, own),
      hidden: (b) =>
        tile.eachPlace(b, of, (d, place) => d.set(at(target, storedIndex(t, node, place)), hidden)),
    })
  else {
    const totals = block.sums('totals')
    block.cells((b, cell) => b.set(sumAt(totals, cell), hidden))
    const source = pool.src[0]!
    const { share } = scoresOf(source)
    const { lo, hi } = finerSharers(t, share, of)
    const limits = outer.filter((n) => isWord(n, 'within')).map((n) => n.src[1]!)
    const asked = limits.map((set) => askRows(c, products, block, set, node, tile, of))
    extra.push(...asked.flatMap(({ memory }) => memory))
    block.if(and(...asked.map(({ some }) => some)), (a) =>
      a.for('each', lo, hi, 1, (b, each) =>
        tile.multiply(
          b,
          { ...of, share, at: each },
          {
            cell: (d, { cell, place, own }) =>
              d.if(seenAt(own, source, place), (e) => {
                const total = sumAt(totals, cell)
                const value = e.let('value', valueAt(own, source, place))
                e.set(total, op('f32', 'select', isVisible(total), add(total, value), value))
              }),
          },
        ),
      ),
    )
    const path = new Set(outer)
    block.cells((b, cell, row, column) => {
      const place = tile.placeAt(of, row, column)
      b.if(tile.isInside(place), (d) => {
        const value = sumAt(totals, cell)
        store(d, place, c.with({ node: pool, value, seen: isVisible(value), path }))
      })
    })
  }
  return {
    entry: entryOf(products, block),
    memory: [tile.memory, ...extra],
  }
}

/** Whether the set has, for some row of a tile, a unit that some column lies in: most tiles of few candidates have none. */
function askRows(
  c: Cells,
  { tile: side, threads }: Products,
  block: Block,
  set: StageNode,
  node: StageNode,
  tile: ProductTile,
  of: Sharer,
): { readonly some: Code; readonly memory: readonly Memory[] } {
  const { text: t } = c
  const votes = t.workgroup('votes', 'u32', [], true)
  const word = t.workgroup('word', 'u32', [])
  const lane = block.let('lane', fromU32(op('u32', 'thread')))
  block.if(eq(lane, i32(0)), (b) => b.atomic('store', at(votes), u32(0)))
  block.barrier()
  // Columns of one unit are of one mind.
  const apart = partOf(set, node, side.kv)
  block.for('asked', lane, i32((side.q * side.kv) / apart), threads, (b, asked) => {
    const [row, column] = [remainder(asked, i32(side.q)), mul(quotient(asked, i32(side.q)), i32(apart))]
    const place = tile.placeAt(of, row, column)
    b.if(tile.isInside(place), (d) =>
      d.if(c.holds(set, { of, ...unitsOf(node, place) }), (e) => e.atomic('or', at(votes), u32(1))),
    )
  })
  block.barrier()
  // All threads must be known to have one answer, since they meet in the product.
  block.if(eq(lane, i32(0)), (b) => b.set(at(word), op('u32', 'atomicLoad', at(votes))))
  const voted = block.let('voted', op('u32', 'uniformLoad', at(word)))
  return { some: lt(u32(0), voted), memory: [votes, word] }
}

/**
 * Kernels of products: cells of scores, or bits of a where, that one inner product each goes into, in; the entry on matrix units out. A
 * workgroup has a tile of cells. What is made of the products (functions, sums over heads, the mask, votes) happens in registers,
 * and a cell or a bit is written once; a tile that the mask hides is not read.
 */

import { nodesOf } from '../../compiler/ir.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { FilterKernel, ScoresKernel } from '../../compiler/stages/plan.ts'
import { finerRows } from '../../compiler/stages/plan-scores.ts'
import { scoresOf, setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  f32,
  fromU32,
  i32,
  lt,
  mul,
  not,
  op,
  quotient,
  remainder,
  select,
  sub,
  u32,
  type Code,
  type Entry,
  type Memory,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import { HIDDEN_BITS, operandVars, seenAt, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { recordOf, wordsOf } from './layout.ts'
import { sumAt } from './panels.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import { isMade, productCells, type ProductCells } from './product-cells.ts'
import { ProductTile } from './product-tile.ts'
import { partOf } from './sets.ts'
import type { Sharer, StageText } from './text.ts'
import { countOf, joinVars } from './units.ts'

interface Made {
  readonly entry: Entry
  readonly memory: readonly Memory[]
}

const entryOf = ({ threads, blocks = 1 }: Products, { stmts }: Block): Entry => ({
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
    const bits = b.var('bits', u32(HIDDEN_BITS))
    b.if(seenAt(own, node, place), (d) => d.set(bits, op('u32', 'floatBits', valueAt(own, node, place))))
    b.set(at(target, storedIndex(t, node, place)), op('f32', 'bitsFloat', bits))
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
    const isSeen = (value: Code) => not(eq(op('u32', 'floatBits', value), u32(HIDDEN_BITS)))
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
                e.set(total, op('f32', 'select', isSeen(total), add(total, value), value))
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
        store(d, place, c.with({ node: pool, value, seen: isSeen(value), path }))
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

/** Bits of a where that asks products, and votes of them over units of queries. */
export interface ProductBits {
  readonly where: StageNode<'where'>
  readonly cells: ProductCells
  /** Rows of cells that go into a row of bits, and how many of the first one's are not of the call. */
  readonly each: number
  readonly before: Code
}

const BITS = 32

export function productBits(
  t: StageText,
  products: Products,
  { node, votes }: FilterKernel,
): ProductBits | null {
  const where = votes.length === 0 ? node : votes[0]!.src[0]!
  const areOfRows = votes.every(({ arg }) => arg.how === 'any' && arg.kv === null && arg.share === null)
  if (!isWord(where, 'where') || !areOfRows) return null
  const [only, ...more] = where.src.filter((n) => isMade(t, n))
  // A predicate of places alone asks for no products.
  const value = (['s', 't', 'u'] as const)[where.src.indexOf(only!)]
  if (!nodesOf(where.arg.keep).some((e) => e.op === 'var' && e.arg === value)) return null
  const cells = only && more.length === 0 ? productCells(t, only) : null
  if (!cells || cells.pool) return null
  const finer = finerRows(t.problem.sizes, setOf(where).q, setOf(node).q)
  if (finer === undefined) return null
  const { each, before } = finer ?? { each: 1, before: t.problem.sizes.num(0) }
  return products.tile.q % each === 0 ? { where, cells, each, before: t.size(before) } : null
}

export function bitsEntry(
  c: Cells,
  products: Products,
  { node, grid }: FilterKernel,
  { where, cells, each, before }: ProductBits,
): Made {
  const { text: t } = c
  const side = products.tile
  const target = t.stored(t.find(node, 'bits')!)
  const { block, of, columns, firstRow, firstColumn } = tileAt(
    t,
    grid.share,
    countOf(t, setOf(where).kv),
    side,
  )
  const wide = side.kv / BITS
  const count = (side.q / each) * wide
  const words = t.workgroup('words', 'u32', [count], true)
  const tile = new ProductTile(c, products, cells.leaf, [...cells.inner], {
    top: block.let('top', sub(firstRow, before)),
    left: firstColumn,
    rows: { from: i32(0), end: block.let('end', countOf(t, setOf(where).q)) },
    columns,
  })
  const lane = block.let('lane', fromU32(op('u32', 'thread')))
  const eachWord = (visit: (b: Block, word: Code) => void) =>
    block.for('word', lane, i32(count), products.threads, visit)
  eachWord((b, word) => b.atomic('store', at(words, word), u32(0)))
  block.barrier()
  // Answers take the place of the sums: nothing is written while cells are asked, so that what a row's have in common is read once.
  tile.multiply(block, of, {
    cell: (b, { place, own, sum }) => {
      const kept = b.var('kept', f32(0))
      b.if(and(...where.src.map((n) => seenAt(own, n, place))), (d) => {
        const { q, kv } = unitsOf(where.src[0]!, place)
        const vars = joinVars(operandVars(own, where, place), cellVars(t, { q, kv }))
        d.if(t.write(d, where.arg.keep, { ...of, vars }), (e) => e.set(kept, f32(1)))
      })
      b.set(sum, kept)
    },
    beyond: (b, sum) => b.set(sum, f32(0)),
    after: (b, sums) => b.bits(sums, words, each),
  })
  block.barrier()
  const perRow = block.let('perRow', wordsOf(t, node))
  const rows = block.let('records', countOf(t, setOf(node).q))
  const from = { row: quotient(firstRow, i32(each)), word: quotient(firstColumn, i32(BITS)) }
  eachWord((b, word) => {
    const row = b.let('row', add(from.row, quotient(word, i32(wide))))
    const column = b.let('column', add(from.word, remainder(word, i32(wide))))
    b.if(and(lt(row, rows), lt(column, perRow)), (d) => {
      const place = add(mul(recordOf(t, node, of, row), perRow), column)
      d.set(at(target, add(place, i32(LIST_HEADER))), op('u32', 'atomicLoad', at(words, word)))
    })
  })
  return {
    entry: entryOf(products, block),
    memory: [tile.memory, words],
  }
}

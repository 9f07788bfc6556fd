/** Bits of a where that asks products: a filter of the plan in; the entry out, whose workgroups have a tile of cells and vote on them in registers. */

import { nodesOf } from '../../compiler/ir.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { FilterKernel } from '../../compiler/stages/plan.ts'
import { finerRows } from '../../compiler/stages/plan-scores.ts'
import { setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  f32,
  fromU32,
  i32,
  lt,
  mul,
  op,
  quotient,
  remainder,
  sub,
  u32,
  type Code,
  WORD,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import { operandVars, seenAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { recordOf, wordsOf } from './layout.ts'
import { cellVars, unitsOf, type Cells } from './place.ts'
import { isMade, productCells, type ProductCells } from './product-cells.ts'
import { ProductTile } from './product-tile.ts'
import type { StageText } from './text.ts'
import { countOf, joinVars } from './units.ts'
import { entryOf } from './product.ts'
import type { Made } from './team.ts'

/** Bits of a where that asks products, and votes of them over units of queries. */
export interface ProductBits {
  readonly where: StageNode<'where'>
  readonly cells: ProductCells
  /** Rows of cells that go into a row of bits, and how many of the first one's are not of the call. */
  readonly each: number
  readonly before: Code
}

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
  const wide = side.kv / WORD
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
  const from = { row: quotient(firstRow, i32(each)), word: quotient(firstColumn, i32(WORD)) }
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

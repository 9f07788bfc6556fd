/**
 * Scores by products: a kernel of cells that one inner product each goes into, in; its entry on matrix units out. A workgroup has a tile
 * of cells. What is made of the products (functions, sums over heads, the mask) happens in registers, and a cell is written once; a
 * tile that the mask hides is not read.
 */

import { sameUnits } from '../../compiler/stages/axes.ts'
import { isWord, type Axis, type StageNode } from '../../compiler/stages/graph.ts'
import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  i32,
  lt,
  min,
  mul,
  not,
  op,
  or,
  sub,
  u32,
  type Code,
  type Entry,
  type Memory,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import { HIDDEN_BITS, scaleOf, seenAt, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { panelChannels, panelsOf, rowsFrom, sumAt } from './panels.ts'
import type { CellPlace, Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import type { Sharer } from './text.ts'
import { countOf, fieldOf, type Unit } from './units.ts'
import { maskSees, maskSeesWithin } from './visible.ts'

/** Cells that are each made of one inner product, or of one of each head. */
export interface ProductCells {
  readonly dot: StageNode<'dot'>
  /** Adds up over sharers; null: no node does. */
  readonly pool: StageNode<'poolScores'> | null
  /** What is made of the dot before that, and after; the last is the kernel's own node. */
  readonly inner: readonly StageNode[]
  readonly outer: readonly StageNode[]
}

/** @param isStored whether a kernel reads the node's cells from memory */
export function productCells(node: StageNode, isStored: (node: StageNode) => boolean): ProductCells | null {
  const path = pathToDot(node, isStored)
  const dot = path?.at(-1)
  if (!path || !dot || !isWord(dot, 'dot')) return null
  const pools = path.filter((n) => isWord(n, 'poolScores'))
  if (pools.length > 1) return null
  const pool = pools[0] ?? null
  const cut = pool === null ? -1 : path.indexOf(pool)
  return { dot, pool, inner: path.slice(cut + 1, -1), outer: path.slice(0, Math.max(0, cut)) }
}

/** From the node to the one dot that it is made of, cell by cell. */
function pathToDot(node: StageNode, isStored: (node: StageNode) => boolean): readonly StageNode[] | null {
  if (node.type.kind !== 'scores' || isStored(node)) return null
  if (isWord(node, 'dot')) return node.type.visible === 'sources' ? null : [node]
  if (!isWord(node, 'map', 'softmax', 'within') && !isShared(node)) return null
  const found = node.src.flatMap((n) => {
    const path = pathToDot(n, isStored)
    return path && hasAxesOf(n, node) ? [path] : []
  })
  const only = node.src.filter((n) => n.type.kind === 'scores' && isVirtual(n, isStored))
  return found.length === 1 && only.length <= 1 ? [node, ...found[0]!] : null
}

/** True of cells that are made wherever they are needed, of products among others. */
const isVirtual = (node: StageNode, isStored: (node: StageNode) => boolean): boolean =>
  node.word !== 'fill' && node.word !== 'values' && !isStored(node)

const hasAxesOf = (a: StageNode, b: StageNode): boolean =>
  sameUnits(scoresOf(a).q, scoresOf(b).q) && sameUnits(scoresOf(a).kv, scoresOf(b).kv)

/** A sum over sharers alone. */
function isShared(node: StageNode): boolean {
  if (!isWord(node, 'poolScores')) return false
  const { q, kv, of, how } = node.arg
  return q === null && kv === null && of === null && how === 'sum' && node.src.length === 1
}

export function productEntry(
  c: Cells,
  products: Products,
  { node, grid }: ScoresKernel,
  { dot, pool, inner, outer }: ProductCells,
): { readonly entry: Entry; readonly memory: readonly Memory[] } {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  const columns = countOf(t, scoresOf(node).kv)
  const tile = tileAt(t, grid.share, columns, products.tile)
  const { block, of } = tile
  const top = add(tile.base, tile.firstRow)
  const placeAt = (sharer: Sharer, row: Code, column: Code): CellPlace => ({
    of: sharer,
    q: add(top, row),
    kv: add(tile.firstColumn, column),
  })
  const innerPath = new Set(inner)
  const outerPath = new Set(outer)
  /** Cells of the product of one sharer. */
  let bytes = 0
  const memory = t.workgroup('panels', 'u32', [])
  const multiplied = (
    b: Block,
    sharer: Sharer,
    visit: (b: Block, cell: Code, place: CellPlace, own: Cells) => void,
  ): void => {
    const sees = tileSees(
      c,
      dot,
      sharer,
      {
        q: [top, add(top, i32(products.tile - 1))],
        kv: [tile.firstColumn, add(tile.firstColumn, i32(products.tile - 1))],
      },
      b,
    )
    const sums = b.sums('sums')
    const [queries, keys] = dot.src as [StageNode, StageNode]
    b.if(sees.some, (d) => {
      const [x, y] = panelsOf(
        t,
        d,
        products,
        sharer,
        rowsFrom(queries, top, (row) => lt(add(tile.firstRow, row), tile.rows)),
        rowsFrom(keys, tile.firstColumn, (row) => lt(add(tile.firstColumn, row), columns)),
      )
      bytes = Math.max(bytes, products.bytes(x.parts, y.parts))
      d.product(sums, memory, x, y, d.let('channels', panelChannels(t, queries)))
    })
    const scale = b.let('scaled', scaleOf(t, b, dot, sharer))
    b.cells((d, cell, row, column) => {
      const place = placeAt(sharer, row, column)
      const inside = and(lt(add(tile.firstRow, row), tile.rows), lt(place.kv, columns))
      d.if(inside, (e) => {
        const value = e.let('product', mul(sumAt(sums, cell), scale))
        const seen = e.let('sees', and(sees.some, or(sees.all, cellSees(c, dot, place))))
        visit(e, cell, place, c.with({ node: dot, value, seen, path: innerPath }))
      })
    })
  }
  const store = (b: Block, place: CellPlace, own: Cells): void => {
    const bits = b.var('bits', u32(HIDDEN_BITS))
    b.if(seenAt(own, node, place), (d) => d.set(bits, op('u32', 'floatBits', valueAt(own, node, place))))
    b.set(at(target, storedIndex(t, node, place)), op('f32', 'bitsFloat', bits))
  }
  if (pool === null) {
    multiplied(block, of, (b, _, place, own) => store(b, place, own))
  } else {
    const hidden = op('f32', 'bitsFloat', u32(HIDDEN_BITS))
    const isSeen = (value: Code) => not(eq(op('u32', 'floatBits', value), u32(HIDDEN_BITS)))
    const totals = block.sums('totals')
    block.cells((b, cell) => b.set(sumAt(totals, cell), hidden))
    const source = pool.src[0]!
    const { share } = scoresOf(source)
    const { lo, hi } = finerSharers(t, share, of)
    block.for('each', lo, hi, 1, (b, each) =>
      multiplied(b, { ...of, share, at: each }, (d, cell, place, own) => {
        d.if(seenAt(own, source, place), (e) => {
          const total = sumAt(totals, cell)
          const value = e.let('value', valueAt(own, source, place))
          e.set(total, op('f32', 'select', isSeen(total), add(total, value), value))
        })
      }),
    )
    block.cells((b, cell, row, column) => {
      const place = placeAt(of, row, column)
      b.if(and(lt(add(tile.firstRow, row), tile.rows), lt(place.kv, columns)), (d) => {
        const value = sumAt(totals, cell)
        store(d, place, c.with({ node: pool, value, seen: isSeen(value), path: outerPath }))
      })
    })
  }
  return {
    entry: { name: 'run', threads: products.threads, body: block.stmts },
    memory: [{ ...memory, dims: [bytes / 4] }],
  }
}

type Ends = readonly [first: Code, last: Code]

/** Whether some cell of a tile may be seen, and whether surely all are; as far as the units' order tells. */
function tileSees(
  c: Cells,
  dot: StageNode<'dot'>,
  of: Sharer,
  tile: { readonly q: Ends; readonly kv: Ends },
  b: Block,
): { readonly some: Code; readonly all: Code } {
  const { text: t, tiles } = c
  const { q, kv, visible } = scoresOf(dot)
  if (visible === 'off') return { some: bool(true), all: bool(true) }
  if (visible === 'sources' || !isMonotone(q) || !isMonotone(kv))
    return { some: bool(true), all: bool(false) }
  const unit = (axis: Axis, place: Code): Unit => ({
    axis,
    place: b.let('place', min(place, sub(countOf(t, axis), i32(1)))),
    of,
  })
  const bounds = {
    qLo: fieldOf(t, unit(q, tile.q[0]), 'first'),
    qHi: fieldOf(t, unit(q, tile.q[1]), 'last'),
    kvLo: fieldOf(t, unit(kv, tile.kv[0]), 'first'),
    kvHi: fieldOf(t, unit(kv, tile.kv[1]), 'last'),
  }
  return {
    some: b.let('some', maskSeesWithin(t, tiles, 'any', of, bounds)),
    all: b.let('all', maskSeesWithin(t, tiles, 'all', of, bounds)),
  }
}

/** True of units that follow each other as positions do. */
function isMonotone({ units, order }: Axis): boolean {
  const of = units.kind === 'slice' ? units.of : units
  return order === null && ['token', 'block', 'window', 'whole'].includes(of.kind)
}

function cellSees(c: Cells, dot: StageNode<'dot'>, { of, q, kv }: CellPlace): Code {
  const { q: rows, kv: columns, visible } = scoresOf(dot)
  if (visible === 'sources') throw new Error('a dot is seen by the mask')
  return maskSees(
    c.text,
    c.tiles,
    visible,
    of,
    { axis: rows, place: q, of },
    { axis: columns, place: kv, of },
  )
}

/** A tile of products: cells of a leaf in; the statements that multiply its rows and columns and visit each visible cell out. */

import type { Axis, StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, and, bool, i32, le, lt, max, min, mul, or, sub, type Code, type Memory } from '../kernel.ts'
import type { Products } from '../target.ts'
import { scaleOf } from './cells.ts'
import { knownChannels, leafChannels, leafRows, leafScale, panelsOf, sumAt, type Leaf } from './panels.ts'
import type { CellPlace, Cells } from './place.ts'
import type { Sharer, StageText } from './text.ts'
import { countOf, fieldOf, type Unit } from './units.ts'
import { maskSees, maskSeesWithin, type Bounds } from './visible.ts'

/** Where a tile lies: the places of its first row and column, and the rows and columns that there are. */
export interface TilePlace {
  readonly top: Code
  readonly left: Code
  readonly rows: { readonly from: Code; readonly end: Code }
  readonly columns: Code
}

/** A cell of this thread: its number among them, its place, and what is at hand there. */
export interface TileCell {
  readonly cell: Code
  readonly place: CellPlace
  readonly own: Cells
  /** Its sum, which is its own once the product was read. */
  readonly sum: Code
}

export class ProductTile {
  readonly #c: Cells
  readonly #products: Products
  readonly #leaf: Leaf
  readonly #path: ReadonlySet<StageNode>
  readonly #at: TilePlace
  readonly #panels: Memory
  #bytes = 0

  /** @param path the nodes between the leaf and what is made of its cells */
  constructor(c: Cells, products: Products, leaf: Leaf, path: readonly StageNode[], at: TilePlace) {
    this.#c = c
    this.#products = products
    this.#leaf = leaf
    this.#path = new Set(path)
    this.#at = at
    this.#panels = c.text.workgroup('panels', 'u32', [])
  }

  /** What the products that were written take. */
  get memory(): Memory {
    return { ...this.#panels, dims: [this.#bytes / 4] }
  }

  placeAt(of: Sharer, row: Code, column: Code): CellPlace {
    return { of, q: add(this.#at.top, row), kv: add(this.#at.left, column) }
  }

  hasRow(q: Code): Code {
    const { rows } = this.#at
    return and(le(rows.from, q), lt(q, rows.end))
  }

  isInside({ q, kv }: Pick<CellPlace, 'q' | 'kv'>): Code {
    return and(this.hasRow(q), lt(kv, this.#at.columns))
  }

  /**
   * The products of one sharer and a visit of each cell, if the mask lets any of the tile's be seen. A tile all of which is there and
   * seen asks neither of its cells.
   */
  multiply(block: Block, of: Sharer, { cell: visit, beyond, after, hidden }: Visits): void {
    const t: StageText = this.#c.text
    const leaf = this.#leaf
    const { top, left, rows, columns } = this.#at
    const { q, kv } = this.#products.tile
    const last = { q: add(top, i32(q - 1)), kv: add(left, i32(kv - 1)) }
    const sees = tileSees(this.#c, leaf.node, of, { q: [top, last.q], kv: [left, last.kv] }, block)
    const multiplied = (b: Block): void => {
      const sums = b.sums('sums')
      const isRow = (row: Code) => and(le(rows.from, add(top, row)), lt(add(top, row), rows.end))
      const isColumn = (column: Code) => lt(add(left, column), columns)
      const [x, y] = panelsOf(
        t,
        b,
        this.#products,
        leafRows(t, leaf, 'q', of, top, isRow),
        leafRows(t, leaf, 'kv', of, left, isColumn),
      )
      const bytes = this.#products.bytes(x.parts, y.parts, knownChannels(t, leaf))
      this.#bytes = Math.max(this.#bytes, bytes)
      b.product(sums, this.#panels, x, y, b.let('channels', leafChannels(t, leaf)))
      const scale = b.let('scaled', scaleOf(t, b, leaf.dot, of))
      const made = (d: Block, place: CellPlace, seen: Code, cell: Code): void => {
        const scales = [leafScale(t, leaf, 'q', of, place.q), leafScale(t, leaf, 'kv', of, place.kv)]
        const factor = scales.reduce<Code>((all, own) => (own ? mul(all, own) : all), scale)
        const value = d.let('product', mul(sumAt(sums, cell), factor))
        const own = this.#c.with({ node: leaf.node, value, seen, path: this.#path })
        visit(d, { cell, place, own, sum: sumAt(sums, cell) })
      }
      const isWhole = (from: { q: Code; kv: Code }, to: { q: Code; kv: Code }): Code =>
        and(le(rows.from, from.q), lt(to.q, rows.end), lt(to.kv, columns))
      const known = (seen: Code, strip: string | null) => (a: Block) =>
        a.cells((d, cell, row, column) => made(d, this.placeAt(of, row, column), seen, cell), strip)
      /** Each cell that there is; `sees` is what it is asked. */
      const asked = (sees: (e: Block, place: CellPlace) => Code, strip: string | null) => (a: Block) =>
        a.cells((d, cell, row, column) => {
          const place = this.placeAt(of, row, column)
          const there = (e: Block): void => made(e, place, sees(e, place), cell)
          d.if(this.isInside(place), there, beyond && ((e) => beyond(e, sumAt(sums, cell))))
        }, strip)
      const byCell = (all: Code) => (e: Block, place: CellPlace) =>
        e.let('sees', or(all, cellSees(this.#c, leaf.node, place)))
      const { strips } = this.#products
      const whole = b.let('whole', and(sees.all, isWhole({ q: top, kv: left }, last)))
      // Of a tile that the mask cuts most strips are seen whole, or not at all.
      const cut = (a: Block): void => {
        if (!strips || !isBounded(leaf.node)) return asked(byCell(sees.all), null)(a)
        a.strips((d, strip, row, column) => {
          const from = { q: d.let('fromRow', add(top, row)), kv: d.let('fromColumn', add(left, column)) }
          const to = { q: add(from.q, i32(strips.q - 1)), kv: add(from.kv, i32(strips.kv - 1)) }
          const own = tileSees(this.#c, leaf.node, of, { q: [from.q, to.q], kv: [from.kv, to.kv] }, d)
          d.if(and(own.all, isWhole(from, to)), known(bool(true), strip), (e) =>
            e.if(
              own.some,
              asked(byCell(own.all), strip),
              asked(() => bool(false), strip),
            ),
          )
        })
      }
      b.if(whole, known(bool(true), null), cut)
      after?.(b, sums)
    }
    block.if(sees.some, multiplied, hidden)
  }

  /** Each cell that there is, without its product. */
  eachPlace(block: Block, of: Sharer, visit: (b: Block, place: CellPlace) => void): void {
    block.cells((b, _, row, column) => {
      const place = this.placeAt(of, row, column)
      b.if(this.isInside(place), (d) => visit(d, place))
    })
  }
}

/** What is done with a tile that may be seen. */
export interface Visits {
  /** With each cell that there is. */
  readonly cell: (b: Block, cell: TileCell) => void
  /** With the sum of each that there is not. */
  readonly beyond?: (b: Block, sum: Code) => void
  /** With all sums at last. */
  readonly after?: (b: Block, sums: string) => void
  /** With a tile that is hidden. */
  readonly hidden?: (b: Block) => void
}

type Ends = readonly [first: Code, last: Code]

/** Whether some cell of a tile may be seen, and whether surely all are; as far as the units' order tells. */
function tileSees(
  c: Cells,
  node: StageNode,
  of: Sharer,
  tile: { readonly q: Ends; readonly kv: Ends },
  b: Block,
): { readonly some: Code; readonly all: Code } {
  const bounds = tileBounds(c, node, of, tile, b)
  if (!bounds) return { some: bool(true), all: bool(scoresOf(node).visible === 'off') }
  const sees = (rule: 'any' | 'all') => maskSeesWithin(c.text, c.tiles, rule, of, bounds)
  return { some: b.let('some', sees('any')), all: b.let('all', sees('all')) }
}

/** The positions that a tile's first and last units reach from and to; null: they tell nothing of what is between, or nobody asks. */
export function tileBounds(
  { text: t }: Cells,
  node: StageNode,
  of: Sharer,
  tile: { readonly q: Ends; readonly kv: Ends },
  b: Block,
): Bounds | null {
  const { q, kv, visible } = scoresOf(node)
  if (visible === 'off' || !isBounded(node)) return null
  const unit = (axis: Axis, place: Code): Unit => ({
    axis,
    place: b.let('place', max(min(place, sub(countOf(t, axis), i32(1))), i32(0))),
    of,
  })
  return {
    qLo: fieldOf(t, unit(q, tile.q[0]), 'first'),
    qHi: fieldOf(t, unit(q, tile.q[1]), 'last'),
    kvLo: fieldOf(t, unit(kv, tile.kv[0]), 'first'),
    kvHi: fieldOf(t, unit(kv, tile.kv[1]), 'last'),
  }
}

/** True of cells whose first and last unit tell what is between them. */
function isBounded(node: StageNode): boolean {
  const { q, kv, visible } = scoresOf(node)
  return visible === 'off' || (visible !== 'sources' && isMonotone(q) && isMonotone(kv))
}

/** True of units that follow each other as positions do. */
function isMonotone({ units, order }: Axis): boolean {
  const of = units.kind === 'slice' ? units.of : units
  return order === null && ['token', 'block', 'window', 'whole'].includes(of.kind)
}

/** Whether the mask lets a cell of an inner product be seen. */
export function cellSees(c: Cells, node: StageNode, { of, q, kv }: CellPlace): Code {
  const { q: rows, kv: columns, visible } = scoresOf(node)
  if (visible === 'sources') throw new Error('a product is seen by the mask')
  return maskSees(
    c.text,
    c.tiles,
    visible,
    of,
    { axis: rows, place: q, of },
    { axis: columns, place: kv, of },
  )
}

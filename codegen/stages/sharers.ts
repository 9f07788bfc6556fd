/**
 * Sums over sharers by products whose rows are sharers: cells that add up what is made of each head's inner product in; the entry out. A
 * workgroup has some queries, whose heads stay where they are while columns come by, a strip at a time. Of a strip only the queries
 * are multiplied that want some of it, so that what a coarser choice has left out costs nothing.
 */

import { isWord } from '../../compiler/stages/graph.ts'
import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import {
  add,
  and,
  at,
  bool,
  f32,
  i32,
  lt,
  name,
  not,
  op,
  sub,
  u32,
  type Code,
  type Entry,
  type Memory,
} from '../kernel.ts'
import type { SharerProducts } from '../target.ts'
import { HIDDEN_BITS, seenAt, storeCell, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { leafChannels, leafRows, leafScale, panelOf, type TileRows } from './panels.ts'
import { unitsOf, type CellPlace, type Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import { cellSees, tileBounds } from './product-tile.ts'
import { partOf } from './sets.ts'
import type { SharerCells } from './sharer-cells.ts'
import { madeOf, scaled } from './sharer-values.ts'
import type { Sharer } from './text.ts'
import { countOf } from './units.ts'
import { maskSeesWithin } from './visible.ts'

export function sharersEntry(
  c: Cells,
  products: SharerProducts,
  { node, grid }: ScoresKernel,
  cells: SharerCells,
): { readonly entry: Entry; readonly memory: readonly Memory[] } {
  const { text: t } = c
  const { leaf, pool, outer } = cells
  const target = t.stored(t.find(node, 'scores')!)
  const source = pool.src[0]!
  const tile = tileAt(t, grid.share, countOf(t, scoresOf(leaf.node).kv), products.tile)
  const { block, of, base, rows, columns, firstColumn } = tile
  const top = block.let('top', add(base, tile.firstRow))
  const end = block.let('end', add(base, rows))
  const { lo, hi } = finerSharers(t, scoresOf(source).share, of)
  const sharers = block.let('sharers', sub(hi, lo))
  const memory: Memory = { ...t.workgroup('panels', 'u32', []), dims: [products.bytes / 4] }

  const placeAt = (query: Code, column: Code): CellPlace => ({
    of,
    q: add(top, query),
    kv: add(firstColumn, column),
  })
  const isInside = ({ q, kv }: CellPlace) => and(lt(q, end), lt(kv, columns))
  const sharerAt = (number: Code): Sharer => ({ ...of, share: scoresOf(source).share, at: add(lo, number) })
  const hidden = op('f32', 'bitsFloat', u32(HIDDEN_BITS))

  const limits = outer.filter((n) => isWord(n, 'within')).map((n) => n.src[1]!)
  const part = Math.min(products.strip, ...limits.map((set) => partOf(set, node, products.strip)))
  const asked = block.lambda(
    [
      ['query', 'i32'],
      ['column', 'i32'],
    ],
    (b, query, column) => {
      const place = placeAt(query!, column!)
      b.if(not(isInside(place)), (d) => d.return(bool(false)))
      for (const set of limits)
        b.if(not(c.holds(set, { of, ...unitsOf(node, place) })), (d) => d.return(bool(false)))
      const last = add(place.kv, i32(part - 1))
      const bounds = tileBounds(c, leaf.node, of, { q: [place.q, place.q], kv: [place.kv, last] }, b)
      return bounds ? maskSeesWithin(t, c.tiles, 'any', of, bounds) : bool(true)
    },
  )

  const query = block.names.fresh('query')
  const x: TileRows = {
    node: leaf.dot.src[0]!,
    asCodes: true,
    at: (_, row, { at: channel }) => ({
      of: sharerAt(row),
      place: add(top, name('i32', query)),
      channel,
      there: lt(row, sharers),
    }),
  }
  const y = leafRows(t, leaf, 'kv', of, firstColumn, (row) => lt(add(firstColumn, row), columns))
  const columnScale = (column: Code) => leafScale(t, leaf, 'kv', of, add(firstColumn, column))
  block.sharerSums({
    by: products.name,
    memory,
    sharers,
    channels: block.let('channels', leafChannels(t, leaf)),
    query,
    parts: products.strip / part,
    asked,
    x: panelOf(t, block, products.chunk, x),
    y: panelOf(t, block, products.chunk, y),
    columnFactor: block.lambda([['column', 'i32']], (_, column) => columnScale(column!) ?? f32(1)),
    // A factor of one is nowhere missed.
    scaled: columnScale(i32(0)) ? scaled(cells) : 'totals',
    made: madeOf(c, block, cells, (query, sharer, column) => ({
      ...placeAt(query, column),
      of: sharerAt(sharer),
    })),
    put: block.lambda(
      [
        ['query', 'i32'],
        ['column', 'i32'],
        ['total', 'f32'],
      ],
      (b, row, column, total) => {
        const place = placeAt(row!, column!)
        b.if(isInside(place), (d) => {
          const seen = d.let('sees', cellSees(c, leaf.node, place))
          const own = c.with({ node: pool, value: total!, seen, path: new Set(outer) })
          const value = () => valueAt(own, node, place)
          storeCell(d, seenAt(own, node, place), value, () => at(target, storedIndex(t, node, place)))
        })
      },
    ),
    hide: block.lambda(
      [
        ['query', 'i32'],
        ['column', 'i32'],
      ],
      (b, row, column) => {
        const place = placeAt(row!, column!)
        b.if(isInside(place), (d) => d.set(at(target, storedIndex(t, node, place)), hidden))
      },
    ),
  })
  return { entry: { name: 'run', threads: products.threads, body: block.stmts }, memory: [memory] }
}

/**
 * Sums over sharers by products whose rows are sharers: cells that add up what is made of each head's inner product in; the entry out. A
 * workgroup has some queries, whose heads stay where they are while columns come by, a strip at a time. Of a strip only the queries
 * are multiplied that want some of it, so that what a coarser choice has left out costs nothing.
 */

import { scalesWith } from '../../compiler/homogeneous.ts'
import { readsVar, type Expr } from '../../compiler/ir.ts'
import { readsHead } from '../../compiler/plan.ts'
import { isWord, type Share, type StageNode } from '../../compiler/stages/graph.ts'
import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { rowsOf, scoresOf, setOf } from '../../compiler/stages/typing.ts'
import {
  add,
  and,
  at,
  bool,
  f32,
  i32,
  lt,
  mul,
  op,
  sub,
  u32,
  type Code,
  type Entry,
  type Lambda,
  type Memory,
} from '../kernel.ts'
import type { SharerProducts } from '../target.ts'
import { UNIT_FIELDS, unitVar } from '../../compiler/vars.ts'
import type { Block } from '../block.ts'
import { Values } from '../expr.ts'
import { asFloat, HIDDEN_BITS, scaleOf, seenAt, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { leafChannels, leafRows, leafScale, panelOf, type TileRows } from './panels.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import type { ProductCells } from './product-cells.ts'
import { cellSees, tileBounds } from './product-tile.ts'
import type { Scope, Sharer, StageText } from './text.ts'
import { countOf, joinVars, unitVars } from './units.ts'
import { maskSeesWithin } from './visible.ts'

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
      b.if(op('bool', 'not', isInside(place)), (d) => d.return(bool(false)))
      for (const set of limits)
        b.if(op('bool', 'not', c.holds(set, { of, ...unitsOf(node, place) })), (d) => d.return(bool(false)))
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
      place: add(top, { kind: 'name', type: 'i32', name: query }),
      channel,
      there: lt(row, sharers),
    }),
  }
  const y = leafRows(t, leaf, 'kv', of, firstColumn, (row) => lt(add(firstColumn, row), columns))
  block.sharerSums({
    memory,
    sharers,
    channels: block.let('channels', leafChannels(t, leaf)),
    query,
    parts: products.strip / part,
    asked,
    x: panelOf(t, block, products.chunk, x),
    y: panelOf(t, block, products.chunk, y),
    columnFactor: block.lambda(
      [['column', 'i32']],
      (_, column) => leafScale(t, leaf, 'kv', of, add(firstColumn, column!)) ?? f32(1),
    ),
    scaled: scaled(cells),
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
      (b, row, column, value) => {
        const place = placeAt(row!, column!)
        b.if(isInside(place), (d) => {
          const seen = d.let('sees', cellSees(c, leaf.node, place))
          const own = c.with({ node: pool, value: value!, seen, path: new Set(outer) })
          const bits = d.var('bits', u32(HIDDEN_BITS))
          d.if(seenAt(own, node, place), (e) =>
            e.set(bits, op('u32', 'floatBits', valueAt(own, node, place))),
          )
          d.set(at(target, storedIndex(t, node, place)), op('f32', 'bitsFloat', bits))
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

/** Scales of codes are never negative: they are the total's where a greater product makes what goes into it as much greater. */
const scaled = ({ inner }: SharerCells): 'products' | 'totals' =>
  inner.every((n) => isWord(n, 'map') && scalesWith(n.arg.value, 's')) ? 'totals' : 'products'

type CellAt = (query: Code, sharer: Code, column: Code) => CellPlace

/** What is made of a product: what hangs on its row alone is made once, since a load between two cells costs more than they do. */
function madeOf(c: Cells, block: Block, cells: SharerCells, placeAt: CellAt): Lambda {
  const { text: t } = c
  const { leaf, pool } = cells
  const source = pool.src[0]!
  const maps = cells.inner.toReversed() as StageNode<'map'>[]
  return block.lambda(
    [
      ['query', 'i32'],
      ['sharer', 'i32'],
    ],
    (b, query, sharer) => {
      const row = placeAt(query!, sharer!, i32(0))
      const known = rowValues(t, b, maps, { ...row.of, vars: unitVars(t, 'q', unitsOf(source, row).q) })
      const scale = scaleOf(t, b, leaf.dot, row.of)
      const factor = b.let('factor', leafScale(t, leaf, 'q', row.of, row.q) ?? f32(1))
      const write = (d: Block, e: Expr, s: Code, column: Code): Code => {
        const vars = joinVars({ s }, cellVars(t, unitsOf(source, placeAt(query!, sharer!, column))))
        return asFloat(t.write(d, e, { ...row.of, vars }, new Values(known)))
      }
      const last = maps.at(-1)
      const [weight, rest] = last ? weighed(last.arg.value) : [null, null]
      const isLate = scaled(cells) === 'totals'
      // As the column's, the row's factor may be that of what is made, and meet there what else the row has.
      const late = isLate ? b.let('weight', weight === null ? factor : mul(known.get(weight)!, factor)) : null
      return b.lambda(
        [
          ['column', 'i32'],
          ['product', 'f32'],
        ],
        (d, column, product) => {
          const through = (s: Code, e: Expr) => write(d, e, s, column!)
          if (late === null)
            return maps.map((m) => m.arg.value).reduce(through, mul(product!, mul(scale, factor)))
          const before = maps.slice(0, -1).map((m) => m.arg.value)
          return mul(late, [...before, ...(rest ? [rest] : [])].reduce(through, mul(scale, product!)))
        },
      )
    },
  )
}

/** A product of what is known of a row and something else: the two; null: it is none. */
function weighed(e: Expr): readonly [row: Expr | null, rest: Expr] {
  if (e.op !== 'mul') return [null, e]
  const [a, b] = e.src as [Expr, Expr]
  const isRow = (x: Expr) => x.src.length > 0 && !readsColumn(x)
  if (isRow(a)) return [a, b]
  return isRow(b) ? [b, a] : [null, e]
}

/** What the functions read of a row alone. */
function rowValues(t: StageText, b: Block, maps: readonly StageNode<'map'>[], scope: Scope): Values {
  const values = new Values()
  const visit = (e: Expr): void => {
    if (e.src.length === 0 || values.get(e)) return
    if (readsColumn(e)) e.src.forEach(visit)
    else values.set(e, b.let('known', t.write(b, e, scope, values)))
  }
  for (const { arg } of maps) visit(arg.value)
  return values
}

const COLUMN_VARS = UNIT_FIELDS.map((field) => unitVar('kv', field))
/** True of what hangs on the value that a function is given, or on its key unit. */
const readsColumn = (e: Expr): boolean => readsVar(e, 's', ...COLUMN_VARS)

/** Columns side by side that a set holds, or not, together. */
export function partOf(set: StageNode, node: StageNode, width: number): number {
  const { units } = setOf(set).kv
  const size = units.kind === 'block' && scoresOf(node).kv.units.kind === 'token' ? units.size : 1
  return size % width === 0 ? width : width % size === 0 ? size : 1
}

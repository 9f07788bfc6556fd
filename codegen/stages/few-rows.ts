/**
 * Cells of products of a few rows: a kernel of scores that one inner product each goes into in; the entry whose warps have columns of one
 * row out. A column's vector is read once, into registers, for all sharers that add up, and multiplied where it is: what is read is
 * the bound, so nothing is tiled.
 */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { ScoresKernel } from '../../compiler/stages/plan.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { literalOf } from '../constant.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  f32,
  fromU32,
  i32,
  lt,
  min,
  mul,
  op,
  quotient,
  remainder,
  select,
  sub,
  u32,
  type Code,
} from '../kernel.ts'
import { HIDDEN_BITS, isVisible, scaleOf, seenAt, storeCell, storedIndex, valueAt } from './cells.ts'
import { tileAt } from './grid.ts'
import { leafChannels } from './panels.ts'
import type { CellPlace, Cells } from './place.ts'
import { finerSharers } from './pooled.ts'
import type { ProductCells } from './product-cells.ts'
import { cellSees } from './product-tile.ts'
import { element } from './rows.ts'
import { sumOfEach, type Made } from './team.ts'
import type { Sharer, StageText } from './text.ts'
import { countOf } from './units.ts'

/** More rows are worth a tile. */
export const FEW_ROWS = 8
const WARP = 32
const THREADS = 256
/** Queries that are staged at once. */
const STAGED = 8
/** Channels of a thread, of one column, where their number is known with the text; else so many at most. */
const MOST_SLOTS = 16
const OPEN_SLOTS = 4
/** What a thread has under way at once: with twice as many a multiprocessor has half the warps. */
const READS = 32
const MOST_COLUMNS = 8

export interface FewRows {
  /** Channels of a thread, of one column. */
  readonly slots: number
  /** Columns of a warp. */
  readonly columns: number
  readonly tile: { readonly q: 1; readonly kv: number }
}

/** The shape of a kernel for few rows; null: its cells are made otherwise. */
export function fewRows(t: StageText, { leaf, pool, inner, outer, blocks }: ProductCells): FewRows | null {
  const limited = [...inner, ...outer].some((n) => isWord(n, 'within'))
  // A tile of candidates, most of which are none, is passed over as a whole.
  if (t.problem.lanes < WARP || blocks !== null || leaf.patches !== null || limited) return null
  const { share } = rowsOf(leaf.dot.src[1]!)
  // A column has one vector for all that add up.
  if (pool !== null && share !== 'request' && share !== scoresOf(pool).share) return null
  const channels = literalOf(leafChannels(t, leaf))
  const slots = channels === null ? OPEN_SLOTS : Math.ceil(channels / WARP)
  if (slots > MOST_SLOTS) return null
  const columns = Math.min(MOST_COLUMNS, 2 ** Math.floor(Math.log2(READS / slots)))
  return { slots, columns, tile: { q: 1, kv: (THREADS / WARP) * columns } }
}

/** How many channels it holds. */
export const fewChannels = ({ slots }: FewRows): number => slots * WARP

export function fewRowsEntry(
  c: Cells,
  { node, grid }: ScoresKernel,
  { leaf, pool, inner, outer }: ProductCells,
  { slots, columns: each, tile }: FewRows,
): Made {
  const { text: t } = c
  const target = t.stored(t.find(node, 'scores')!)
  const queries = t.workgroup('queries', 'f32', [STAGED, slots * WARP])
  const count = countOf(t, scoresOf(leaf.node).kv)
  const { block, of, base, columns, firstRow, firstColumn } = tileAt(t, grid.share, count, tile)
  const q = block.let('row', add(base, firstRow))
  const thread = block.let('thread', fromU32(op('u32', 'thread')))
  const lane = block.let('lane', remainder(thread, i32(WARP)))
  const begin = block.let('begin', add(firstColumn, mul(quotient(thread, i32(WARP)), i32(each))))
  const width = leafChannels(t, leaf)
  const known = literalOf(width)
  const channels = known === null ? block.let('channels', width) : i32(known)
  const [queryNode, keyNode] = leaf.dot.src as [StageNode, StageNode]
  const slot = (n: number) => add(lane, i32(n * WARP))
  const ofThread = [...Array(slots).keys()].map((n) => channelOf(block, slot(n), channels))

  // All reads are under way before the first is waited for; of a column beyond the last, the last's.
  const last = block.let('last', sub(columns, i32(1)))
  const vectors = [...Array(each).keys()].map((i) => {
    const column = block.let('column', min(add(begin, i32(i)), last))
    return ofThread.map((channel) => component(t, block, keyNode, of, column, channel))
  })
  // A sum comes to the threads of one part of the warp, as many as there are columns.
  const part = WARP / each
  const own = block.let('ownColumn', add(begin, quotient(lane, i32(part))))
  const place: CellPlace = { of, q, kv: own }
  const seesOf = (b: Block, p: CellPlace) =>
    b.let('sees', cellSees(c, leaf.node, { ...p, kv: min(p.kv, last) }))
  const hidden = op('f32', 'bitsFloat', u32(HIDDEN_BITS))
  const total = block.var('total', hidden)

  const share = pool === null ? of.share : scoresOf(pool.src[0]!).share
  const { lo, hi } = finerSharers(t, share, of)
  block.for('from', lo, hi, STAGED, (b, from) => {
    const staged = b.let('staged', min(sub(hi, from), i32(STAGED)))
    b.barrier()
    b.for('n', thread, mul(staged, i32(slots * WARP)), THREADS, (d, n) => {
      const [which, channel] = [
        d.let('which', quotient(n, i32(slots * WARP))),
        d.let('channel', remainder(n, i32(slots * WARP))),
      ]
      const sharer: Sharer = { ...of, share, at: add(from, which) }
      const value = component(t, d, queryNode, sharer, q, channelOf(d, channel, channels))
      d.set(at(queries, which, channel), value)
    })
    b.barrier()
    b.for('which', i32(0), staged, 1, (d, which) => {
      const parts = vectors.map(() => d.var('part', f32(0)))
      for (const n of ofThread.keys()) {
        const query = d.let('query', at(queries, which, slot(n)))
        for (const [i, vector] of vectors.entries())
          d.set(parts[i]!, op('f32', 'mad', query, vector[n]!, parts[i]!))
      }
      const sharer: Sharer = { ...of, share, at: d.let('sharer', add(from, which)) }
      const mine: CellPlace = { ...place, of: sharer }
      const product = sumOfEach(d, parts, lane, WARP)
      const value = d.let('product', mul(product, scaleOf(t, d, leaf.dot, sharer)))
      const path = new Set(pool === null ? [...inner, ...outer] : inner)
      const cells = c.with({ node: leaf.node, value, seen: seesOf(d, mine), path })
      const source = pool === null ? node : pool.src[0]!
      d.if(seenAt(cells, source, mine), (e) => {
        const cell = e.let('value', valueAt(cells, source, mine))
        e.set(total, select(isVisible(total), add(total, cell), cell))
      })
    })
  })
  block.if(and(lt(own, columns), eq(remainder(lane, i32(part)), i32(0))), (b) => {
    const cells = pool && c.with({ node: pool, value: total, seen: isVisible(total), path: new Set(outer) })
    const [seen, value] = cells
      ? [seenAt(cells, node, place), valueAt(cells, node, place)]
      : [isVisible(total), total]
    storeCell(
      b,
      seen,
      () => value,
      () => at(target, storedIndex(t, node, place)),
    )
  })
  return { entry: { name: 'run', threads: THREADS, body: block.stmts }, memory: [queries] }
}

/** A channel, of which there may be none: then the last stands in its place. */
interface Channel {
  readonly there: Code
  readonly at: Code
}

function channelOf(b: Block, channel: Code, channels: Code): Channel {
  if (channels.kind === 'literal' && Number(channels.value) % WARP === 0)
    return { there: bool(true), at: channel }
  return {
    there: b.let('there', lt(channel, channels)),
    at: b.let('within', min(channel, sub(channels, i32(1)))),
  }
}

/** Of a vector; 0 where there is none. */
const component = (
  t: StageText,
  b: Block,
  node: StageNode,
  of: Sharer,
  row: Code,
  { there, at: channel }: Channel,
): Code => b.let('component', select(there, element(t, node, of, row, channel), f32(0)))

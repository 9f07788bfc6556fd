/** Sets: a node of a set, a sharer and a pair of units in; whether the set holds the pair, as code out. */

import type { KvTiles } from '../../compiler/plan.ts'
import { sameUnits } from '../../compiler/stages/axes.ts'
import { isWord, type Share, type StageNode } from '../../compiler/stages/graph.ts'
import type { StageBuffer } from '../../compiler/stages/plan.ts'
import { scoresOf, setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  i32,
  le,
  lt,
  max,
  min,
  mul,
  not,
  op,
  or,
  quotient,
  select,
  sub,
  u32,
  type Code,
} from '../kernel.ts'
import { operandVars, seenAt, valueAt } from './cells.ts'
import { finerSharers } from './pooled.ts'
import { countIndex, idsIndex, mostOf, recordOf, wordsOf } from './layout.ts'
import type { Sharer, StageText } from './text.ts'
import { joinVars, sourcesOf, unitAround, Unsupported } from './units.ts'
import { cellVars, type Cells, type Given, type Pair } from './place.ts'

const PARAMETERS = ['batch', 'at', 'row', 'column'] as const

/** What the functions of a file share. */
export function cellsOf(text: StageText, tiles: KvTiles, given: Given | null = null): Cells {
  const cells: Cells = {
    text,
    tiles,
    given,
    with: (own) => cellsOf(text, tiles, own),
    holds: (node, pair) => holds(cells, node, pair),
    value: (node, place) => valueAt(cells, node, place),
    seen: (node, place) => seenAt(cells, node, place),
  }
  return cells
}

function holds(c: Cells, node: StageNode, pair: Pair): Code {
  const { text: t } = c
  const type = setOf(node)
  const of = { ...pair.of, share: type.share, at: t.coarser(pair.of, type.share) }
  const [q, kv] = [unitAround(t, pair.q, type.q), unitAround(t, pair.kv, type.kv)]
  const args = [of.batch, of.at, q.place, kv.place]
  return t.call(
    `${node.word}${node.id}Holds`,
    'bool',
    PARAMETERS,
    args,
    (b, [batch, sharer, row, column]) => {
      const mine: Sharer = { batch: batch!, share: type.share, at: sharer! }
      const place = { of: mine, q: row!, kv: column! }
      const [ids, bits] = [t.find(node, 'ids'), t.find(node, 'bits')]
      if (ids && !t.writes(ids)) return b.return(inList(t, b, node, ids, place))
      if (bits && !t.writes(bits)) return b.return(bitOf(t, node, bits, place))
      b.return(computed(c, b, node, place))
    },
  )
}

export interface SetPlace {
  readonly of: Sharer
  readonly q: Code
  readonly kv: Code
}

function computed(c: Cells, b: Block, node: StageNode, place: SetPlace): Code {
  const { text: t } = c
  const type = setOf(node)
  const own: Pair = {
    of: place.of,
    q: { axis: type.q, place: place.q, of: place.of },
    kv: { axis: type.kv, place: place.kv, of: place.of },
  }
  if (isWord(node, 'where')) {
    const cells = node.src.map((n) => seenAt(c, n, place))
    b.if(not(and(...cells)), (d) => d.return(bool(false)))
    const vars = joinVars(operandVars(c, node, place), cellVars(t, own))
    return t.write(b, node.arg.keep, { ...place.of, vars })
  }
  if (isWord(node, 'poolSet')) return voted(c, b, node, place)
  if (isWord(node, 'union', 'intersect', 'difference')) {
    const parts = node.src.map((n) => {
      const from = setOf(n)
      if (!sameUnits(from.q, type.q) || !sameUnits(from.kv, type.kv))
        throw new Unsupported(`${node.word} of other units`)
      return holds(c, n, own)
    })
    const [first, ...rest] = parts as [Code, ...Code[]]
    if (node.word === 'union') return or(...parts)
    return and(first, ...rest.map((p) => (node.word === 'intersect' ? p : not(p))))
  }
  throw new Unsupported(`a set of ${node.word}`)
}

/** Votes of the visible source cells that share tokens with a pair of units. */
function voted(c: Cells, b: Block, node: StageNode<'poolSet'>, place: SetPlace): Code {
  const { text: t } = c
  const [source] = node.src as [StageNode]
  const [from, to] = [setOf(source), setOf(node)]
  const q = sourcesOf(t, from.q, { axis: to.q, place: place.q, of: place.of })
  const kv = sourcesOf(t, from.kv, { axis: to.kv, place: place.kv, of: place.of })
  const shares = finerSharers(t, from.share, place.of)
  const votes = b.var('votes', i32(0))
  const yes = b.var('yes', i32(0))
  b.for('sharer', shares.lo, shares.hi, 1, (b1, sharer) =>
    b1.for('row', q.lo, q.hi, 1, (b2, row) =>
      b2.for('column', kv.lo, kv.hi, 1, (b3, column) => {
        const of: Sharer = { ...place.of, share: from.share as Share, at: sharer }
        const cell = { of, q: row, kv: column }
        b3.if(cellSeen(c, source, cell), (d) => {
          const pair = { of, q: { axis: from.q, place: row, of }, kv: { axis: from.kv, place: column, of } }
          d.set(votes, add(votes, i32(1)))
          d.set(yes, add(yes, select(holds(c, source, pair), i32(1), i32(0))))
        })
      }),
    ),
  )
  return node.arg.how === 'any' ? lt(i32(0), yes) : and(lt(i32(0), votes), eq(votes, yes))
}

/** Whether a set's cell could have been chosen: its scores' visibility. */
function cellSeen(c: Cells, node: StageNode, place: SetPlace): Code {
  if (isWord(node, 'where')) return and(...node.src.map((n) => seenAt(c, n, place)))
  if (isWord(node, 'topK', 'topP')) return seenAt(c, node.src[0]!, place)
  // What is pooled further was seen where anything voted: nothing else is in the set.
  return bool(true)
}

function inList(t: StageText, b: Block, node: StageNode, buffer: StageBuffer, { of, q, kv }: SetPlace): Code {
  const list = t.stored(buffer)
  const record = b.let('record', recordOf(t, node, of, q))
  const count = b.let('count', at(list, countIndex(record)))
  const ids = b.let('ids', add(idsIndex(t, node), mul(record, mostOf(t, node))))
  const low = b.var('low', i32(0))
  const high = b.var('high', count)
  b.loop((c) => {
    c.if(le(high, low), (d) => d.break())
    const middle = c.let('middle', quotient(add(low, high), i32(2)))
    c.if(
      lt(at(list, add(ids, middle)), kv),
      (d) => d.set(low, add(middle, i32(1))),
      (d) => d.set(high, middle),
    )
  })
  return and(lt(low, count), eq(at(list, add(ids, min(low, max(sub(count, i32(1)), i32(0))))), kv))
}

function bitOf(t: StageText, node: StageNode, buffer: StageBuffer, { of, q, kv }: SetPlace): Code {
  const row = mul(recordOf(t, node, of, q), wordsOf(t, node))
  const word = at(t.stored(buffer), add(add(row, quotient(kv, i32(32))), i32(LIST_HEADER)))
  const bit = op(
    'u32',
    'bitAnd',
    op('u32', 'shl', u32(1), op('u32', 'toU32', op('i32', 'bitAnd', kv, i32(31)))),
    word,
  )
  return not(eq(bit, u32(0)))
}

/** Columns side by side that a set holds, or not, together. */
export function partOf(set: StageNode, node: StageNode, width: number): number {
  const { units } = setOf(set).kv
  const size = units.kind === 'block' && scoresOf(node).kv.units.kind === 'token' ? units.size : 1
  return size % width === 0 ? width : width % size === 0 ? size : 1
}

/** Panels: rows that a product multiplies, a few of which are a tile's, in; where their channels lie, or what they are, out. */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { Patches } from '../../compiler/stages/patches.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  i32,
  le,
  lt,
  mul,
  name,
  quotient,
  remainder,
  sub,
  toU32,
  type Code,
  type Panel,
} from '../kernel.ts'
import type { Products } from '../target.ts'
import { channelsOf, codeWords, element, inputRow, rowIndex, scaleAt, unitIndex } from './rows.ts'
import type { Sharer, StageText } from './text.ts'
import { fieldOf, positionAt, slicedPlace } from './units.ts'

/** A sharer's place along the axis of rows, and a channel of the vector there. */
export interface RowPlace {
  /** Of the rows' own level, or of a finer one. */
  readonly of: Sharer
  readonly place: Code
  readonly channel: Code
  readonly there: Code
}

/** A channel of the product: one of those of a chunk that begins with a multiple of its number of channels. */
export interface ChunkChannel {
  readonly at: Code
  readonly first: Code
  /** That number divides this one; null: channels are met one by one. */
  readonly chunk: number | null
}

/** Rows of a tile: which vector its row `row` is, and where in it a channel of the product lies. */
export interface TileRows {
  readonly node: StageNode
  /** Codes may go in without their scales, by which the cells are multiplied afterwards. */
  readonly asCodes: boolean
  readonly at: (block: Block, row: Code, channel: ChunkChannel) => RowPlace
}

/** The two panels of a product. Halves go in as they are where both are; three numbers of eight bits are all of an f32. */
export function panelsOf(
  t: StageText,
  block: Block,
  { halfParts, chunk }: Pick<Products, 'halfParts' | 'chunk'>,
  x: TileRows,
  y: TileRows,
): readonly [Panel, Panel] {
  const [a, b] = [x, y].map((rows) => panelOf(t, block, chunk, rows)) as [Panel, Panel]
  const bothHalves = a.from.kind === 'halves' && b.from.kind === 'halves'
  const parts = (p: Panel): Panel =>
    p.from.kind === 'halves' && !bothHalves ? { ...p, parts: halfParts } : p
  return [parts(a), parts(b)]
}

/** One panel, with halves as they are. */
export function panelOf(
  t: StageText,
  block: Block,
  chunk: number,
  { node, asCodes, at: rowAt }: TileRows,
): Panel {
  const names = block.names.child()
  const [row, first, channel] = [names.fresh('row'), names.fresh('first'), names.fresh('channel')]
  let from: Panel['from'] | null = null
  let there: Code | null = null
  const body = block.inner((b) => {
    const channels = { at: name('i32', channel), first: name('i32', first), chunk }
    const place = rowAt(b, name('i32', row), channels)
    there = b.let('there', place.there)
    from = (asCodes ? codesAt(t, b, node, place) : null) ?? addressOf(t, b, node, place)
    if (from) return
    const one = names.fresh('one')
    const moved = sub(place.channel, name('i32', channel))
    from = {
      kind: 'values',
      at: one,
      value: element(t, node, place.of, place.place, add(name('i32', one), b.let('moved', moved))),
    }
  })
  return { row, first, channel, body, there: there!, from: from!, parts: partsOf(node, from!) }
}

const partsOf = (node: StageNode, from: Panel['from']): Panel['parts'] => {
  if (from.kind === 'halves' || from.kind === 'brains') return 1
  return rowsOf(node).precision === 'sign' ? 1 : 3
}

function codesAt(
  t: StageText,
  b: Block,
  node: StageNode,
  { of, place, channel }: RowPlace,
): Panel['from'] | null {
  const codes = t.find(node, 'codes')
  if (!codes || t.writes(codes)) return null
  const own: Sharer = { ...of, share: rowsOf(node).share, at: t.coarser(of, rowsOf(node).share) }
  const words = mul(toU32(unitIndex(t, node, own, place)), toU32(mul(codeWords(t, node), i32(2))))
  return { kind: 'brains', buffer: t.stored(codes), index: b.let('element', add(words, toU32(channel))) }
}

/** The scale of the codes of a leaf's vector; null: it went in whole. */
export function leafScale(
  t: StageText,
  { dot, patches }: Leaf,
  side: 'q' | 'kv',
  of: Sharer,
  place: Code,
): Code | null {
  if (patches) return null
  const node = dot.src[side === 'q' ? 0 : 1]!
  return scaleAt(t, node, { ...of, share: rowsOf(node).share, at: t.coarser(of, rowsOf(node).share) }, place)
}

/** Where eight channels lie side by side; null: they have to be made. */
function addressOf(
  t: StageText,
  b: Block,
  node: StageNode,
  { of, place, channel, there }: RowPlace,
): Panel['from'] | null {
  const own: Sharer = { ...of, share: rowsOf(node).share, at: t.coarser(of, rowsOf(node).share) }
  const stored = t.find(node, 'rows')
  if (stored && !t.writes(stored)) {
    const index = toU32(rowIndex(t, node, own, place, channel))
    return { kind: 'floats', buffer: t.stored(stored), index: b.let('element', index) }
  }
  const further = (source: StageNode, p: Code) =>
    addressOf(t, b, source, { of, place: b.let('place', p), channel, there })
  if (isWord(node, 'slice')) {
    const { axis } = rowsOf(node)
    return axis.units.kind === 'slice' ? further(node.src[0]!, slicedPlace(t, axis, axis.units, place)) : null
  }
  if (isWord(node, 'permute')) {
    const { axis } = rowsOf(node)
    const position = positionAt(t, axis, own, place)
    return further(node.src[0]!, axis.side === 'q' ? sub(position, t.qStart) : position)
  }
  if (!isWord(node, 'input')) return null
  const { buffer, role } = t.input(node.arg.name)
  if (role === 'rows')
    return { kind: 'floats', buffer, index: b.let('element', toU32(rowIndex(t, node, own, place, channel))) }
  const index = b.let('element', add(inputRow(t, role, own, place), toU32(channel)))
  return { kind: buffer.type === 'f32' ? 'floats' : 'halves', buffer, index }
}

/** Cells that are one inner product each, and how the vectors of a row and of a column are come by. */
export interface Leaf {
  /** Whose cells they are. */
  readonly node: StageNode
  readonly dot: StageNode<'dot'>
  readonly patches: Patches | null
}

export function leafOf({ problem }: StageText, node: StageNode): Leaf | null {
  if (isWord(node, 'dot')) return { node, dot: node, patches: null }
  const patches = problem.patches.get(node) ?? null
  return patches && { node, dot: patches.dot, patches }
}

/** Channels of a leaf's vectors. */
export function leafChannels(t: StageText, { dot, patches }: Leaf): Code {
  const own = channelsOf(t, rowsOf(dot.src[0]!))
  return patches ? mul(own, i32(patches.step)) : own
}

/** Their number, where it is known with the text. */
export function knownChannels(t: StageText, leaf: Leaf): number | null {
  const channels = leafChannels(t, leaf)
  return channels.kind === 'literal' ? Number(channels.value) : null
}

/** Vectors of a leaf's rows or columns, one after another from a first one on. */
export function leafRows(
  t: StageText,
  { node, dot, patches }: Leaf,
  side: 'q' | 'kv',
  of: Sharer,
  first: Code,
  within: (row: Code) => Code,
): TileRows {
  const vectors = dot.src[side === 'q' ? 0 : 1]!
  if (!patches)
    return {
      node: vectors,
      asCodes: true,
      at: (_, row, { at: channel }) => ({ of, place: add(first, row), channel, there: within(row) }),
    }
  // The tokens of a patch lie end to end, those of the keys in the order in which they are met.
  const { step } = patches
  const axis = scoresOf(node)[side]
  const width = channelsOf(t, rowsOf(vectors))
  const [begins, turn] = side === 'q' ? [0, 1] : [patches.first, patches.turn]
  const [length, base] = side === 'q' ? [t.qLen, t.qStart] : [t.kvLen, i32(0)]
  return {
    node: vectors,
    asCodes: false,
    at: (b, row, { at, first: begin, chunk }) => {
      // A chunk is of one token where tokens are of whole chunks: then which one it is, all threads have in common.
      const isOfOne = chunk !== null && width.kind === 'literal' && Number(width.value) % chunk === 0
      const [from, beyond] = isOfOne ? [begin, sub(at, begin)] : [at, i32(0)]
      const index = fieldOf(t, { axis, place: add(first, row), of }, 'index')
      const start = sub(add(mul(index, i32(step)), i32(begins)), base)
      const token = b.let('token', add(start, mul(quotient(from, width), i32(turn))))
      return {
        of,
        place: token,
        channel: b.let('own', add(remainder(from, width), beyond)),
        there: and(within(row), le(i32(0), token), lt(token, length)),
      }
    },
  }
}

/** What a thread's cell of a product has in its registers. */
export const sumAt = (sums: string, cell: Code): Code => ({
  kind: 'at',
  type: 'f32',
  memory: sums,
  indices: [quotient(cell, i32(4)), remainder(cell, i32(4))],
})

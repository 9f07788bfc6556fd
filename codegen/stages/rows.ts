/** Rows: a node of vectors, and a sharer, a unit and a channel, in; the component's value as code out. */

import { isWord, type Args, type RowsType, type StageNode } from '../../compiler/stages/graph.ts'
import type { StageBuffer } from '../../compiler/stages/plan.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  f32,
  i32,
  lt,
  max,
  mul,
  op,
  quotient,
  remainder,
  select,
  sub,
  toU32,
  u32,
  type Code,
} from '../kernel.ts'
import { linear, sharerIndex } from './linear.ts'
import { pooledRows } from './pooled-rows.ts'
import { quantized } from './quantized.ts'
import type { Sharer, StageText } from './text.ts'
import {
  countOf,
  joinVars,
  positionAt,
  slicedPlace,
  sourcesOf,
  unitVars,
  Unsupported,
  type Unit,
} from './units.ts'

const PARAMETERS = ['batch', 'at', 'place', 'channel'] as const

export const channelsOf = (t: StageText, { channels }: RowsType): Code => t.size(channels)

/** A component of a vector, zero-based; `of` may be of a finer share than the rows. */
export function element(t: StageText, node: StageNode, of: Sharer, place: Code, channel: Code): Code {
  const { share } = rowsOf(node)
  const own = t.coarser(of, share)
  return t.call(`${node.word}${node.id}`, 'f32', PARAMETERS, [of.batch, own, place, channel], (b, args) => {
    const [batch, sharer, unit, c] = args as [Code, Code, Code, Code]
    const codes = t.find(node, 'codes')
    if (codes && !t.writes(codes)) {
      const own: Sharer = { batch, share, at: sharer }
      return b.return(mul(codeAt(t, node, codes, own, unit, c), scaleAt(t, node, own, unit)!))
    }
    const stored = t.find(node, 'rows')
    const mine: Sharer = { batch, share, at: sharer }
    const at = { node, of: mine, place: unit, channel: c }
    b.return(stored && !t.writes(stored) ? load(t, at) : made(t, b, at))
  })
}

interface Place {
  readonly node: StageNode
  readonly of: Sharer
  readonly place: Code
  readonly channel: Code
}

function load(t: StageText, { node, of, place, channel }: Place): Code {
  return at(t.stored(t.find(node, 'rows')!), rowIndex(t, node, of, place, channel))
}

/** Where a component of stored rows is. */
export function rowIndex(t: StageText, node: StageNode, of: Sharer, place: Code, channel: Code): Code {
  return add(mul(unitIndex(t, node, of, place), channelsOf(t, rowsOf(node))), channel)
}

/** A unit's number among those of all sharers. */
export function unitIndex(t: StageText, node: StageNode, of: Sharer, place: Code): Code {
  const { share, axis } = rowsOf(node)
  return add(mul(add(mul(of.batch, t.sharers(share)), of.at), countOf(t, axis)), place)
}

/** Words of a row of codes. */
export const codeWords = (t: StageText, node: StageNode): Code =>
  quotient(add(channelsOf(t, rowsOf(node)), i32(1)), i32(2))

/** A code is the upper half of an f32's bits. */
function codeAt(
  t: StageText,
  node: StageNode,
  codes: StageBuffer,
  of: Sharer,
  place: Code,
  channel: Code,
): Code {
  const index = add(mul(unitIndex(t, node, of, place), codeWords(t, node)), quotient(channel, i32(2)))
  const word = at(t.stored(codes), index)
  const isSecond = op('bool', 'eq', remainder(channel, i32(2)), i32(1))
  const bits = select(isSecond, op('u32', 'bitAnd', word, u32(0xffff0000)), op('u32', 'shl', word, u32(16)))
  return op('f32', 'bitsFloat', bits)
}

/** What the codes of a unit are multiplied by; null: the rows are no codes that a kernel reads. */
export function scaleAt(t: StageText, node: StageNode, of: Sharer, place: Code): Code | null {
  const scales = t.find(node, 'scales')
  return scales && !t.writes(scales) ? at(t.stored(scales), unitIndex(t, node, of, place)) : null
}

/** The component as the word says, into a function's body. */
export function made(t: StageText, b: Block, { node, of, place, channel }: Place): Code {
  const unit: Unit = { axis: rowsOf(node).axis, place, of }
  const from = (n: StageNode, p: Code = place, c: Code = channel) => element(t, n, of, p, c)
  if (isWord(node, 'input')) return input(t, node.arg.name, of, place, channel, node)
  if (isWord(node, 'slice')) {
    const { units } = rowsOf(node).axis
    if (units.kind !== 'slice') throw new Unsupported('a slice of other units')
    return from(node.src[0]!, slicedPlace(t, rowsOf(node).axis, units, place))
  }
  if (isWord(node, 'concat')) return concatenated(t, b, node, from, channel)
  if (isWord(node, 'channels')) {
    const { dims } = t.problem.pattern.tables.find((i) => i.name === node.arg.table)!
    const own = sharerIndex(t, of, dims[0])
    return from(node.src[0]!, place, t.load(node.arg.table, dims.length === 1 ? [channel] : [own, channel]))
  }
  if (isWord(node, 'linear')) return linear(t, b, node, from, of, channel)
  if (isWord(node, 'poolRows')) return pooled(t, b, node, unit, from, channel)
  if (isWord(node, 'mapRows')) {
    const [x, y] = node.src
    const spread = y && rowsOf(y).axis.units.kind === 'whole'
    const vars = { s: from(x!), channel, ...(y ? { t: from(y, spread ? i32(0) : place) } : {}) }
    return t.write(b, node.arg.value, { ...of, vars: joinVars(vars, unitVars(t, 'unit', unit)) })
  }
  if (isWord(node, 'permute')) {
    const position = positionAt(t, rowsOf(node).axis, of, place)
    return from(node.src[0]!, sub(position, rowsOf(node).axis.side === 'q' ? t.qStart : i32(0)))
  }
  if (isWord(node, 'quantize')) return quantized(t, b, node, from)
  if (isWord(node, 'rope')) return rotated(t, b, node.arg, rowsOf(node), unit, from, node.src[0]!, channel)
  throw new Unsupported(`rows of ${node.word}`)
}

function input(t: StageText, which: string, of: Sharer, place: Code, channel: Code, node: StageNode): Code {
  const { buffer, role } = t.input(which)
  if (role === 'rows') {
    const type = rowsOf(node)
    const sharer = add(mul(of.batch, t.sharers(type.share)), of.at)
    return at(buffer, add(mul(add(mul(sharer, countOf(t, type.axis)), place), channelsOf(t, type)), channel))
  }
  const index = add(inputRow(t, role, of, place), toU32(channel))
  if (buffer.type === 'f32') return at(buffer, index)
  return op('f32', 'unpackHalf', at(buffer, quotient(index, u32(2))), remainder(index, u32(2)))
}

/** Where a vector of the call's begins, in elements. */
export function inputRow(t: StageText, role: 'q' | 'k' | 'v', of: Sharer, place: Code): Code {
  const along = (which: 'Batch' | 'Head' | 'Row', n: Code) =>
    mul(toU32(n), t.uniform(`${role}${which}Stride`))
  return add(add(along('Batch', of.batch), along('Head', of.at)), along('Row', place))
}

function concatenated(
  t: StageText,
  b: Block,
  node: StageNode,
  from: (n: StageNode, p?: Code, c?: Code) => Code,
  channel: Code,
): Code {
  let start: Code = i32(0)
  const last = node.src.length - 1
  node.src.forEach((n, i) => {
    if (i === last) return
    const begin = start
    const end = add(begin, channelsOf(t, rowsOf(n)))
    b.if(lt(channel, end), (c) => c.return(from(n, undefined, sub(channel, begin))))
    start = end
  })
  return from(node.src[last]!, undefined, sub(channel, start))
}

function pooled(
  t: StageText,
  b: Block,
  node: StageNode<'poolRows'>,
  unit: Unit,
  from: (n: StageNode, p?: Code, c?: Code) => Code,
  channel: Code,
): Code {
  const [x] = node.src as [StageNode]
  if (node.arg.how !== 'concat')
    return pooledRows(t, b, [node], unit, 1, (_, member) => [from(x, member)])[0]![0]!
  const source = rowsOf(x)
  const width = channelsOf(t, source)
  const { lo } = sourcesOf(t, source.axis, unit)
  return from(x, add(lo, quotient(channel, width)), remainder(channel, width))
}

function rotated(
  t: StageText,
  b: Block,
  { position, base, pairs, width }: Args['rope'],
  type: RowsType,
  unit: Unit,
  from: (n: StageNode, p?: Code, c?: Code) => Code,
  x: StageNode,
  channel: Code,
): Code {
  const all = width === null ? channelsOf(t, type) : i32(width)
  const half = b.let('half', quotient(all, i32(2)))
  const turning = lt(channel, all)
  const [pair, first] =
    pairs === 'halves'
      ? [remainder(channel, max(half, i32(1))), lt(channel, half)]
      : [quotient(channel, i32(2)), op('bool', 'eq', remainder(channel, i32(2)), i32(0))]
  const partner =
    pairs === 'halves'
      ? select(first, add(channel, half), sub(channel, half))
      : select(first, add(channel, i32(1)), sub(channel, i32(1)))
  const place = b.let('position', t.write(b, position, { ...unit.of, vars: unitVars(t, 'unit', unit) }))
  const share = op('f32', 'div', op('f32', 'toF32', pair), op('f32', 'toF32', max(half, i32(1))))
  const angle = b.let(
    'angle',
    mul(op('f32', 'toF32', place), op('f32', 'exp2', mul(share, f32(-Math.log2(base))))),
  )
  const [own, other] = [
    b.let('own', from(x)),
    b.let('other', from(x, undefined, select(turning, partner, channel))),
  ]
  const turned = op(
    'f32',
    'add',
    mul(own, op('f32', 'cos', angle)),
    mul(select(first, op('f32', 'neg', other), other), op('f32', 'sin', angle)),
  )
  return select(and(turning, lt(i32(0), all)), turned, own)
}

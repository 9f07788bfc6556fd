/** Cells: a node of scores, a sharer and a pair of units in; the cell's value, and whether it is visible, as code out. */

import { isWord, type Axis, type ScoresType, type StageNode } from '../../compiler/stages/graph.ts'
import type { Finer } from '../../compiler/stages/plan.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  f32,
  i32,
  le,
  lt,
  max,
  min,
  mul,
  not,
  op,
  select,
  sub,
  u32,
  type Code,
} from '../kernel.ts'
import { channelsOf, element } from './rows.ts'
import { setCount } from './layout.ts'
import { pooled, pooledSeen } from './pooled.ts'
import type { Sharer, StageText, Vars } from './text.ts'
import { countOf, fieldOf, joinVars, unitVars, Unsupported, type Unit } from './units.ts'
import { maskSees } from './visible.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'

const PARAMETERS = ['batch', 'at', 'row', 'column'] as const
/** What a cell that is not visible has in a buffer: the bits of -Infinity. */
export const HIDDEN_BITS = 0xff800000
/** False of what a buffer, or a total, has in the place of a value. */
export const isVisible = (value: Code): Code => not(eq(op('u32', 'floatBits', value), u32(HIDDEN_BITS)))
/** Below it a value counts as -Infinity, which text cannot write. */
export const LOW = -3.0e38

/** A cell's value into its place in a buffer, or what stands for none; the value is asked of a cell that is seen alone. */
export function storeCell(b: Block, seen: Code, value: () => Code, target: () => Code): void {
  const bits = b.var('bits', u32(HIDDEN_BITS))
  b.if(seen, (d) => d.set(bits, op('u32', 'floatBits', value())))
  b.set(target(), op('f32', 'bitsFloat', bits))
}

type Use = 'value' | 'seen'

/** A cell's value; of one that is not visible, anything. */
export const valueAt = (c: Cells, node: StageNode, place: CellPlace): Code => ask(c, node, place, 'value')
export const seenAt = (c: Cells, node: StageNode, place: CellPlace): Code => ask(c, node, place, 'seen')

/** `place.of` may be finer than the scores, and their axes whole where the place has units. */
function ask(c: Cells, node: StageNode, { of, q, kv }: CellPlace, use: Use): Code {
  const { text: t, given } = c
  if (node === given?.node) return use === 'seen' ? given.seen : given.value
  const type = scoresOf(node)
  const args = [
    of.batch,
    t.coarser(of, type.share),
    isWhole(type.q) ? i32(0) : q,
    isWhole(type.kv) ? i32(0) : kv,
  ]
  const own = given?.path.has(node) ? given : null
  const key = `${node.word}${node.id}${own ? `Of${own.node.id}` : ''}${use === 'seen' ? 'Seen' : ''}`
  const parameters = own ? [...PARAMETERS, 'known', 'visible'] : PARAMETERS
  if (own) args.push(own.value, own.seen)
  return t.call(key, use === 'seen' ? 'bool' : 'f32', parameters, args, (b, inside) => {
    const [batch, sharer, row, column, known, visible] = inside
    const place = { of: { batch: batch!, share: type.share, at: sharer! }, q: row!, kv: column! }
    if (own) {
      const mine = c.with({ ...own, value: known!, seen: visible! })
      b.return(use === 'seen' ? seen(mine, b, node, place) : value(mine, b, node, place))
      return
    }
    const stored = t.find(node, 'scores')
    if (stored && !t.writes(stored)) {
      const bits = b.let('bits', at(t.stored(stored), storedIndex(t, node, place)))
      b.return(use === 'seen' ? isVisible(bits) : bits)
      return
    }
    b.return(use === 'seen' ? seen(c, b, node, place) : value(c, b, node, place))
  })
}

const isWhole = (axis: ScoresType['q']): boolean => axis.units.kind === 'whole'

/** Where a stored cell is. */
export const storedIndex = (t: StageText, node: StageNode, place: CellPlace): Code =>
  add(mul(storedRow(t, node, 'scores', place), countOf(t, scoresOf(node).kv)), place.kv)

/** Values of the operands of map and where, for their function. */
export function operandVars(c: Cells, node: StageNode, place: CellPlace): Vars {
  const names = ['s', 't', 'u'] as const
  // Made when they are asked for: of what a function does not read there may be no value.
  const values = node.src.map((n, i) => [names[i]!, { enumerable: true, get: () => valueAt(c, n, place) }])
  return Object.defineProperties({}, Object.fromEntries(values)) as Vars
}

function value(c: Cells, b: Block, node: StageNode, place: CellPlace): Code {
  const { text: t } = c
  const { of } = place
  const units = unitsOf(node, place)
  if (isWord(node, 'fill')) {
    const position = node.arg.rows ? { q: fieldOf(t, units.q, 'first') } : {}
    return asFloat(t.write(b, node.arg.value, { ...of, vars: position }))
  }
  if (isWord(node, 'dot')) return dot(t, b, node, place)
  if (isWord(node, 'values'))
    return asFloat(t.write(b, node.arg.value, { ...of, vars: unitVars(t, 'unit', units.kv) }))
  if (isWord(node, 'map')) {
    const vars = joinVars(operandVars(c, node, place), cellVars(t, units))
    return asFloat(t.write(b, node.arg.value, { ...of, vars }))
  }
  if (isWord(node, 'softmax')) {
    const [m, l] = statistics(t, node, place)
    const top = b.let('top', m)
    const weight = op('f32', 'exp', sub(valueAt(c, node.src[0]!, place), top))
    return select(lt(top, f32(LOW)), f32(0), op('f32', 'div', weight, l))
  }
  if (isWord(node, 'argmax')) return greatest(c, b, node, place)
  if (isWord(node, 'skew', 'unskew')) return valueAt(c, node.src[0]!, turned(c, node, place).place)
  if (isWord(node, 'within')) return valueAt(c, node.src[0]!, place)
  if (isWord(node, 'poolScores')) return pooled(c, b, node, place).value
  if (isWord(node, 'count')) return op('f32', 'toF32', setCount(t, node.src[0]!, place))
  if (isWord(node, 'stateMax', 'stateLse')) return ofState(t, b, node, place)
  throw new Unsupported(`scores of ${node.word}`)
}

function seen(c: Cells, b: Block, node: StageNode, place: CellPlace): Code {
  const { text: t, tiles } = c
  const { q, kv } = unitsOf(node, place)
  if (isWord(node, 'dot')) return maskSees(t, tiles, ruleOf(node), place.of, q, kv)
  if (isWord(node, 'map')) return and(...node.src.map((n) => seenAt(c, n, place)))
  if (isWord(node, 'softmax')) return seenAt(c, node.src[0]!, place)
  if (isWord(node, 'skew', 'unskew')) {
    const source = turned(c, node, place)
    b.if(not(source.there), (d) => d.return(bool(false)))
    return seenAt(c, node.src[0]!, source.place)
  }
  if (isWord(node, 'within')) {
    const [s, set] = node.src as [StageNode, StageNode]
    return and(seenAt(c, s, place), c.holds(set, { ...place, q, kv }))
  }
  if (isWord(node, 'poolScores')) return pooledSeen(c, b, node, place)
  return bool(true)
}

export const asFloat = (e: Code): Code => (e.type === 'f32' ? e : op('f32', 'toF32', e))

const ruleOf = (node: StageNode) => {
  const { visible } = scoresOf(node)
  if (visible === 'sources') throw new Unsupported('distances of an inner product')
  return visible
}

function dot(t: StageText, b: Block, node: StageNode<'dot'>, { of, q, kv }: CellPlace): Code {
  const [x, y] = node.src as [StageNode, StageNode]
  const sum = b.var('sum', f32(0))
  b.for('channel', i32(0), channelsOf(t, rowsOf(x)), 1, (c, channel) =>
    c.set(sum, op('f32', 'mad', element(t, x, of, q, channel), element(t, y, of, kv, channel), sum)),
  )
  return mul(sum, scaleOf(t, b, node, of))
}

/** What the products of a dot are multiplied by. */
export const scaleOf = (t: StageText, b: Block, node: StageNode<'dot'>, of: Sharer): Code =>
  asFloat(t.write(b, node.arg.scale, of))

/** Maximum and sum of the row of a softmax. */
function statistics(t: StageText, node: StageNode, place: CellPlace): readonly [Code, Code] {
  const [m, l] = [t.find(node, 'max'), t.find(node, 'sum')]
  if (!m || !l) throw new Unsupported('a softmax whose rows have no stored statistics')
  const index = storedRow(t, node, 'max', place)
  return [at(t.stored(m), index), at(t.stored(l), index)]
}

/** Where what is stored for a row of scores is; of a chunk, rows count from its first. */
export function storedRow(
  t: StageText,
  node: StageNode,
  holds: 'scores' | 'max',
  { of, q }: Pick<CellPlace, 'of' | 'q'>,
): Code {
  const type = scoresOf(node)
  const { life, finer } = t.find(node, holds)!
  const { base, count } = life === 'chunk' ? rowsOfChunk(t, finer, type.q) : { base: i32(0), count: null }
  const rows = count ?? countOf(t, type.q)
  const row = sub(q, base)
  return add(mul(add(mul(of.batch, t.sharers(type.share)), of.at), rows), row)
}

/** Rows of a chunk, as runtimes count them: of a finer axis those that the call has. */
function rowsOfChunk(t: StageText, finer: Finer | null, axis: Axis): { base: Code; count: Code } {
  const [base, count] = [t.uniform('unitBase'), t.uniform('unitCount')]
  if (finer === null || t.problem.isFiner) return { base, count }
  const before = t.size(finer.before)
  const placeOf = (unit: Code) => sub(mul(unit, i32(finer.each)), before)
  const first = max(placeOf(base), i32(0))
  return { base: first, count: sub(min(placeOf(add(base, count)), countOf(t, axis)), first) }
}

function greatest(c: Cells, b: Block, node: StageNode<'argmax'>, place: CellPlace): Code {
  const { text: t } = c
  const source = node.src[0]!
  const best = b.var('best', f32(LOW))
  const where = b.var('where', i32(-1))
  b.for('n', i32(0), countOf(t, scoresOf(source).kv), 1, (d, n) => {
    const cell = { ...place, kv: n }
    const own = d.let('own', valueAt(c, source, cell))
    d.if(and(lt(best, own), seenAt(c, source, cell)), (e) => {
      e.set(best, own)
      e.set(where, n)
    })
  })
  const index = fieldOf(t, { axis: scoresOf(source).kv, place: max(where, i32(0)), of: place.of }, 'index')
  return op('f32', 'toF32', select(lt(where, i32(0)), i32(-1), index))
}

/** The cell that skew or unskew takes from its operand: by o = q - v. */
function turned(c: Cells, node: StageNode<'skew'> | StageNode<'unskew'>, { of, q, kv }: CellPlace) {
  const { text: t } = c
  const own = scoresOf(node)
  const from = scoresOf(node.src[0]!)
  const [keys, offsets] = isWord(node, 'skew') ? [from.kv, own.kv] : [own.kv, from.kv]
  const rowUnit: Unit = { axis: own.q, place: q, of }
  // A whole axis is seen from its last query, whose unit counts as keys do.
  const last = fieldOf(t, rowUnit, 'last')
  const size = keys.units.kind === 'block' ? keys.units.size : 1
  const row =
    own.q.units.kind === 'whole' ? op('i32', 'floorDiv', last, i32(size)) : fieldOf(t, rowUnit, 'index')
  const least = fieldOf(t, { axis: offsets, place: i32(0), of }, 'index')
  const [index, first, count] = isWord(node, 'skew')
    ? [add(least, kv), i32(0), countOf(t, keys)]
    : [fieldOf(t, { axis: keys, place: kv, of }, 'index'), least, countOf(t, offsets)]
  const column = sub(sub(row, index), first)
  return { place: { of, q, kv: column }, there: and(le(i32(0), column), lt(column, count)) }
}

const LN2 = Math.LN2
/** A number of the online softmax of a query: its state's first words are the maximum, in base 2, and the sum. */
function ofState(t: StageText, b: Block, node: StageNode, { of, q }: CellPlace): Code {
  const buffer = t.find(node.src[0]!, 'state')
  if (!buffer) throw new Unsupported('a state that is not stored')
  const vectors = t.problem.valueDim
  const stride = 4 * (Math.ceil(vectors / 4) + 1)
  const index = b.let(
    'index',
    mul(add(mul(add(mul(of.batch, t.sharers('head')), of.at), t.qLen), q), i32(stride)),
  )
  const top = b.let('top', mul(at(t.stored(buffer), index), f32(LN2)))
  if (isWord(node, 'stateMax')) return top
  const sum = at(t.stored(buffer), add(index, i32(1)))
  return add(top, op('f32', 'log', sum))
}

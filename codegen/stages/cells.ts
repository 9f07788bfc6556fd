/** Cells: a node of scores, a sharer and a pair of units in; the cell's value, and whether it is visible, as code out. */

import type { KvTiles } from '../../compiler/plan.ts'
import { sameUnits } from '../../compiler/stages/axes.ts'
import {
  isWord,
  nodesUnder,
  type ScoresType,
  type Share,
  type StageNode,
} from '../../compiler/stages/graph.ts'
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
  or,
  select,
  sub,
  u32,
  type Code,
} from '../kernel.ts'
import { channelsOf, element, LOWEST } from './rows.ts'
import { setCount } from './layout.ts'
import type { Sharer, StageText, Vars } from './text.ts'
import {
  countOf,
  fieldOf,
  joinVars,
  sourcesOf,
  unitVars,
  Unsupported,
  type Run,
  type Sources,
  type Unit,
} from './units.ts'
import { maskSees } from './visible.ts'

/** A pair of units, of the set's own axes or of finer ones that lie inside them. */
export interface Pair {
  readonly of: Sharer
  readonly q: Unit
  readonly kv: Unit
}

/** What a file's functions of scores share: the file, the tiles of the pattern's mask, and the question to a set. */
export interface Cells {
  readonly text: StageText
  readonly tiles: KvTiles
  readonly holds: (set: StageNode, pair: Pair) => Code
}

/** A cell by the places of its units. */
export interface CellPlace {
  readonly of: Sharer
  readonly q: Code
  readonly kv: Code
}

const PARAMETERS = ['batch', 'at', 'row', 'column'] as const
/** What a cell that is not visible has in a buffer: the bits of -Infinity. */
export const HIDDEN_BITS = 0xff800000
/** Below it a value counts as -Infinity, which text cannot write. */
const LOW = -3.0e38

type Use = 'value' | 'seen'

/** A cell's value; of one that is not visible, anything. */
export const valueAt = (c: Cells, node: StageNode, place: CellPlace): Code => ask(c, node, place, 'value')
export const seenAt = (c: Cells, node: StageNode, place: CellPlace): Code => ask(c, node, place, 'seen')

/** `place.of` may be finer than the scores, and their axes whole where the place has units. */
function ask(c: Cells, node: StageNode, { of, q, kv }: CellPlace, use: Use): Code {
  const { text: t } = c
  const type = scoresOf(node)
  const args = [
    of.batch,
    t.coarser(of, type.share),
    isWhole(type.q) ? i32(0) : q,
    isWhole(type.kv) ? i32(0) : kv,
  ]
  const key = `${node.word}${node.id}${use === 'seen' ? 'Seen' : ''}`
  return t.call(key, use === 'seen' ? 'bool' : 'f32', PARAMETERS, args, (b, [batch, sharer, row, column]) => {
    const place = { of: { batch: batch!, share: type.share, at: sharer! }, q: row!, kv: column! }
    const stored = t.find(node, 'scores')
    if (stored && !t.writes(stored)) {
      const bits = b.let('bits', at(t.stored(stored), storedIndex(t, node, place)))
      b.return(use === 'seen' ? not(eq(op('u32', 'floatBits', bits), u32(HIDDEN_BITS))) : bits)
      return
    }
    b.return(use === 'seen' ? seen(c, b, node, place) : value(c, b, node, place))
  })
}

const isWhole = (axis: ScoresType['q']): boolean => axis.units.kind === 'whole'

/** Where a stored cell is. */
export const storedIndex = (t: StageText, node: StageNode, place: CellPlace): Code =>
  add(mul(storedRow(t, node, 'scores', place), countOf(t, scoresOf(node).kv)), place.kv)

export const unitsOf = (node: StageNode, { of, q, kv }: CellPlace): { q: Unit; kv: Unit } => {
  const type = scoresOf(node)
  return { q: { axis: type.q, place: q, of }, kv: { axis: type.kv, place: kv, of } }
}

export const cellVars = (t: StageText, units: { q: Unit; kv: Unit }): Vars =>
  joinVars(unitVars(t, 'q', units.q), unitVars(t, 'kv', units.kv))

/** Values of the operands of map and where, for their function. */
export function operandVars(c: Cells, node: StageNode, place: CellPlace): Vars {
  const names = ['s', 't', 'u'] as const
  return Object.fromEntries(node.src.map((n, i) => [names[i]!, valueAt(c, n, place)]))
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

const asFloat = (e: Code): Code => (e.type === 'f32' ? e : op('f32', 'toF32', e))

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
  const chunk = t.find(node, holds)!.life === 'chunk'
  const rows = chunk ? t.uniform('unitCount') : countOf(t, type.q)
  const row = chunk ? sub(q, t.uniform('unitBase')) : q
  return add(mul(add(mul(of.batch, t.sharers(type.share)), of.at), rows), row)
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

interface Pool {
  readonly shares: Run
  readonly q: Sources
  readonly kv: Sources
}

function poolOf(t: StageText, node: StageNode<'poolScores'>, place: CellPlace): Pool {
  const source = scoresOf(node.src[0]!)
  const { q, kv } = unitsOf(node, place)
  return {
    shares: finerSharers(t, source.share, place.of),
    q: sourcesOf(t, source.q, q),
    kv: sourcesOf(t, source.kv, kv),
  }
}

/** The sharers of a finer level that go into one of a coarser. */
export function finerSharers(t: StageText, finer: Share, of: Sharer): Run {
  if (finer === of.share) return { lo: of.at, hi: add(of.at, i32(1)) }
  if (of.share === 'kvHead') return { lo: mul(of.at, t.group), hi: mul(add(of.at, i32(1)), t.group) }
  return { lo: i32(0), hi: t.sharers(finer) }
}

/** Each visible source cell of a pooled one that the filter lets pass. */
function eachSource(
  c: Cells,
  b: Block,
  node: StageNode<'poolScores'>,
  place: CellPlace,
  visit: (b: Block, cell: CellPlace, fraction: Code | null) => void,
): void {
  const { text: t } = c
  const source = node.src[0]!
  const { share } = scoresOf(source)
  const { shares, q, kv } = poolOf(t, node, place)
  const into = unitsOf(node, place)
  const filter = node.arg.of
  over(b, 'sharer', shares, (b1, at) =>
    over(b1, 'row', q, (b2, row) =>
      over(b2, 'column', kv, (b3, column) => {
        const cell: CellPlace = { of: { ...place.of, share, at }, q: row, kv: column }
        const units = unitsOf(source, cell)
        const vars = joinVars(
          cellVars(t, units),
          unitVars(t, 'into.q', into.q),
          unitVars(t, 'into.kv', into.kv),
        )
        const passes = (d: Block) => (filter ? t.write(d, filter, { ...cell.of, vars }) : bool(true))
        const parts = [q.fraction?.(row), kv.fraction?.(column)].filter((f) => f !== undefined)
        const take = (d: Block) => visit(d, cell, parts.length === 0 ? null : parts.reduce(mul))
        const visible = (d: Block) => d.if(seenAt(c, source, cell), take)
        if (filter) b3.if(passes(b3), visible)
        else visible(b3)
      }),
    ),
  )
}

/** A loop, or the body alone where there is one. */
function over(b: Block, wish: string, { lo, hi }: Run, body: (b: Block, n: Code) => void): void {
  b.for(wish, lo, hi, 1, body)
}

function pooled(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace): { value: Code } {
  const { how } = node.arg
  const start = how === 'max' ? LOWEST : how === 'min' ? -LOWEST : 0
  const total = b.var('total', f32(start))
  const count = b.var('count', f32(0))
  eachSource(c, b, node, place, (d, cell, fraction) => {
    const own = valueAt(c, node.src[0]!, cell)
    if (how === 'max' || how === 'min') d.set(total, how === 'max' ? max(total, own) : min(total, own))
    else d.set(total, fraction ? op('f32', 'mad', own, fraction, total) : add(total, own))
    d.set(count, add(count, fraction ?? f32(1)))
  })
  if (how === 'sum') return { value: total }
  const none = lt(f32(0), count)
  if (how === 'mean')
    return { value: select(none, op('f32', 'div', total, select(none, count, f32(1))), f32(0)) }
  return { value: select(none, total, f32(LOWEST)) }
}

/** A pooled cell over other units is seen anew by the mask; one that only within() could hide, and distances, by their sources. */
function pooledSeen(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace): Code {
  const { text: t, tiles } = c
  const [from, to] = [scoresOf(node.src[0]!), scoresOf(node)]
  const same = sameUnits(from.q, to.q) && sameUnits(from.kv, to.kv)
  const limited = nodesUnder(node).some((n) => n.word === 'within')
  const units = unitsOf(node, place)
  const byMask =
    to.visible === 'sources' || same ? bool(true) : maskSees(t, tiles, 'any', place.of, units.q, units.kv)
  if (to.visible !== 'sources' && !same && !limited) return byMask
  const found = b.var('found', bool(false))
  const source = node.src[0]!
  const { shares, q, kv } = poolOf(t, node, place)
  over(b, 'sharer', shares, (b1, sharer) =>
    over(b1, 'row', q, (b2, row) =>
      over(b2, 'column', kv, (b3, column) => {
        const cell = { of: { ...place.of, share: from.share, at: sharer }, q: row, kv: column }
        b3.set(found, or(found, seenAt(c, source, cell)))
      }),
    ),
  )
  return and(found, byMask)
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

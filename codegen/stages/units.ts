/** Units: an axis, and a place along it, in; the unit's tokens, and the units of a finer axis that lie in it, out as code. */

import { printGrouping } from '../../compiler/stages/axes.ts'
import type { Axis, Grouping, Share } from '../../compiler/stages/graph.ts'
import type { UnitField, UnitSlot } from '../../compiler/vars.ts'
import { unitVar } from '../../compiler/vars.ts'
import { add, at, i32, max, min, mul, op, sub, type Code } from '../kernel.ts'
import type { RowSchedule } from '../schedule.ts'
import type { Sharer, StageText, Vars } from './text.ts'

/** A unit by its place along the axis, counted from the first that the call has. */
export interface Unit {
  readonly axis: Axis
  readonly place: Code
  readonly of: Sharer
}

/** Places along an axis, from `lo` to before `hi`. */
export interface Run {
  readonly lo: Code
  readonly hi: Code
}

/** What no kernel computes yet, in words. */
export class Unsupported extends Error {
  readonly what: string
  constructor(what: string) {
    super(`no kernel computes ${what}`)
    this.what = what
    this.name = 'Unsupported'
  }
}
const unknown = (what: string): never => {
  throw new Unsupported(what)
}

const floorDiv = (a: Code, n: number): Code => (n === 1 ? a : op('i32', 'floorDiv', a, i32(n)))
const length = (t: StageText, side: Axis['side']): Code => (side === 'q' ? t.qLen : t.kvLen)
/** The position of the first token of a side. */
const base = (t: StageText, side: Axis['side']): Code => (side === 'q' ? t.qStart : i32(0))

export const countOf = (t: StageText, axis: Axis): Code => t.size(t.problem.sizes.units(axis))

const firstBlock = (t: StageText, side: Axis['side'], size: number): Code => floorDiv(base(t, side), size)

/** How a workgroup goes over a row of units. */
export const rowScheduleOf = (t: StageText, { units }: Axis): RowSchedule =>
  t.problem.rows[units.kind === 'block' || units.kind === 'whole' ? 'blocks' : 'tokens']

/** A slice's unit among those it was cut from. */
export function slicedPlace(
  t: StageText,
  axis: Axis,
  g: Extract<Grouping, { kind: 'slice' }>,
  place: Code,
): Code {
  const start = t.size(g.start)
  const all = countOf(t, { ...axis, units: g.of })
  const literal = g.start.op === 'const' ? Number(g.start.arg) : null
  // A place from the end, as Python's; one before the first is the first.
  const from =
    literal === null
      ? op('i32', 'select', op('bool', 'lt', start, i32(0)), max(add(all, start), i32(0)), start)
      : literal < 0
        ? max(add(all, start), i32(0))
        : start
  return add(from, mul(place, i32(g.step)))
}

/** The tokens of a unit, as places of its side's line; only of groupings whose units are runs. */
export function tokensOf(t: StageText, { axis, place, of }: Unit): Run {
  const { side, units } = axis
  switch (units.kind) {
    case 'token':
      return { lo: place, hi: add(place, i32(1)) }
    case 'whole':
      return { lo: i32(0), hi: length(t, side) }
    case 'block': {
      const start = sub(mul(add(firstBlock(t, side, units.size), place), i32(units.size)), base(t, side))
      return { lo: max(start, i32(0)), hi: min(add(start, i32(units.size)), length(t, side)) }
    }
    case 'window': {
      const lo = mul(place, i32(units.step))
      return { lo, hi: add(lo, i32(units.size)) }
    }
    case 'slice':
      return tokensOf(t, {
        axis: { ...axis, units: units.of },
        place: slicedPlace(t, axis, units, place),
        of,
      })
    default:
      return unknown(`the tokens of ${printGrouping(units)}`)
  }
}

/** What a function sees of a unit. */
export function fieldOf(t: StageText, unit: Unit, field: UnitField): Code {
  const { axis, place, of } = unit
  const { side, units } = axis
  if (units.kind === 'slice')
    return fieldOf(
      t,
      { axis: { ...axis, units: units.of }, place: slicedPlace(t, axis, units, place), of },
      field,
    )
  if (units.kind === 'offset') {
    if (field === 'index') return add(t.size(units.least), place)
    return i32(field === 'length' ? 0 : -1)
  }
  if (field === 'index') {
    if (units.kind === 'whole') return i32(0)
    if (units.kind === 'window') return place
    return add(units.kind === 'block' ? firstBlock(t, side, units.size) : base(t, side), place)
  }
  const { lo, hi } = tokensOf(t, unit)
  if (field === 'length') return sub(hi, lo)
  if (axis.order) return extreme(t, unit, field)
  return add(base(t, side), field === 'first' ? lo : sub(hi, i32(1)))
}

/** The smallest or greatest original position of a unit whose tokens were put in an order. */
function extreme(t: StageText, unit: Unit, field: 'first' | 'last'): Code {
  const { axis, place, of } = unit
  if (axis.units.kind === 'token') return positionAt(t, axis, of, place)
  const stored = t.extents(axis)
  if (stored && !t.writes(stored)) return at(t.stored(stored), extentIndex(t, axis, of, place, field))
  const key = `${field}Of${axis.side}${axis.order!.id}_${printGrouping(axis.units)}_${of.share}`
  return t.call(key, 'i32', ['batch', 'at', 'place'], [of.batch, of.at, place], (b, args) => {
    const [batch, sharer, own] = args as [Code, Code, Code]
    const mine = { batch, share: of.share, at: sharer }
    const { lo, hi } = tokensOf(t, { axis, place: own, of: mine })
    const best = b.var('best', positionAt(t, axis, mine, lo))
    b.for('n', lo, hi, 1, (c, n) =>
      c.set(best, op('i32', field === 'first' ? 'min' : 'max', best, positionAt(t, axis, mine, n))),
    )
    b.return(best)
  })
}

/** Where a unit's least or greatest original position is stored. */
export function extentIndex(
  t: StageText,
  axis: Axis,
  of: Sharer,
  place: Code,
  field: 'first' | 'last',
): Code {
  const { share } = axis.order!.type as { readonly share: Share }
  const sharer = add(mul(of.batch, t.sharers(share)), t.coarser(of, share))
  return add(mul(add(mul(sharer, countOf(t, axis)), place), i32(2)), i32(field === 'first' ? 0 : 1))
}

/** The original position of the token at a place of an axis's line. */
export function positionAt(t: StageText, axis: Axis, of: Sharer, place: Code): Code {
  const { order, side } = axis
  if (!order) return add(base(t, side), place)
  const { type } = order
  const buffer = t.find(order, 'order')
  if (!buffer || type.kind !== 'permutation') return unknown('an order that is not stored')
  const sharer = add(mul(of.batch, t.sharers(type.share)), t.coarser(of, type.share))
  return at(t.stored(buffer), add(mul(sharer, length(t, side)), place))
}

/** All of a unit's fields, as variables of a function. */
export function unitVars(t: StageText, slot: UnitSlot, unit: Unit): Vars {
  const fields = ['index', 'first', 'last', 'length'] as const
  // Made when they are asked for: most functions read one of them, and some units have not all.
  return Object.defineProperties(
    {},
    Object.fromEntries(
      fields.map((field) => [unitVar(slot, field), { enumerable: true, get: () => fieldOf(t, unit, field) }]),
    ),
  ) as Vars
}

/** Merges variables without asking for their values. */
export const joinVars = (...all: readonly Vars[]): Vars =>
  Object.defineProperties(
    {},
    Object.assign({}, ...all.map((v) => Object.getOwnPropertyDescriptors(v))),
  ) as Vars

export interface Sources extends Run {
  /** The part of a source's tokens that lie in the target, where not all do. */
  readonly fraction: ((place: Code) => Code) | null
}

/** The units of `source` that share tokens with a unit of another axis of the same line. */
export function sourcesOf(t: StageText, source: Axis, target: Unit): Sources {
  const { axis, place } = target
  const { side } = source
  if (source.units === axis.units) return { lo: place, hi: add(place, i32(1)), fraction: null }
  if (axis.units.kind === 'whole') return { lo: i32(0), hi: countOf(t, source), fraction: null }
  if (source.units.kind === 'whole') return { lo: i32(0), hi: i32(1), fraction: null }
  if (source.units.kind === 'token') return { ...tokensOf(t, target), fraction: null }
  const into = tokensOf(t, target)
  if (source.units.kind === 'block') {
    const { size } = source.units
    const first = firstBlock(t, side, size)
    const blockOf = (token: Code) => sub(floorDiv(add(base(t, side), token), size), first)
    const nests = axis.units.kind === 'block' && axis.units.size % size === 0
    const inside =
      axis.units.kind === 'token' || (axis.units.kind === 'block' && size % axis.units.size === 0)
    if (nests || inside)
      return { lo: blockOf(into.lo), hi: add(blockOf(sub(into.hi, i32(1))), i32(1)), fraction: null }
  }
  if (source.units.kind === 'window' && side === 'kv') {
    const { size, step } = source.units
    const lo = max(i32(0), add(floorDiv(sub(into.lo, i32(size)), step), i32(1)))
    const hi = min(countOf(t, source), floorDiv(add(into.hi, i32(step - 1)), step))
    const fraction = (window: Code) => {
      const own = tokensOf(t, { axis: source, place: window, of: target.of })
      const shared = sub(min(own.hi, into.hi), max(own.lo, into.lo))
      return op('f32', 'div', op('f32', 'toF32', shared), { kind: 'literal', type: 'f32', value: size })
    }
    return { lo, hi, fraction }
  }
  return unknown(`a pool from ${printGrouping(source.units)} to ${printGrouping(axis.units)}`)
}

/** The unit of a coarser axis that a unit lies in. */
export function unitAround(t: StageText, inner: Unit, outer: Axis): Unit {
  const { of } = inner
  if (outer.units === inner.axis.units) return { ...inner, axis: outer }
  if (outer.units.kind === 'whole') return { axis: outer, place: i32(0), of }
  if (outer.units.kind === 'block') {
    const { lo } = tokensOf(t, inner)
    const index = floorDiv(add(base(t, outer.side), lo), outer.units.size)
    return { axis: outer, place: sub(index, firstBlock(t, outer.side, outer.units.size)), of }
  }
  if (inner.axis.units.kind === 'whole') return { axis: outer, place: i32(0), of }
  return unknown(`units of ${printGrouping(inner.axis.units)} inside ${printGrouping(outer.units)}`)
}

/** Rows, one vector for each unit and sharer, and the words that make rows of rows. */

import { patternError } from '../messages.ts'
import { sharerAt, sharersOf, type Call, type Join, type Share, type Sharer } from './call.ts'
import { checkCall, checkJoin, checkKind, checkUnits } from './check.ts'
import { partOf, type ForwardTable } from './inputs.ts'
import { quantized, rotated, type Quantized, type RopeOptions } from './vectors.ts'
import { unitsAt, type Members, type Unit, type Units } from './units.ts'

/** Vectors, one for each unit of an axis, for each of those who share them. */
export interface Rows<H extends Share = Share, A extends Units = Units> {
  readonly kind: 'rows'
  readonly call: Call
  readonly share: H
  readonly units: A
  /** Channels of a vector. */
  readonly width: number
  /** By sharer, then by unit. */
  readonly vectors: readonly (readonly Float64Array[])[]
}

/** Rows made of a vector for each sharer and unit. */
export const rowsOf = <H extends Share, A extends Units>(
  call: Call,
  share: H,
  units: A,
  width: number,
  vectorAt: (sharer: Sharer, at: number, unit: Members) => Float64Array,
): Rows<H, A> => ({
  kind: 'rows',
  call,
  share,
  units,
  width,
  vectors: Array.from({ length: sharersOf(share, call) }, (_, s) =>
    unitsAt(units, s).map((unit, at) => vectorAt({ call, share, at: s }, at, unit)),
  ),
})

/** An axis as the sharers of a finer level see it. */
export function axisFor<A extends Units>(axis: A, from: Share, to: Share, call: Call): A {
  if (from === to || (axis.lists.length === 1 && axis.line.length === 1)) return axis
  const spread = <T>(lists: readonly T[]): readonly T[] =>
    lists.length === 1
      ? lists
      : Array.from({ length: sharersOf(to, call) }, (_, s) => lists[sharerAt(from, to, s, call)]!)
  return { ...axis, lists: spread(axis.lists), line: spread(axis.line) }
}

export const vectorOf = (x: Rows, share: Share, sharer: number, at: number): Float64Array =>
  x.vectors[sharerAt(x.share, share, sharer, x.call)]![at]!

/** The same rows with every vector made anew. */
export const remade = <H extends Share, A extends Units>(
  x: Rows<H, A>,
  f: (vector: Float64Array, unit: Members) => Float64Array,
): Rows<H, A> =>
  rowsOf(x.call, x.share, x.units, x.width, ({ at: s }, at, unit) => f(x.vectors[s]![at]!, unit))

/**
 * Some of the units, as Python slices a list: from `start` up to `end`, every `step`-th; negative numbers
 * count from the end. Units keep their numbers and positions, so `slice(Q, -64)` is the last 64 queries of
 * this call where they stand.
 *
 * @throws PatternError `bad-slice`
 */
export function slice<H extends Share, A extends Units>(
  x: Rows<H, A>,
  start: number,
  end?: number,
  step = 1,
): Rows<H, A> {
  checkKind('slice', x, 'rows')
  const whole = [start, end ?? 0, step].every(Number.isInteger)
  if (!whole || step < 1) throw patternError('bad-slice', { start, end, step })
  const some = <T>(list: readonly T[]): readonly T[] =>
    list.slice(start, end).filter((_, i) => i % step === 0)
  return {
    ...x,
    units: { ...x.units, lists: x.units.lists.map((rows) => rows.map(some)) },
    vectors: x.vectors.map(some),
  }
}

/**
 * The channels of all arguments one behind the other: rows over the same units, shared alike.
 *
 * @throws PatternError `units-differ`
 */
export function concat<H extends Share, A extends Units>(
  first: Rows<H, A>,
  ...rest: readonly Rows<H, A>[]
): Rows<H, A> {
  for (const x of [first, ...rest]) checkKind('concat', x, 'rows')
  for (const x of rest) {
    checkCall('concat', first.call, x.call)
    checkJoin('concat', first.share, x.share)
    checkUnits('concat', first.units, x.units)
  }
  const width = [first, ...rest].reduce((sum, x) => sum + x.width, 0)
  return rowsOf(first.call, first.share, first.units, width, ({ at: s }, at) =>
    Float64Array.from([first, ...rest].flatMap((x) => [...x.vectors[s]![at]!])),
  )
}

/**
 * The channels that a table names: `x[..., index[h]]`. A table with one row for each query head makes kv rows
 * the rows of query heads.
 *
 * @param index channel numbers, [channels] or [head, channels] or [kvHead, channels]
 * @throws PatternError `table-shape`, `bad-channel`, `shares-differ`
 */
export function channels<H extends Share, A extends Units, T extends Share = H>(
  x: Rows<H, A>,
  index: ForwardTable<readonly unknown[], T>,
): Rows<Join<H, T>, A> {
  checkKind('channels', x, 'rows')
  const share = checkJoin('channels', x.share, index.share) as Join<H, T>
  const units = axisFor(x.units, x.share, share, x.call)
  return rowsOf(x.call, share, units, index.sizes.at(-1)!, (sharer, at) => {
    const part = partOf('channels', index, sharer, 1)
    const vector = vectorOf(x, share, sharer.at, at)
    return Float64Array.from({ length: part.sizes[0]! }, (_, i) => {
      const channel = part.at(i)
      const value = vector[channel]
      if (value === undefined) {
        throw patternError('bad-channel', { table: index.name, got: channel, width: vector.length })
      }
      return value
    })
  })
}

/**
 * A linear map of every vector: `x @ weight[h] + bias[h]`.
 *
 * @param weight [in, out], behind [head] and the like; a weight for each query head makes kv rows the rows
 * of query heads. What pool(.., 'concat') made may be written by its parts: [members, channels, out].
 * @param bias [out], or [head, out]
 * @throws PatternError `table-shape`, `widths-differ`, `shares-differ`
 */
export function linear<H extends Share, A extends Units, T extends Share = H>(
  x: Rows<H, A>,
  weight: ForwardTable<readonly unknown[], T>,
  bias?: ForwardTable<readonly unknown[], T>,
): Rows<Join<H, T>, A> {
  checkKind('linear', x, 'rows')
  const share = checkJoin('linear', x.share, weight.share) as Join<H, T>
  const units = axisFor(x.units, x.share, share, x.call)
  return rowsOf(x.call, share, units, weight.sizes.at(-1)!, (sharer, at) => {
    const w = partOf('linear', weight, sharer, 2, 3)
    const b = bias && partOf('linear', bias, sharer, 1)
    const vector = vectorOf(x, share, sharer.at, at)
    const [inner, out] = [w.sizes.at(-2)!, w.sizes.at(-1)!]
    const width = w.sizes.length === 3 ? w.sizes[0]! * inner : inner
    const weightAt = (i: number, o: number): number =>
      w.sizes.length === 3 ? w.at(Math.floor(i / inner), i % inner, o) : w.at(i, o)
    for (const [first, second] of [[vector.length, width], ...(b ? [[out, b.sizes[0]!]] : [])] as const) {
      if (first !== second)
        throw patternError('widths-differ', { word: 'linear', first: first!, second: second! })
    }
    return Float64Array.from({ length: out }, (_, o) =>
      vector.reduce((sum, value, i) => sum + value * weightAt(i, o), b ? b.at(o) : 0),
    )
  })
}

/**
 * Rotary position embedding: each pair of channels is turned by its position times its frequency.
 *
 * @param position of a unit; by default its first token's
 * @param options `base` of the frequencies, 10000 unless given; `pairs`: channel i with i + d/2 ('halves',
 * the default) or 2i with 2i + 1 ('neighbours'), which models disagree on; `width`: how many leading
 * channels turn
 * @throws PatternError `bad-rope`
 */
export function rope<H extends Share, A extends Units>(
  x: Rows<H, A>,
  position: (unit: Unit) => number = (unit) => unit.first,
  options: RopeOptions = {},
): Rows<H, A> {
  checkKind('rope', x, 'rows')
  return remade(x, (vector, unit) => rotated(vector, position(unit), options))
}

/**
 * Every vector as a low-precision type holds it, given back as the numbers that the type's values stand
 * for: symmetric, one scale for each vector, rounded to nearest even. `int8` and `int4` scale the largest
 * magnitude to 127 and 7, `fp8` (e4m3) to 448; `sign` is 1 where positive and -1 elsewhere, without a
 * scale.
 *
 * @throws PatternError `bad-quantization`
 */
export function quantize<H extends Share, A extends Units>(x: Rows<H, A>, type: Quantized): Rows<H, A> {
  checkKind('quantize', x, 'rows')
  return remade(x, (vector) => quantized(vector, type))
}

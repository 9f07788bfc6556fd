/** i32, f32, perHead: a default and bounds in, the declaration of a run-time value out. */

import { describe, patternError } from './messages.ts'

/** The bound on i32 params and tables that declare none: sums of two stay inside int32. */
export const I32_LIMIT = 2 ** 30

/** The greatest finite f32. */
export const F32_LIMIT = 3.4028234663852886e38

/** A value that a kernel reads when it runs: changing it never recompiles. */
export interface ParamSpec<H extends boolean = boolean> {
  readonly kind: 'param'
  readonly type: 'i32' | 'f32'
  readonly default: number
  readonly min: number
  readonly max: number
  /** One value per query head; a single number given at the call serves all heads. */
  readonly perHead: H
}

/** The least and greatest value that a caller may give, both allowed. */
export interface Bounds {
  readonly min?: number
  readonly max?: number
}

export const isInt = (x: unknown): x is number => Number.isInteger(x) && Math.abs(x as number) <= I32_LIMIT
export const isFloat = (x: unknown): x is number => Number.isFinite(x) && Math.abs(x as number) <= F32_LIMIT

function param(type: 'i32' | 'f32', value: number, bounds: Bounds): ParamSpec<false> {
  const limit = type === 'i32' ? I32_LIMIT : F32_LIMIT
  const valid = type === 'i32' ? isInt : isFloat
  const { min = -limit, max = limit } = bounds
  for (const [bound, got] of Object.entries({ min, max })) {
    if (!valid(got)) throw patternError('bad-bound', { word: type, bound, got: describe(got) })
  }
  if (min > max) throw patternError('bad-range', { word: type, min, max })
  if (!valid(value) || value < min || value > max) {
    throw patternError('bad-default', { word: type, got: describe(value), min, max })
  }
  return { kind: 'param', type, default: value, min, max, perHead: false }
}

/**
 * An integer param: a run-time uniform, so one kernel serves all its values.
 *
 * Bounds are promises to the compiler as well as checks at the call: a param that divides needs `min: 1`, and
 * sums and products of positions and params must be provably inside int32. Without bounds a value lies within
 * +-2^30.
 *
 * @param value the default, within the bounds
 * @throws PatternError `bad-default`, `bad-bound`, `bad-range`
 * @example i32(1024, { min: 1, max: 2 ** 24 })
 */
export const i32 = (value: number, bounds: Bounds = {}): ParamSpec<false> => param('i32', value, bounds)

/**
 * A floating-point param: a run-time uniform, rounded to f32 before the pattern or the kernel sees it.
 *
 * In a mask it may stand only in parts that are free of `q`, `kv` and tables, such as `Math.floor(alpha +
 * beta * kvLen)`; a score may use it anywhere. Without bounds any finite f32 is allowed.
 *
 * @param value the default, within the bounds
 * @throws PatternError `bad-default`, `bad-bound`, `bad-range`
 * @example f32(50, { min: 0.001 })
 */
export const f32 = (value: number, bounds: Bounds = {}): ParamSpec<false> => param('f32', value, bounds)

/**
 * One value of the param for each query head. In the index record it is a plain number, the head's own; a
 * caller gives an array of `qHeads` numbers, or one number for all. A value per kv head is a `table(..,
 * ['kvHead'])`.
 *
 * @throws PatternError `bad-per-head`
 * @example perHead(i32(0, { min: 0, max: 1 }))
 */
export function perHead(param: ParamSpec): ParamSpec<true> {
  if (!isParam(param) || param.perHead) {
    const got = isParam(param) ? 'a param that is per head already' : describe(param)
    throw patternError('bad-per-head', { got })
  }
  return { ...param, perHead: true }
}

export const isParam = (x: unknown): x is ParamSpec =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'param'

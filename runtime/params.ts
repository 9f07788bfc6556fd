/** Params of one call: numbers from the caller in, checked values (f32 rounded, one per head where they may differ) out. */

import type { ParamInfo } from '../compiler/plan.ts'
import { HeddleError } from './messages.ts'

export type ParamValues = Readonly<Record<string, number | readonly number[]>>

/** One value per query head for a perHead param, else one. */
export type Params = ReadonlyMap<string, readonly number[]>

/** What a spec promises: pattern() has it without a name, an artefact with one. */
export type ParamSpec = Omit<ParamInfo, 'name'>

export function resolveParams(
  specs: readonly ParamInfo[],
  given: ParamValues | undefined,
  qHeads: number,
): Params {
  const known = specs.map((s) => s.name)
  for (const name of Object.keys(given ?? {})) {
    if (!known.includes(name)) throw new HeddleError('param-unknown', { name, known })
  }
  return new Map(specs.map((spec) => [spec.name, valuesOf(spec, given?.[spec.name], qHeads)]))
}

function valuesOf(
  spec: ParamInfo,
  given: number | readonly number[] | undefined,
  qHeads: number,
): readonly number[] {
  const { name, type, min, max, perHead } = spec
  const one = (got: unknown): number => {
    const good = typeof got === 'number' && (type === 'i32' ? Number.isInteger(got) : Number.isFinite(got))
    const value = good ? (type === 'f32' ? Math.fround(got) : got) + 0 : Number.NaN
    // The bounds hold for what the kernel sees: rounding to f32 may step over one by half a unit in the last place.
    const inside =
      value >= (type === 'f32' ? Math.fround(min) : min) && value <= (type === 'f32' ? Math.fround(max) : max)
    if (!inside) throw new HeddleError('param-value', { name, type, min, max, got })
    return value
  }
  const value = given ?? spec.default
  if (!isList(value)) return perHead ? Array.from({ length: qHeads }, () => one(value)) : [one(value)]
  if (!perHead) throw new HeddleError('param-scalar', { name })
  if (value.length !== qHeads)
    throw new HeddleError('param-count', { name, expected: qHeads, got: value.length })
  return Array.from(value, one)
}

const isList = (x: unknown): x is ArrayLike<number> => Array.isArray(x) || ArrayBuffer.isView(x)

/** table(): a type, axes and promises in, the declaration of a tensor that the pattern reads out. */

import { describe, patternError } from './messages.ts'
import { I32_LIMIT, isInt, type Bounds } from './params.ts'

/**
 * The axes a table's dim may be called by. `qLen` is indexed by row, `q - (kvLen - qLen)`; `kvLen` by
 * position.
 */
export const AXES = ['batch', 'head', 'kvHead', 'indexHead', 'qLen', 'kvLen', 'headDim'] as const
export type Axis = (typeof AXES)[number]

/** An axis, a fixed size, or the name of one of the pattern's consts. */
export type Dim = Axis | number | (string & {})

export interface TableSpec<D extends readonly (string | number)[] = readonly (string | number)[]> {
  readonly kind: 'table'
  readonly type: 'i32' | 'f32'
  readonly dims: D
  /** Promise: values never decrease along the last dim. Validated when attention is called. */
  readonly monotone: boolean
  /**
   * Bounds of the values: +-2^30 for i32, infinite for f32, unless declared. Validated when attention is
   * called.
   */
  readonly min: number
  readonly max: number
}

/** What a mask or score sees of a table. */
export interface TableView<D extends readonly unknown[] = readonly unknown[]> {
  /** The element at one index for each dim; out of range it is 0. */
  at(...index: { readonly [K in keyof D]: number }): number
}

export interface TableOptions extends Bounds {
  readonly monotone?: boolean
}

/**
 * A tensor that the pattern reads element by element: document ids, row starts, slopes, learned biases.
 * Stored row-major, last dim contiguous; the caller passes an Int32Array or Float32Array of the product of
 * its dims.
 *
 * `min` and `max` bound its values: the compiler uses them to prove that index arithmetic fits int32.
 * `monotone: true` promises values that never decrease along the last dim, which lets the compiler derive
 * tiles from comparisons of positions with the table's elements.
 *
 * @param dims axis names, fixed sizes, or names of the pattern's consts
 * @throws PatternError `bad-table-type`, `bad-dims`, `bad-bound`, `bad-range`
 * @example table('i32', ['batch', 'kvLen'], { monotone: true, min: 0 })
 * @example table('f32', ['head', 32])
 */
export function table<const D extends readonly Dim[]>(
  type: 'i32' | 'f32',
  dims: D,
  options: TableOptions = {},
): TableSpec<D> {
  if (type !== 'i32' && type !== 'f32') throw patternError('bad-table-type', { got: describe(type) })
  const isDim = (d: Dim) => (typeof d === 'number' ? isInt(d) && d >= 1 : typeof d === 'string' && d !== '')
  if (!Array.isArray(dims) || dims.length < 1 || dims.length > 4 || !dims.every(isDim)) {
    throw patternError('bad-dims', { got: describe(dims) })
  }
  const limit = type === 'i32' ? I32_LIMIT : Infinity
  const { min = -limit, max = limit, monotone = false } = options
  for (const [bound, got] of Object.entries({ min, max })) {
    const valid = type === 'i32' ? isInt(got) : typeof got === 'number' && !Number.isNaN(got)
    if (!valid) throw patternError('bad-bound', { word: `table of ${type}`, bound, got: describe(got) })
  }
  if (min > max) throw patternError('bad-range', { word: 'table', min, max })
  return { kind: 'table', type, dims, monotone, min, max }
}

export const isTable = (x: unknown): x is TableSpec =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'table'

/** The tables among a pattern's declarations that are read element by element, with their names. */
export const elementTables = (
  declared: Readonly<Record<string, { readonly kind: string }>>,
): readonly (readonly [name: string, spec: TableSpec])[] =>
  Object.entries(declared).flatMap(([name, spec]) => (isTable(spec) ? [[name, spec] as const] : []))

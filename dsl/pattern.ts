/** pattern(): a record of names and functions in, the same record checked and complete out. */

import { describe, patternError } from './messages.ts'
import { isInt, isParam, type ParamSpec } from './params.ts'
import { INDEX_FIELDS, PATTERN_FIELDS, type IndexField, type IndexRecord } from './record.ts'
import {
  INPUT_FIELDS,
  isRowsSpec,
  type ForwardTable,
  type ForwardTableOf,
  type Inputs,
  type RowsOf,
  type RowsSpec,
} from './stages/inputs.ts'
import type { Rows } from './stages/rows.ts'
import type { Scores } from './stages/scores.ts'
import type { Output, State } from './stages/state.ts'
import type { Whole } from './stages/units.ts'
import { AXES, isTable, type Axis, type TableSpec, type TableView } from './tables.ts'

export type Consts = Readonly<Record<string, number>>
export type Params = Readonly<Record<string, ParamSpec>>
/** Tensors that the pattern reads: tables element by element, rows by the words of forward alone. */
export type Tables = Readonly<Record<string, TableSpec | RowsSpec>>
type None = { readonly [K in never]: never }

/** The pattern's own names as its functions see them: params and consts are numbers, tables have `.at`. */
type Own<C, P, T> = {
  readonly [K in keyof C | keyof P | keyof T]: K extends keyof T ? ViewOf<T[K]> : number
}
type ViewOf<S> = S extends TableSpec<infer D> ? TableView<D> : never

/** The same names as a forward program sees them: a param of each head is a column of scores. */
type Fed<C, P, T> = {
  readonly [K in keyof C | keyof P | keyof T]: K extends keyof T
    ? T[K] extends RowsSpec
      ? RowsOf<T[K]>
      : ForwardTableOf<T[K]>
    : K extends keyof P
      ? P[K] extends ParamSpec<true>
        ? PerHead
        : number
      : number
}
/**
 * A number for each query head: scores for the words, and inside a function of theirs the number of one head,
 * `window.at(head)`.
 */
export interface PerHead extends Scores<'head', Whole<'q'>, Whole<'kv'>> {
  at(head: number): number
}
type AnyNames = { readonly [name: string]: number | TableView }

/** The record that a `mask` or `score` gets, of a pattern whose names are not known. */
export type PairIndex = IndexRecord & AnyNames

/** The record that a `sinkLogit` gets: a whole row's, so without `q` and `kv`. */
export type RowIndex = Omit<IndexRecord, 'q' | 'kv'> & AnyNames

/** The record that a `forward` gets, of a pattern whose names are not known. */
export type ForwardInputs = Inputs & {
  readonly [name: string]: number | PerHead | ForwardTable | Rows
}

/** What pattern() returns. Without arguments: any pattern. */
export interface Pattern<C = Consts, P = Params, T = Tables> {
  readonly kind: 'heddle/pattern'
  readonly name: string
  /** The paper it comes from; empty if none. */
  readonly cite: string
  readonly consts: C
  readonly params: P
  readonly tables: T
  readonly mask: (ix: PairIndex) => boolean
  readonly score: ((s: number, ix: PairIndex) => number) | null
  readonly sinkLogit: ((ix: RowIndex) => number) | null
  readonly forward: ((inputs: ForwardInputs) => State | Output) | null
}

// Pattern<C, P, T>, but an annotation of what pattern() gives, `const p: Pattern = pattern(..)`, must not
// choose C, P and T.
type Made<C, P, T> = [C, P, T] extends [infer C2, infer P2, infer T2] ? Pattern<C2, P2, T2> : never

// A name that is taken gets a type that no value has, so that the editor marks the name itself.
type Free<S, Taken extends PropertyKey> = {
  readonly [K in keyof S & Taken]: { readonly error: `${K & string} is taken` } & never
}
type KnownDims<T, C> = {
  readonly [K in keyof T]: T[K] extends TableSpec<infer D>
    ? Exclude<D[number], Axis | number | keyof C> extends never
      ? unknown
      : TableSpec<readonly (Axis | number | (keyof C & string))[]>
    : unknown
}

export interface PatternFields<C extends Consts, P extends Params, T extends Tables> {
  /**
   * Lower-case words joined by hyphens; also the name of the built files and the word of the command line.
   */
  readonly name: string
  /** The paper it comes from: title or authors, and the arXiv id. */
  readonly cite?: string
  /**
   * Integers fixed when the kernel is built: what changes the code's structure. Overridden by name at build
   * time.
   */
  readonly consts?: C & Free<C, IndexField>
  /** Run-time values, made by i32, f32 and perHead; changing one never recompiles. */
  readonly params?: P & Free<P, IndexField | keyof NoInfer<C>>
  /** Tensors that the pattern reads, made by table(). */
  readonly tables?: T & Free<T, IndexField | keyof NoInfer<C> | keyof NoInfer<P>> & KnownDims<T, NoInfer<C>>
  /** True if query `q` may attend key `kv`. */
  readonly mask: (ix: IndexRecord & Own<C, P, T>) => boolean
  /** The logit `scale * dot(query, key)` in, the logit to use out; natural-log units, before the mask. */
  readonly score?: (s: number, ix: IndexRecord & Own<C, P, T>) => number
  /**
   * A logit that only the softmax's denominator sees, in the same units; one for each row, independent of its
   * position.
   */
  readonly sinkLogit?: (ix: Omit<IndexRecord, 'q' | 'kv'> & Own<C, P, T>) => number
  /**
   * Which of the pairs that the mask keeps are attended, where that depends on the data: a straight-line
   * program over the words of selection (pool, dot, topK, attend ..). Without it a pattern means `attend(Q,
   * K, V)`.
   */
  readonly forward?: (inputs: Inputs & Fed<C, P, T>) => State | Output
}

const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/
// WGSL reserves identifiers with two underscores in front; single ones inside are safe in every target.
const IDENTIFIER = /^[a-zA-Z][a-zA-Z0-9]*(_[a-zA-Z0-9]+)*$/

/**
 * Declares a sparsity pattern: which keys each query meets, and how the logits change. The functions are
 * ordinary TypeScript over one (query, key) pair; run they are the oracle, compiled they are the kernel. They
 * may use arithmetic, comparisons, `&&`, `||`, `!`, `?:`, `const`, `if` with returns, `for` with constant
 * bounds, `Math.*`, the integer helpers (floorDiv, mod, ..) and helper functions of the same or an imported
 * file.
 *
 * @throws PatternError with a code of dsl/messages.ts: a field that is missing, unknown or of a wrong shape,
 * a name that the index record has (`reserved-name`) or that two sections have (`duplicate-name`), a dim that
 * is no axis and no const
 * @example
 * export const sinkWindow = pattern({
 *   name: 'sink-window',
 *   params: { window: i32(1024, { min: 1 }), sinkTokens: i32(128, { min: 0 }) },
 *   mask: ({ q, kv, window, sinkTokens }) => kv <= q && (q - kv < window || kv < sinkTokens),
 * })
 */
export function pattern<
  const C extends Consts = None,
  const P extends Params = None,
  const T extends Tables = None,
>(fields: PatternFields<C, P, T>): Made<C, P, T> {
  checkFields(fields)
  const {
    name,
    cite = '',
    consts = {},
    params = {},
    tables = {},
    mask,
    score = null,
    sinkLogit = null,
    forward = null,
  } = fields
  const made = {
    kind: 'heddle/pattern',
    name,
    cite,
    consts,
    params,
    tables,
    mask,
    score,
    sinkLogit,
    forward,
  } as const
  checkNames(made)
  if (forward) checkInputs(made)
  // The functions' own records are narrower than that of any pattern; checkNames has seen that the rest is
  // what it says.
  return made as unknown as Made<C, P, T>
}

export const isPattern = (x: unknown): x is Pattern =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'heddle/pattern'

const isRecord = (x: unknown): x is Readonly<Record<string, unknown>> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)

function checkFields(fields: unknown): void {
  if (!isRecord(fields)) throw patternError('bad-record', { got: describe(fields) })
  for (const field of Object.keys(fields)) {
    if (!PATTERN_FIELDS.some((f) => f === field))
      throw patternError('unknown-field', { field, known: PATTERN_FIELDS })
  }
  checkName(fields.name)
  if (fields.cite !== undefined && typeof fields.cite !== 'string') {
    throw patternError('bad-cite', { got: describe(fields.cite) })
  }
  for (const section of ['consts', 'params', 'tables']) {
    const got = fields[section]
    if (got !== undefined && !isRecord(got))
      throw patternError('bad-section', { section, got: describe(got) })
  }
  const signatures = {
    mask: '(ix) => boolean',
    score: '(s, ix) => number',
    sinkLogit: '(ix) => number',
    forward: '(inputs) => State',
  }
  for (const [field, signature] of Object.entries(signatures)) {
    const got = fields[field]
    if (typeof got === 'function' || (got === undefined && field !== 'mask')) continue
    throw patternError('bad-function', { field, signature, got: describe(got) })
  }
}

/** A forward program's own names must not hide what it gets. */
function checkInputs({ consts, params, tables }: Pick<Pattern, 'consts' | 'params' | 'tables'>): void {
  for (const [section, names] of Object.entries({ consts, params, tables })) {
    for (const name of Object.keys(names)) {
      if (INPUT_FIELDS.some((f) => f === name)) throw patternError('reserved-input', { section, name })
    }
  }
}

export function checkName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || !NAME.test(name)) throw patternError('bad-name', { got: describe(name) })
}

/**
 * Refuses names and values that a kernel could not have; also what the combinators check of a pattern they
 * made.
 */
export function checkNames({ consts, params, tables }: Pick<Pattern, 'consts' | 'params' | 'tables'>): void {
  const seen = new Map<string, string>()
  for (const [section, names] of Object.entries({ consts, params, tables })) {
    for (const name of Object.keys(names)) {
      if (!IDENTIFIER.test(name)) throw patternError('bad-identifier', { section, name })
      if (INDEX_FIELDS.some((f) => f === name)) throw patternError('reserved-name', { section, name })
      const first = seen.get(name)
      if (first !== undefined) throw patternError('duplicate-name', { name, first, second: section })
      seen.set(name, section)
    }
  }
  for (const [name, value] of Object.entries(consts)) {
    if (!isInt(value)) throw patternError('bad-const', { name, got: describe(value) })
  }
  for (const [name, spec] of Object.entries(params)) {
    if (!isParam(spec)) throw patternError('bad-param', { name, got: describe(spec) })
  }
  for (const [name, spec] of Object.entries(tables)) {
    if (isRowsSpec(spec)) continue
    if (!isTable(spec)) throw patternError('bad-table', { name, got: describe(spec) })
    for (const dim of spec.dims) {
      if (typeof dim === 'number' || AXES.some((a) => a === dim)) continue
      const size = Object.hasOwn(consts, dim) ? consts[dim] : undefined
      if (size === undefined) {
        throw patternError('unknown-dim', { table: name, dim, known: [...AXES, ...Object.keys(consts)] })
      }
      if (size < 1) throw patternError('bad-dim-const', { table: name, dim, got: size })
    }
  }
}

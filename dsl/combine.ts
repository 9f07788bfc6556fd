/** and, or, not, rename: patterns in, one pattern out. */

import { describe, patternError } from './messages.ts'
import type { ParamSpec } from './params.ts'
import {
  checkName,
  checkNames,
  isPattern,
  type Consts,
  type ForwardInputs,
  type PairIndex,
  type Pattern,
  type RowIndex,
  type Tables,
} from './pattern.ts'
import { isRowsSpec, type RowsSpec } from './stages/inputs.ts'
import type { TableSpec } from './tables.ts'

type Operands = readonly [Pattern, Pattern, ...Pattern[]]
type Intersect<U> = (U extends unknown ? (u: U) => void : never) extends (i: infer I) => void ? I : never
type Joined<A extends Operands, S extends 'consts' | 'params' | 'tables'> = Flat<Intersect<A[number][S]>>
type Flat<T> = { readonly [K in keyof T]: T[K] }

/** The pattern that and() or or() of these operands gives. */
export type Combined<A extends Operands> = Pattern<
  Joined<A, 'consts'>,
  Joined<A, 'params'>,
  Joined<A, 'tables'>
>

type Renamed<S, M> = {
  readonly [K in keyof S as K extends keyof M ? (M[K] extends string ? M[K] : K) : K]: S[K]
}

/**
 * Keeps a pair that every operand keeps: `and(causal, sameDocument)`, named `causal-and-same-document`.
 *
 * Params, consts and tables of the same name and the same declaration become one. At most one operand may
 * have a `score`, and at most one a `sinkLogit`; the result has it.
 *
 * @throws PatternError `param-clash` if two operands declare a name differently (give one another name with
 * rename()), `score-clash`, `bad-operand`, `too-few-operands`
 */
export function and<const A extends Operands>(...patterns: A): Combined<A> {
  return combine('and', patterns, (ix) => patterns.every((p) => p.mask(ix)))
}

/**
 * Keeps a pair that at least one operand keeps: `or(slidingWindow, sinks)`, named `sliding-window-or-sinks`.
 * Names, scores and errors as with and().
 */
export function or<const A extends Operands>(...patterns: A): Combined<A> {
  return combine('or', patterns, (ix) => patterns.some((p) => p.mask(ix)))
}

/**
 * Keeps a pair that the pattern drops: `not(causal)`, named `not-causal`. Names, `score` and `sinkLogit`
 * stay.
 *
 * @throws PatternError `bad-operand`
 */
export function not<C, P, T>(pattern: Pattern<C, P, T>): Pattern<C, P, T> {
  if (!isPattern(pattern)) throw patternError('bad-operand', { word: 'not', got: describe(pattern) })
  return { ...pattern, name: `not-${pattern.name}`, mask: (ix) => !pattern.mask(ix) }
}

/**
 * The same pattern with other names for its params, consts and tables as seen from outside, so that it can be
 * combined with one that has the same names: `or(slidingWindow, rename(streaming, { window: 'recent' }))`.
 *
 * @param names old name: new name; names left out stay
 * @param name the new pattern's own name; the old one's if left out
 * @throws PatternError `rename-unknown`, `bad-renames`, `bad-operand`, `bad-name`, and `duplicate-name`,
 * `reserved-name` or `bad-identifier` for a new name that is taken or is no identifier
 */
export function rename<C, P, T, const M extends { readonly [K in keyof C | keyof P | keyof T]?: string }>(
  pattern: Pattern<C, P, T>,
  names: M & { readonly [K in Exclude<keyof M, keyof C | keyof P | keyof T>]: never },
  name: string = pattern.name,
): Pattern<Renamed<C, M>, Renamed<P, M>, Renamed<T, M>> {
  if (!isPattern(pattern)) throw patternError('bad-operand', { word: 'rename', got: describe(pattern) })
  checkName(name)
  const isNames =
    typeof names === 'object' && names !== null && Object.values(names).every((n) => typeof n === 'string')
  if (!isNames) throw patternError('bad-renames', { got: describe(names) })
  const pairs: readonly (readonly [string, string])[] = Object.entries(
    names as Readonly<Record<string, string>>,
  )
  const from: Pattern = pattern
  const known = [...Object.keys(from.consts), ...Object.keys(from.params), ...Object.keys(from.tables)]
  for (const [old] of pairs) {
    if (!known.includes(old)) throw patternError('rename-unknown', { pattern: from.name, name: old, known })
  }
  const byOld = new Map(pairs)
  const fresh = (old: string): string => byOld.get(old) ?? old
  const section = <V>(label: string, specs: Readonly<Record<string, V>>): Record<string, V> => {
    const made: Record<string, V> = {}
    for (const [old, spec] of Object.entries(specs)) {
      if (Object.hasOwn(made, fresh(old))) {
        throw patternError('duplicate-name', { name: fresh(old), first: label, second: label })
      }
      made[fresh(old)] = spec
    }
    return made
  }
  const inside = <Ix extends object>(ix: Ix): Ix => {
    const outside = ix as Readonly<Record<string, unknown>>
    const own = Object.fromEntries(known.map((old) => [old, outside[fresh(old)]]))
    return { ...ix, ...own }
  }
  const { score, sinkLogit, forward } = from
  const made: Pattern = {
    ...from,
    name,
    consts: section('consts', from.consts),
    params: section('params', from.params),
    tables: section('tables', renameDims(from.tables, from.consts, fresh)),
    mask: (ix) => from.mask(inside(ix)),
    score: score && ((s: number, ix: PairIndex) => score(s, inside(ix))),
    sinkLogit: sinkLogit && ((ix: RowIndex) => sinkLogit(inside(ix))),
    forward: forward && ((inputs: ForwardInputs) => forward(inside(inputs))),
  }
  checkNames(made)
  return made as unknown as Pattern<Renamed<C, M>, Renamed<P, M>, Renamed<T, M>>
}

/** A table's dim that is a const's name follows the const. */
function renameDims(
  tables: Tables,
  consts: Consts,
  fresh: (old: string) => string,
): Record<string, TableSpec | RowsSpec> {
  const dim = (d: string | number) => (typeof d === 'string' && Object.hasOwn(consts, d) ? fresh(d) : d)
  return Object.fromEntries(
    Object.entries(tables).map(([name, t]) => [name, isRowsSpec(t) ? t : { ...t, dims: t.dims.map(dim) }]),
  )
}

function combine<A extends Operands>(
  word: 'and' | 'or',
  patterns: A,
  mask: (ix: PairIndex) => boolean,
): Combined<A> {
  for (const p of patterns) if (!isPattern(p)) throw patternError('bad-operand', { word, got: describe(p) })
  if (patterns.length < 2) throw patternError('too-few-operands', { word, got: patterns.length })
  checkClashes(patterns)
  const merged = <V>(specsOf: (p: Pattern) => Readonly<Record<string, V>>): Record<string, V> =>
    Object.fromEntries(patterns.flatMap((p) => Object.entries(specsOf(p))))
  const made: Pattern = {
    kind: 'heddle/pattern',
    name: patterns.map((p) => p.name).join(`-${word}-`),
    cite: [...new Set(patterns.map((p) => p.cite))].filter((c) => c !== '').join('; '),
    consts: merged((p) => p.consts),
    params: merged((p) => p.params),
    tables: merged((p) => p.tables),
    mask,
    score: only(patterns, 'score', (p) => p.score),
    sinkLogit: only(patterns, 'sinkLogit', (p) => p.sinkLogit),
    forward: only(patterns, 'forward', (p) => p.forward),
  }
  checkNames(made)
  return made as unknown as Combined<A>
}

/** A name that two operands have must be declared the same. */
function checkClashes(patterns: readonly Pattern[]): void {
  const seen = new Map<string, { readonly declared: string; readonly from: string }>()
  for (const { name: from, consts, params, tables } of patterns) {
    for (const [name, spec] of [consts, params, tables].flatMap((section) => Object.entries(section))) {
      const declared = textOf(spec)
      const known = seen.get(name)
      if (known && known.declared !== declared) {
        throw patternError('param-clash', { name, first: known.from, second: from })
      }
      seen.set(name, known ?? { declared, from })
    }
  }
}

/** The same text for the same declaration; JSON has no infinities. */
const textOf = (spec: number | ParamSpec | TableSpec | RowsSpec): string =>
  JSON.stringify(spec, (_, v: unknown) => (typeof v === 'number' ? String(v) : v))

/** What at most one operand has. */
function only<V>(patterns: readonly Pattern[], field: string, valueOf: (p: Pattern) => V | null): V | null {
  const having = patterns.filter((p) => valueOf(p) !== null)
  const [first, second] = having
  if (first && second) throw patternError('score-clash', { field, first: first.name, second: second.name })
  return first ? valueOf(first) : null
}

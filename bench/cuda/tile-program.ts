/** A plan's terms at one setting in; functions that say which kv tiles a query tile reaches, and their class, out. */

import { compileFunction } from 'node:vm'
import type { Environment, Expr } from '../../compiler/ir.ts'
import { environmentOf, type Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan, KvTiles, TileTerm } from '../../compiler/plan.ts'
import type { TileClass } from '../../compiler/tiles.ts'
import type { Spot } from './mask-program.ts'
import { EVALS, write } from './script.ts'

type Rows = readonly [qLo: number, qHi: number]
type Range = readonly [lo: number, hi: number]

interface Term {
  /** Keys that the term may keep or drop of a query tile; null: none. */
  readonly range: (qLo: number, qHi: number) => Range | null
  readonly test: ((qLo: number, qHi: number, kvLo: number, kvHi: number) => boolean) | null
  readonly cutQ: ((qLo: number) => number) | null
  readonly cutKv: ((kvLo: number) => number) | null
}

/** One query tile after another: `enter` it, then ask about its kv tiles. */
export interface TileProgram {
  /** The kept terms' keys, by their first. */
  readonly enter: (qLo: number, qHi: number) => readonly Range[]
  readonly classOf: (spot: Spot) => TileClass
}

const ARGS = ['qLo', 'qHi', 'kvLo', 'kvHi'] as const

export function tileProgram(plan: KernelPlan, at: Setting): TileProgram {
  const env = environmentOf(plan, at)
  const { kept, dropped } = termsOf(plan.tiles, env)
  let keptHere: Reaching[] = []
  let droppedHere: Reaching[] = []
  return {
    enter: (qLo, qHi) => {
      keptHere = reachingOf(kept, qLo, qHi)
      droppedHere = reachingOf(dropped, qLo, qHi)
      return keptHere.map(({ range }) => range).sort((a, b) => a[0] - b[0])
    },
    classOf: (spot) => {
      if (!keptHere.some((term) => reaches(term, spot))) return 'empty'
      return droppedHere.some((term) => reaches(term, spot)) ? 'partial' : 'full'
    },
  }
}

const termsOf = ({ kept, dropped }: KvTiles, env: Environment) => ({
  kept: kept.map((term) => termOf(term, env)),
  dropped: dropped.map((term) => termOf(term, env)),
})

function termOf({ when, lo, hi, test, pieces }: TileTerm, env: Environment): Term {
  return {
    range: functionOf(
      [when, lo, hi],
      env,
      ([on, from, to]) => `${on} && ${from} <= ${to} ? [${from}, ${to}] : null`,
    ),
    test: test && functionOf([test], env, ([holds]) => holds!),
    cutQ: pieces.q && functionOf([pieces.q], env, ([end]) => end!),
    // Called with the first key alone.
    cutKv: pieces.kv && functionOf([pieces.kv], env, ([end]) => end!, ['kvLo']),
  }
}

function functionOf<F>(
  roots: readonly Expr[],
  env: Environment,
  result: (texts: readonly string[]) => string,
  args: readonly string[] = ARGS,
): F {
  const { levels, results } = write(roots, env, [ARGS])
  const text = `return (${args.join(', ')}) => { ${levels[0]!.join('; ')}; return ${result(results)} }`
  return compileFunction(text, ['ops', 'load'])(EVALS, env.load) as F
}

interface Reaching {
  readonly term: Term
  readonly range: Range
  /** The query tile, or its two pieces. */
  readonly rows: readonly Rows[]
}

function reachingOf(terms: readonly Term[], qLo: number, qHi: number): Reaching[] {
  return terms.flatMap((term) => {
    const range = term.range(qLo, qHi)
    return range ? [{ term, range, rows: cut(qLo, qHi, term.cutQ) }] : []
  })
}

function cut(first: number, last: number, end: ((first: number) => number) | null): Rows[] {
  const middle = end === null ? last + 1 : end(first)
  return middle > last
    ? [[first, last]]
    : [
        [first, middle - 1],
        [middle, last],
      ]
}

function reaches({ term, range, rows }: Reaching, { kvLo, kvHi }: Spot): boolean {
  if (range[0] > kvHi || range[1] < kvLo) return false
  const { test } = term
  if (test === null) return true
  for (const [keysLo, keysHi] of cut(kvLo, kvHi, term.cutKv)) {
    for (const [qLo, qHi] of rows) if (test(qLo, qHi, keysLo, keysHi)) return true
  }
  return false
}

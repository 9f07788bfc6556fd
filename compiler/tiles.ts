/** Where a kernel looks for kv tiles: a pattern's mask in, closed-form ranges and tile tests out; and their evaluation. */

import { affineOf, fromAffine, type Affine } from './affine.ts'
import { Bounds } from './interval.ts'
import {
  evaluate,
  nodesOf,
  readsVar,
  substitute,
  type Environment,
  type Expr,
  type Ir,
  type TileVar,
} from './ir.ts'
import type { KvTiles, PatternIr, TileTerm } from './plan.ts'
import { alwaysLe } from './prove.ts'
import { simplifier } from './simplify.ts'
import { solveFor } from './solve.ts'
import { atomExpr, termsOf, type Atom, type Term } from './terms.ts'
import { split, Zone } from './zone.ts'

/** Why the ranges alone do not give the tiles: the condition that does not bound a position, and the table it reads. */
export interface Obstacle {
  readonly condition: Expr
  readonly table: string | null
}

export interface FoundTiles {
  readonly tiles: KvTiles
  readonly obstacle: Obstacle | null
}

/** A compile()'s view of one pattern: what every step below needs. */
interface Context {
  readonly ir: Ir
  readonly pattern: PatternIr
  readonly bounds: Bounds
  readonly simplify: (e: Expr) => Expr
}

export function findTiles(ir: Ir, pattern: PatternIr): FoundTiles {
  const c: Context = { ir, pattern, bounds: new Bounds(pattern), simplify: simplifier(ir, pattern) }
  const kept = sideOf(c, pattern.mask)
  const dropped = sideOf(c, c.simplify(ir.make('not', [pattern.mask])))
  const table = kept.obstacles.find((o) => o.table !== null)
  const obstacle = table ?? kept.obstacles[0] ?? null
  const how = table ? 'list' : obstacle ? 'test' : 'ranges'
  return { tiles: { how, kept: kept.terms, dropped: dropped.terms }, obstacle }
}

interface Side {
  readonly terms: readonly TileTerm[]
  readonly obstacles: readonly Obstacle[]
}

function sideOf(c: Context, mask: Expr): Side {
  const terms = termsOf(c.ir, mask, (form) => boundsPosition(c, form))
  // Without a disjunctive form the whole mask is one condition, judged by its intervals.
  const split = terms ?? [[{ kind: 'other', test: mask, origin: mask }] satisfies Term]
  const made = split.map((term) => tileTerm(c, term)).filter((m) => m !== null)
  return { terms: made.map((m) => m.term), obstacles: made.flatMap((m) => m.obstacles) }
}

/** True if `form = 0` can be opened into two bounds: it fixes a position, or reads none. */
function boundsPosition(c: Context, form: Affine): boolean {
  const [moving] = split(form)
  const terms = [...moving.terms.keys()]
  if (terms.some((t) => readsVar(t, 'kv') && ['min', 'max', 'abs', 'select'].includes(t.op))) return true
  const variable = terms.some((t) => readsVar(t, 'kv')) ? 'kv' : terms.length > 0 ? 'q' : null
  if (variable === null) return true
  const bound = solveFor(c.ir, form, variable)
  // A bound that might leave int32 is none, and opening `!==` for it would only double the terms.
  return bound !== null && c.bounds.fits(c.simplify(bound.value))
}

type Ends = { lower: Expr[]; upper: Expr[] }

/** A term over a query tile; null if it holds of no pair at all, such as one of keys before the first. */
function tileTerm(c: Context, atoms: Term): { term: TileTerm; obstacles: Obstacle[] } | null {
  const { ir, simplify } = c
  const when: Expr[] = []
  const q: Ends = { lower: [], upper: [] }
  const kv: Ends = { lower: [], upper: [] }
  const comparisons: Affine[] = []
  const others: Atom[] = []
  for (const atom of atoms) {
    const e = atomExpr(ir, atom)
    const variable = readsVar(e, 'kv') ? 'kv' : readsVar(e, 'q') ? 'q' : null
    if (variable === null) {
      when.push(e)
      continue
    }
    const bound = atom.kind === 'le' ? solveFor(ir, atom.form, variable) : null
    const value = bound && simplify(bound.value)
    if (atom.kind !== 'le' || !bound || !value || !c.bounds.fits(value)) {
      others.push(atom)
      continue
    }
    comparisons.push(atom.form)
    ;(variable === 'kv' ? kv : q)[bound.side].push(value)
  }

  const all = (op: 'min' | 'max', start: Expr, more: readonly Expr[]) =>
    more.reduce((a, b) => ir.make(op, [a, b]), start)
  const firstRow = simplify(all('max', ir.var('qLo'), q.lower))
  const lastRow = simplify(all('min', ir.var('qHi'), q.upper))
  const everyKey = [ir.int(0), ir.make('sub', [ir.var('kvLen'), ir.int(1)])] as const
  const rows = new Zone(ir, c.pattern.tables, { q: [firstRow, lastRow], kv: everyKey })
  const lower = kv.lower.map((e) => rows.range(e)[0])
  const upper = kv.upper.map((e) => rows.range(e)[1])
  const rowsLeft = ir.make('le', [firstRow, lastRow])
  const active = simplify([...when, rowsLeft].reduce((a, b) => ir.make('and', [a, b])))
  const lo = simplify(all('max', everyKey[0], lower))
  const hi = simplify(all('min', everyKey[1], upper))
  const isNever = active.op === 'const' && active.arg === false
  if (isNever || alwaysLe(ir.make('add', [hi, ir.int(1)]), lo, c.bounds)) return null

  const { test, pieces } = testOf(c, { firstRow, lastRow, lower, upper, comparisons, others })
  return {
    term: { when: active, lo, hi, test, pieces },
    obstacles: others.map((atom) => ({
      condition: atom.origin,
      table: unorderedTable(c, atomExpr(ir, atom)),
    })),
  }
}

/** A table whose values decide the condition, and of which nothing is promised. */
function unorderedTable(c: Context, e: Expr): string | null {
  const tables = new Map(c.pattern.tables.map((t) => [t.name, t]))
  const load = nodesOf(e).find(
    (n) => n.op === 'load' && readsVar(n, 'q', 'kv') && !tables.get(n.arg)?.monotone,
  )
  return load?.op === 'load' ? load.arg : null
}

interface Rows {
  readonly firstRow: Expr
  readonly lastRow: Expr
  readonly lower: readonly Expr[]
  readonly upper: readonly Expr[]
  readonly comparisons: readonly Affine[]
  readonly others: readonly Atom[]
}

const NO_PIECES: TileTerm['pieces'] = { q: null, kv: null }

/** The conditions that bound no position, asked of a tile after the comparisons have narrowed it. */
function testOf(
  c: Context,
  { firstRow, lastRow, lower, upper, comparisons, others }: Rows,
): Pick<TileTerm, 'test' | 'pieces'> {
  const { ir, simplify } = c
  if (others.length === 0) return { test: null, pieces: NO_PIECES }
  const kv = [
    simplify(lower.reduce((a, b) => ir.make('max', [a, b]), ir.var('kvLo'))),
    simplify(upper.reduce((a, b) => ir.make('min', [a, b]), ir.var('kvHi'))),
  ] as const
  let q = [firstRow, lastRow] as const
  const keys = new Zone(ir, c.pattern.tables, { q, kv })
  for (const form of comparisons) {
    const bound = readsVar(fromAffine(ir, form), 'kv') ? solveFor(ir, form, 'q') : null
    if (!bound || !c.bounds.fits(simplify(bound.value))) continue
    const [least, most] = keys.range(bound.value)
    if (bound.side === 'lower') q = [simplify(ir.make('max', [q[0], least])), q[1]]
    else q = [q[0], simplify(ir.make('min', [q[1], most]))]
  }
  const linear = others.flatMap((atom) => (atom.kind === 'le' ? [atom.form] : []))
  const zone = new Zone(ir, c.pattern.tables, { q, kv }, [...comparisons, ...linear])
  const conditions = others.map((atom) => zone.range(atomExpr(ir, atom))[1])
  const narrowed = [ir.make('le', [q[0], q[1]]), ir.make('le', [kv[0], kv[1]]), ...zone.nonEmpty]
  // A condition that might leave int32 is no test; without it the tile is taken, which is sound.
  const sound = [...conditions, ...narrowed].map(simplify).filter((e) => c.bounds.fits(e))
  const test = simplify(sound.reduce((a, b) => ir.make('and', [a, b]), ir.bool(true)))
  if (test.op === 'const' && test.arg === true) return { test: null, pieces: NO_PIECES }
  return { test, pieces: { q: pieceEnd(c, others, 'q'), kv: pieceEnd(c, others, 'kv') } }
}

/**
 * A remainder of one position is only known well inside one period. The first position of the tile at which a period of
 * such a remainder begins cuts the tile into two pieces.
 */
function pieceEnd(c: Context, others: readonly Atom[], variable: 'q' | 'kv'): Expr | null {
  const { ir, simplify } = c
  const first = ir.var(variable === 'q' ? 'qLo' : 'kvLo')
  const ends = new Set<Expr>()
  for (const mod of nodesOf(...others.map((a) => atomExpr(ir, a))).filter((n) => n.op === 'mod')) {
    const [x, m] = mod.src as [Expr, Expr]
    if (!readsVar(x, variable) || readsVar(x, variable === 'q' ? 'kv' : 'q') || readsVar(m, 'q', 'kv'))
      continue
    const quotient =
      nodesOf(x).find((n) => n.op === 'floorDiv' && readsVar(n, variable)) ?? ir.make('floorDiv', [x, m])
    const start = substitute(ir, quotient, (e) => (e.op === 'var' && e.arg === variable ? first : undefined))
    const grows = affineOf(ir.make('sub', [ir.make('add', [start, ir.int(1)]), quotient]))
    const bound = solveFor(ir, grows, variable)
    if (bound?.side === 'lower') ends.add(simplify(bound.value))
  }
  const sound = [...ends].filter((e) => c.bounds.fits(e))
  return sound.length === 0 ? null : simplify(sound.reduce((a, b) => ir.make('min', [a, b])))
}

export type TileClass = 'empty' | 'partial' | 'full'

/**
 * The class that the terms give to a tile; `env` answers qLo, qHi, kvLo, kvHi and everything else.
 * For `list` tiles it is what the terms know before a kernel looks at the pairs.
 */
export function tileClass(tiles: KvTiles, env: Environment): TileClass {
  if (!tiles.kept.some((term) => reaches(term, env))) return 'empty'
  return tiles.dropped.some((term) => reaches(term, env)) ? 'partial' : 'full'
}

function reaches(term: TileTerm, env: Environment): boolean {
  const number = (e: Expr) => evaluate(e, env) as number
  if (evaluate(term.when, env) !== true) return false
  if (number(term.lo) > env.var('kvHi') || number(term.hi) < env.var('kvLo')) return false
  const { test, pieces } = term
  if (test === null) return true
  const cut = (lo: TileVar, hi: TileVar, end: Expr | null): [number, number][] => {
    const [first, last] = [env.var(lo), env.var(hi)]
    const middle = end === null ? last + 1 : number(end)
    return middle > last
      ? [[first, last]]
      : [
          [first, middle - 1],
          [middle, last],
        ]
  }
  return cut('qLo', 'qHi', pieces.q).some(([qLo, qHi]) =>
    cut('kvLo', 'kvHi', pieces.kv).some(([kvLo, kvHi]) => {
      const at: Partial<Record<string, number>> = { qLo, qHi, kvLo, kvHi }
      return evaluate(test, { ...env, var: (name) => at[name] ?? env.var(name) }) === true
    }),
  )
}

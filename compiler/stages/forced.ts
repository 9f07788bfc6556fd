/** How many units of a row a `force` can take: its condition in, a bound as an expression of params and lengths out. */

import { addForms, affineOf, constantForm, fromAffine } from '../affine.ts'
import { readsVar, substitute, type Expr } from '../ir.ts'
import { simplifier } from '../simplify.ts'
import { solveFor } from '../solve.ts'
import { termsOf, type Term } from '../terms.ts'
import { findTiles } from '../tiles.ts'
import type { Axis, ScoresType } from './graph.ts'
import { growth } from './sizes.ts'
import type { Typing } from './typing.ts'

/**
 * The sum, over the terms of the condition, of the width of the interval of kv units that a term and the mask leave; null
 * where a term has no width that is free of the row and of the lengths.
 */
export function forcedMost(t: Typing, force: Expr, scores: ScoresType): Expr | null {
  const { ir } = t.sizes
  const units = unitsIn(t, scores)
  if (!units) return null
  const simplify = simplifier(ir, t.pattern)
  const terms = termsOf(ir, simplify(units(force)), () => true)
  if (!terms) return null
  const always = boundsOf(t, scores, units)
  const widths = terms.map((term) => widthOf(t, term, always))
  if (!widths.every((w) => w !== null)) return null
  return t.sizes.sum(...widths.map((w) => t.sizes.max(t.sizes.num(0), w)))
}

interface Ends {
  readonly lower: readonly Expr[]
  readonly upper: readonly Expr[]
}

function widthOf(t: Typing, term: Term, always: Ends): Expr | null {
  const { ir } = t.sizes
  const bounds = term.flatMap((atom) => (atom.kind === 'le' ? (solveFor(ir, atom.form, 'kv') ?? []) : []))
  const values = (side: 'lower' | 'upper') => [
    ...bounds.filter((b) => b.side === side).map((b) => b.value),
    ...always[side],
  ]
  const widths = values('lower').flatMap((lo) =>
    values('upper').flatMap((hi) => {
      const width = fromAffine(ir, addForms(addForms(affineOf(hi), affineOf(lo), -1), constantForm(1)))
      return growth(width) === 0 && !readsVar(width, 'q', 'kv', 'q.index', 'q.first', 'q.last') ? [width] : []
    }),
  )
  return widths.length === 0 ? null : widths.reduce((a, b) => t.sizes.min(a, b))
}

/** Unit variables in terms of the units' numbers, `q` and `kv`; null where units are not cut evenly. */
function unitsIn(t: Typing, { q, kv }: ScoresType): ((e: Expr) => Expr) | null {
  const { ir } = t.sizes
  const width = sizeOf(kv)
  if (width === null) return null
  const rows = sizeOf(q)
  const places = new Map<string, Expr>()
  for (const [slot, size] of [['q', rows] as const, ['kv', width] as const]) {
    if (size === null) continue
    const first = t.sizes.product(t.sizes.num(size), ir.var(slot))
    places.set(`${slot}.index`, ir.var(slot))
    places.set(`${slot}.first`, first)
    places.set(`${slot}.last`, t.sizes.sum(first, t.sizes.num(size - 1)))
  }
  return (e) => substitute(ir, e, (n) => (n.op === 'var' ? places.get(n.arg) : undefined))
}

function sizeOf({ units, order }: Axis): number | null {
  if (order) return null
  if (units.kind === 'offset') return 1
  return units.kind === 'token' ? 1 : units.kind === 'block' ? units.size : null
}

/** The first and last unit that there is, and those that the mask leaves of a row. */
function boundsOf(t: Typing, scores: ScoresType, units: (e: Expr) => Expr): Ends {
  const { sizes } = t
  const { ir } = sizes
  const { kv } = scores
  if (kv.units.kind === 'offset') return { lower: [kv.units.least], upper: [] }
  const ends: Ends = {
    lower: [sizes.num(0)],
    upper: [sizes.difference(sizes.units(kv), sizes.num(1))],
  }
  const pattern = { name: '', cite: '', consts: {}, score: null, sinkLogit: null, ...t.pattern }
  const [term, more] = scores.visible === 'off' ? [] : findTiles(ir, pattern).tiles.kept
  if (!term || more) return ends
  const size = sizeOf(kv)!
  const row = (e: Expr): Expr =>
    units(
      substitute(ir, e, (n) =>
        n.op === 'var' && (n.arg === 'qLo' || n.arg === 'qHi')
          ? ir.var(n.arg === 'qLo' ? 'q.first' : 'q.last')
          : undefined,
      ),
    )
  const parts = (e: Expr): Expr[] => (e.op === 'min' ? e.src.flatMap(parts) : [e])
  const simplify = simplifier(ir, t.pattern)
  const visible = parts(term.hi).map((hi) => simplify(sizes.floorDiv(row(hi), size)))
  return { ...ends, upper: [...visible, ...ends.upper] }
}

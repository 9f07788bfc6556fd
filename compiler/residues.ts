/**
 * Residue order: a mask in, what of it joins only queries and keys of the same remainder out, or null.
 *
 * Where every kept pair of a term is a whole number of steps apart, nearly every tile of natural order holds one, and few of its
 * pairs are kept. Rows and keys taken by remainder instead, `r, r + step, r + 2 step, ..`, make such a term dense.
 */

import { addForms, affineOf, type Affine } from './affine.ts'
import type { Expr, Ir } from './ir.ts'
import type { PatternIr, ResidueOrder, ResiduePart } from './plan.ts'
import { simplifier } from './simplify.ts'
import { atomExpr, termsOf, type Term } from './terms.ts'
import { findTiles } from './tiles.ts'

/**
 * The mask is cut into disjoint parts: `inside` has the pairs of one remainder, less those of `rest`, which has the terms that
 * ask for no remainder. Null where there is nothing to gain, or where a part's tiles would not be closed-form ranges.
 */
export function findResidues(ir: Ir, pattern: PatternIr): ResidueOrder | null {
  const terms = termsOf(ir, pattern.mask, () => false)
  if (terms === null) return null
  const found = terms.map((term) => ({ term, step: stepOf(pattern, term) }))
  const steps = new Set(found.flatMap(({ step }) => (step ? [step.value] : [])))
  const [step] = steps
  if (steps.size !== 1 || step === undefined) return null

  const simplify = simplifier(ir, pattern)
  const all = (atoms: Term): Expr =>
    atoms.map((a) => atomExpr(ir, a)).reduce((a, b) => ir.make('and', [a, b]), ir.bool(true))
  const any = (some: readonly Term[]): Expr =>
    some.map(all).reduce((a, b) => ir.make('or', [a, b]), ir.bool(false))
  const part = (mask: Expr): ResiduePart => ({ mask, tiles: findTiles(ir, { ...pattern, mask }).tiles })
  const stepped = found.flatMap(({ term, step: s }) => (s ? [term.filter((a) => a !== s.atom)] : []))
  const others = found.flatMap(({ term, step: s }) => (s ? [] : [term]))
  const rest = others.length === 0 ? null : part(simplify(any(others)))
  const joined = any(stepped)
  const inside = part(simplify(rest ? ir.make('and', [joined, ir.make('not', [rest.mask])]) : joined))
  const closed = [inside, ...(rest ? [rest] : [])].every(({ tiles }) => tiles.how === 'ranges')
  return closed ? { step, inside, rest } : null
}

/** The condition of a term that its pairs are whole steps apart. */
function stepOf(pattern: PatternIr, term: Term): { atom: Term[number]; value: Expr } | null {
  for (const atom of term) {
    if (atom.kind !== 'other' || atom.test.op !== 'eq') continue
    const [a, b] = atom.test.src as [Expr, Expr]
    const value = modulus(a, b) ?? modulus(b, a)
    if (value && isFixed(pattern, value)) return { atom, value }
  }
  return null
}

/** m, of `mod(q - kv, m) = 0`, `mod(kv - q, m) = 0` and `mod(q, m) = mod(kv, m)`. */
function modulus(a: Expr, b: Expr): Expr | null {
  if (a.op !== 'mod') return null
  const [x, m] = a.src as [Expr, Expr]
  if (b.op === 'const' && b.arg === 0 && isGap(affineOf(x))) return m
  return b.op === 'mod' && b.src[1] === m && isGap(addForms(affineOf(x), affineOf(b.src[0]!), -1)) ? m : null
}

/** q - kv, or its negative. */
function isGap({ constant, terms }: Affine): boolean {
  const [one, other] = [...terms]
  const isVar = (e: Expr, name: string) => e.op === 'var' && e.arg === name
  if (constant !== 0 || terms.size !== 2 || !one || !other || one[1] + other[1] !== 0) return false
  return Math.abs(one[1]) === 1 && ['q', 'kv'].every((n) => isVar(one[0], n) || isVar(other[0], n))
}

/** Known to the host before a launch, and the same for every batch entry and head. */
const isFixed = ({ params }: PatternIr, e: Expr): boolean =>
  (e.op === 'const' && typeof e.arg === 'number' && e.arg > 1) ||
  (e.op === 'param' && params.some((p) => p.name === e.arg && !p.perHead && p.min >= 1))

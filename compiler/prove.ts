/** A small prover of order: two integer expressions in, whether one is never above the other out. */

import { addForms, affineOf, scaleForm, termForm, type Affine } from './affine.ts'
import type { Bounds } from './interval.ts'
import type { Expr } from './ir.ts'

/** A tile's first position is not after its last, and keys end before kvLen: greater - less >= gap. */
const ORDERED: readonly (readonly [greater: string, less: string, gap: number])[] = [
  ['qHi', 'qLo', 0],
  ['kvHi', 'kvLo', 0],
  ['kvLen', 'kvHi', 1],
  ['kvLen', 'kvLo', 1],
  ['kvLen', 'kv', 1],
]

/** How many min, max and quotients a proof may look into. */
const DEPTH = 4

/** True if a <= b for every value of the leaves. */
export const alwaysLe = (a: Expr, b: Expr, bounds: Bounds, depth = DEPTH): boolean =>
  a === b || neverNegative(addForms(affineOf(b), affineOf(a), -1), bounds, depth)

function neverNegative(form: Affine, bounds: Bounds, depth: number): boolean {
  if (leastOf(form, bounds) >= 0) return true
  if (depth === 0) return false
  for (const [term, c] of form.terms) {
    // c * min(x, y) is at least 0 if it is for x and for y when c > 0, for x or for y when c < 0; max the other way.
    if (term.op !== 'min' && term.op !== 'max') continue
    const rest = addForms(form, termForm(term), -c)
    const one = (x: Expr) => neverNegative(addForms(rest, affineOf(x), c), bounds, depth - 1)
    const [x, y] = term.src as [Expr, Expr]
    return (term.op === 'min') === c > 0 ? one(x) && one(y) : one(x) || one(y)
  }
  // Two quotients or alignments by one divisor stand in the order of what is divided.
  for (const [term, c] of form.terms) {
    if ((term.op !== 'floorDiv' && term.op !== 'alignDown') || c <= 0) continue
    const less = [...form.terms.keys()].find(
      (t) => t.op === term.op && form.terms.get(t) === -c && t.src[1] === term.src[1],
    )
    if (!less || !alwaysLe(less.src[0]!, term.src[0]!, bounds, depth - 1)) continue
    const rest = addForms(addForms(form, termForm(term), -c), scaleForm(termForm(less), c))
    if (neverNegative(rest, bounds, depth - 1)) return true
  }
  return false
}

/** A lower bound of a form, from declared bounds and the order of the tile's positions. */
export function leastOf(form: Affine, bounds: Bounds): number {
  const rest = new Map(form.terms)
  let least = form.constant
  const find = (name: string) => [...rest.keys()].find((t) => t.op === 'var' && t.arg === name)
  for (const [greater, less, gap] of ORDERED) {
    const [g, l] = [find(greater), find(less)]
    if (!g || !l) continue
    const times = Math.min(rest.get(g)!, -rest.get(l)!)
    if (times <= 0) continue
    least += times * gap
    rest.set(g, rest.get(g)! - times)
    rest.set(l, rest.get(l)! + times)
  }
  for (const [term, c] of rest) {
    if (c === 0) continue
    const [lo, hi] = bounds.numeric(term)
    least += c > 0 ? c * lo : c * hi
  }
  return least
}

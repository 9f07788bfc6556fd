/** Solves `form <= 0` for one position: an affine form in, an upper or lower bound of q or kv out. */

import { addForms, affineOf, constantForm, fromAffine, scaleForm, type Affine } from './affine.ts'
import { readsVar, type Expr, type Ir } from './ir.ts'

export interface Bound {
  readonly side: 'upper' | 'lower'
  /** The last (upper) or first (lower) value that satisfies the comparison. */
  readonly value: Expr
}

/**
 * The bound that `form <= 0` puts on a variable, or null if the variable does not stand alone in it: once, with a
 * constant factor, inside quotients and alignments only.
 */
export function solveFor(ir: Ir, form: Affine, variable: 'q' | 'kv'): Bound | null {
  const holders = [...form.terms].filter(([t]) => readsVar(t, variable))
  if (holders.length !== 1) return null
  const [term, factor] = holders[0]!
  const rest = addForms(form, { constant: 0, terms: new Map([[term, -factor]]) })
  // factor * term <= -rest
  return factor > 0
    ? atMost(ir, term, divided(ir, scaleForm(rest, -1), factor, 'down'), variable)
    : atLeast(ir, term, divided(ir, rest, -factor, 'up'), variable)
}

/** form / factor as a form, rounded down or up. */
function divided(ir: Ir, form: Affine, factor: number, round: 'down' | 'up'): Affine {
  if (factor === 1) return form
  const bumped = round === 'up' ? addForms(form, constantForm(factor - 1)) : form
  return affineOf(ir.make('floorDiv', [fromAffine(ir, bumped), ir.int(factor)]))
}

/** term <= limit */
function atMost(ir: Ir, term: Expr, limit: Affine, variable: 'q' | 'kv'): Bound | null {
  const [x, m] = term.src as [Expr, Expr]
  switch (term.op) {
    case 'var':
      return term.arg === variable ? { side: 'upper', value: fromAffine(ir, limit) } : null
    case 'floorDiv': // x <= m * limit + m - 1
      if (readsVar(m, 'q', 'kv')) return null
      return inner(ir, x, multiple(ir, addForms(limit, constantForm(1)), m), -1, 'atMost', variable)
    case 'alignDown': // x <= alignDown(limit, m) + m - 1
      if (readsVar(m, 'q', 'kv')) return null
      return inner(
        ir,
        x,
        addForms(affineOf(ir.make('alignDown', [fromAffine(ir, limit), m])), affineOf(m)),
        -1,
        'atMost',
        variable,
      )
    default:
      return null
  }
}

/** term >= limit */
function atLeast(ir: Ir, term: Expr, limit: Affine, variable: 'q' | 'kv'): Bound | null {
  const [x, m] = term.src as [Expr, Expr]
  switch (term.op) {
    case 'var':
      return term.arg === variable ? { side: 'lower', value: fromAffine(ir, limit) } : null
    case 'floorDiv': // x >= m * limit
      return readsVar(m, 'q', 'kv') ? null : inner(ir, x, multiple(ir, limit, m), 0, 'atLeast', variable)
    case 'alignDown': {
      // x >= limit aligned up
      if (readsVar(m, 'q', 'kv')) return null
      const up = addForms(addForms(limit, affineOf(m)), constantForm(-1))
      return inner(ir, x, affineOf(ir.make('alignDown', [fromAffine(ir, up), m])), 0, 'atLeast', variable)
    }
    default:
      return null
  }
}

/** Goes on with `x <= limit + offset` or `x >= limit + offset`. */
function inner(
  ir: Ir,
  x: Expr,
  limit: Affine,
  offset: number,
  how: 'atMost' | 'atLeast',
  variable: 'q' | 'kv',
): Bound | null {
  const bound = addForms(limit, constantForm(offset))
  const difference = addForms(affineOf(x), bound, -1)
  return solveFor(ir, how === 'atMost' ? difference : scaleForm(difference, -1), variable)
}

/** m * limit, where a quotient by m itself becomes an alignment, so that nothing overflows. */
function multiple(ir: Ir, limit: Affine, m: Expr): Affine {
  let product = constantForm(0)
  for (const [term, c] of limit.terms) {
    const whole =
      term.op === 'floorDiv' && term.src[1] === m ? ir.make('alignDown', term.src) : ir.make('mul', [term, m])
    product = addForms(product, affineOf(whole), c)
  }
  return addForms(product, affineOf(m), limit.constant)
}

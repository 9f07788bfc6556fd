/** Affine forms: an integer expression as a constant plus whole multiples of terms, so that correlated terms cancel. */

import type { Expr, Ir } from './ir.ts'

export interface Affine {
  readonly constant: number
  /** Non-zero coefficients, by term, in the order the terms were made. */
  readonly terms: ReadonlyMap<Expr, number>
}

export const constantForm = (constant: number): Affine => ({ constant, terms: new Map() })

export function addForms(a: Affine, b: Affine, factor = 1): Affine {
  const terms = new Map(a.terms)
  for (const [term, c] of b.terms) {
    const sum = (terms.get(term) ?? 0) + c * factor
    if (sum === 0) terms.delete(term)
    else terms.set(term, sum)
  }
  return { constant: a.constant + b.constant * factor, terms }
}

export const scaleForm = (a: Affine, factor: number): Affine => addForms(constantForm(0), a, factor)

/** A term itself, as a form. */
export const termForm = (e: Expr): Affine => ({ constant: 0, terms: new Map([[e, 1]]) })

const isSmall = ({ constant, terms }: Affine): boolean =>
  [constant, ...terms.values()].every((c) => Math.abs(c) < 2 ** 31)

/** Sums, differences and constant multiples are opened, as long as their numbers are int32; every other node is a term. */
export function affineOf(e: Expr): Affine {
  const form = opened(e)
  return isSmall(form) ? form : termForm(e)
}

function opened(e: Expr): Affine {
  switch (e.op) {
    case 'const':
      return constantForm(e.arg as number)
    case 'add':
      return addForms(affineOf(e.src[0]!), affineOf(e.src[1]!))
    case 'sub':
      return addForms(affineOf(e.src[0]!), affineOf(e.src[1]!), -1)
    case 'neg':
      return scaleForm(affineOf(e.src[0]!), -1)
    case 'mul': {
      const [a, b] = e.src.map(affineOf) as [Affine, Affine]
      if (a.terms.size === 0) return scaleForm(b, a.constant)
      if (b.terms.size === 0) return scaleForm(a, b.constant)
      return termForm(e)
    }
    default:
      return termForm(e)
  }
}

/** The canonical expression of a form: positive terms first, each by order of making, then the constant. */
export function fromAffine(ir: Ir, form: Affine): Expr {
  const sorted = [...form.terms].sort(([a], [b]) => a.id - b.id)
  const times = (term: Expr, c: number) => (c === 1 ? term : ir.make('mul', [term, ir.int(c)]))
  let sum: Expr | null = null
  for (const [term, c] of sorted) {
    if (c > 0) sum = sum ? ir.make('add', [sum, times(term, c)]) : times(term, c)
  }
  if (form.constant > 0 || (!sum && form.constant !== 0)) {
    sum = sum ? ir.make('add', [sum, ir.int(form.constant)]) : ir.int(form.constant)
  }
  for (const [term, c] of sorted) {
    if (c < 0)
      sum = sum ? ir.make('sub', [sum, times(term, -c)]) : c === -1 ? ir.make('neg', [term]) : times(term, c)
  }
  const constantIsFirst = sorted.every(([, c]) => c < 0)
  if (form.constant < 0 && sum && !constantIsFirst) sum = ir.make('sub', [sum, ir.int(-form.constant)])
  return sum ?? ir.int(0)
}

const KEYS = new WeakMap<Affine, string>()

/** A stable name for a form's terms without its constant. */
export function formKey(form: Affine): string {
  const known = KEYS.get(form)
  if (known !== undefined) return known
  const key = [...form.terms]
    .map(([t, c]) => [t.id, c] as const)
    .sort(([a], [b]) => a - b)
    .map(([id, c]) => `${c}*${id}`)
    .join('+')
  KEYS.set(form, key)
  return key
}

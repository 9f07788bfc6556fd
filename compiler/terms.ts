/** A mask as a disjunction of terms: each a list of atoms (comparisons and other conditions) that must all hold. */

import { addForms, affineOf, constantForm, formKey, fromAffine, scaleForm, type Affine } from './affine.ts'
import { readsVar, type Expr, type Ir } from './ir.ts'

/** `form <= 0` over integers, or a condition that is no such comparison. */
export type Atom =
  | { readonly kind: 'le'; readonly form: Affine; readonly origin: Expr }
  | { readonly kind: 'other'; readonly test: Expr; readonly origin: Expr }

export type Term = readonly Atom[]

/** More terms than this are not worth their tests: the whole mask is then judged by intervals. */
const MOST_TERMS = 48

class TooMany extends Error {}

/** What an `eq` is opened into depends on whether its comparisons bound a position; the caller knows. */
export type Opens = (form: Affine) => boolean

/**
 * The disjunctive form of a mask, or null where it would have too many terms. Integer min, max, abs and select that hold
 * a kv position are opened, so that what remains can be solved for it.
 */
export function termsOf(ir: Ir, mask: Expr, opens: Opens): Term[] | null {
  const context = { ir, opens }
  try {
    return prune(disjunction(context, mask, true))
  } catch (error) {
    if (error instanceof TooMany) return null
    throw error
  }
}

interface Context {
  readonly ir: Ir
  readonly opens: Opens
}

function disjunction(c: Context, e: Expr, positive: boolean): Term[] {
  const [a, b] = e.src as [Expr, Expr]
  switch (e.op) {
    case 'const':
      return e.arg === positive ? [[]] : []
    case 'not':
      return disjunction(c, a, !positive)
    case 'and':
    case 'or': {
      const [left, right] = [disjunction(c, a, positive), disjunction(c, b, positive)]
      return (e.op === 'or') === positive ? either(left, right) : both(left, right)
    }
    case 'lt':
    case 'le': {
      if (a.type !== 'i32') return other(c, e, positive)
      const gap = e.op === 'lt' ? 1 : 0
      const less = addForms(addForms(affineOf(a), affineOf(b), -1), constantForm(gap))
      // not (form <= 0) is 1 - form <= 0
      return opened(c, positive ? less : addForms(constantForm(1), less, -1), e)
    }
    case 'eq': {
      if (a.type !== 'i32') return other(c, e, positive)
      const form = addForms(affineOf(a), affineOf(b), -1)
      if (!c.opens(form)) return other(c, e, positive)
      const back = scaleForm(form, -1)
      if (positive) return both(opened(c, form, e), opened(c, back, e))
      return either(
        opened(c, addForms(form, constantForm(1)), e),
        opened(c, addForms(back, constantForm(1)), e),
      )
    }
    default:
      return other(c, e, positive)
  }
}

const other = (c: Context, e: Expr, positive: boolean): Term[] => [
  [{ kind: 'other', test: positive ? e : c.ir.make('not', [e]), origin: e }],
]

/** `form <= 0` with the extremes, absolute values and choices in it opened. */
function opened(c: Context, form: Affine, origin: Expr): Term[] {
  for (const [term, factor] of form.terms) {
    if (!readsVar(term, 'kv')) continue
    const rest = addForms(form, { constant: 0, terms: new Map([[term, -factor]]) })
    const put = (e: Expr) => opened(c, addForms(rest, affineOf(e), factor), origin)
    const [x, y, z] = term.src as [Expr, Expr, Expr]
    switch (term.op) {
      case 'max':
        return factor > 0 ? both(put(x), put(y)) : either(put(x), put(y))
      case 'min':
        return factor > 0 ? either(put(x), put(y)) : both(put(x), put(y))
      case 'abs': {
        const back = c.ir.make('neg', [x])
        return factor > 0 ? both(put(x), put(back)) : either(put(x), put(back))
      }
      case 'select':
        return either(both(disjunction(c, x, true), put(y)), both(disjunction(c, x, false), put(z)))
    }
  }
  if (form.terms.size === 0) return form.constant <= 0 ? [[]] : []
  return [[{ kind: 'le', form, origin }]]
}

function either(a: Term[], b: Term[]): Term[] {
  const all = prune([...a, ...b])
  if (all.length > MOST_TERMS) throw new TooMany()
  return all
}

function both(a: Term[], b: Term[]): Term[] {
  if (a.length * b.length > MOST_TERMS * MOST_TERMS) throw new TooMany()
  const all = prune(a.flatMap((x) => b.flatMap((y) => conjoin(x, y))))
  if (all.length > MOST_TERMS) throw new TooMany()
  return all
}

/** One term of two, or none if they contradict each other; of two bounds on one form the stronger stays. */
function conjoin(a: Term, b: Term): Term[] {
  const bounds = new Map<string, Atom & { kind: 'le' }>()
  const others = new Map<Expr, Atom>()
  for (const atom of [...a, ...b]) {
    if (atom.kind === 'other') {
      others.set(atom.test, atom)
      continue
    }
    const key = formKey(atom.form)
    const known = bounds.get(key)
    if (!known || known.form.constant < atom.form.constant) bounds.set(key, atom)
  }
  for (const { form } of bounds.values()) {
    const opposite = bounds.get(formKey(scaleForm(form, -1)))
    // form <= 0 and opposite <= 0 sum to their constants, which must then not be positive.
    if (opposite && opposite.form.constant + form.constant > 0) return []
  }
  for (const { test } of others.values() as Iterable<Atom & { kind: 'other' }>) {
    if (test.op === 'not' && others.has(test.src[0]!)) return []
  }
  return [[...bounds.values(), ...others.values()]]
}

/** True if every pair of `a` is one of `b`. */
function implies(a: Term, b: Term): boolean {
  return b.every((atom) =>
    a.some((have) =>
      atom.kind === 'other'
        ? have.kind === 'other' && have.test === atom.test
        : have.kind === 'le' &&
          formKey(have.form) === formKey(atom.form) &&
          have.form.constant >= atom.form.constant,
    ),
  )
}

function prune(terms: Term[]): Term[] {
  return terms.filter((t, i) => !terms.some((u, j) => i !== j && implies(t, u) && !(implies(u, t) && i < j)))
}

/** An atom as an expression again. */
export const atomExpr = (ir: Ir, atom: Atom): Expr =>
  atom.kind === 'other' ? atom.test : ir.make('le', [fromAffine(ir, atom.form), ir.int(0)])

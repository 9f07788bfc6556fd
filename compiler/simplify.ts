/** The rewrite rules, grouped by op, and simplify(): an expression in, a shorter one of the same value out. */

import { addForms, affineOf, constantForm, fromAffine, scaleForm, type Affine } from './affine.ts'
import { Bounds, isLeaf, type Leaves } from './interval.ts'
import { type Expr, type Ir } from './ir.ts'
import { OPS, type Op, type Value } from './ops.ts'
import type { PatternIr } from './plan.ts'
import { alwaysLe, leastOf } from './prove.ts'
import { Rewriter, type Rule, type Trace } from './rewrite.ts'

const isInt = (e: Expr, value: number): boolean => e.op === 'const' && e.type === 'i32' && e.arg === value
const isBool = (e: Expr, value: boolean): boolean => e.op === 'const' && e.arg === value

const fold = (op: Op): Rule<Bounds> => ({
  name: 'fold-constants',
  op,
  apply: (e, ir) => {
    if (!e.src.every((s) => s.op === 'const')) return undefined
    const value = (OPS[op].eval as (...args: Value[]) => Value)(...e.src.map((s) => s.arg as Value))
    if (typeof value === 'boolean') return ir.bool(value, e.span)
    if (e.type === 'f32') return Number.isFinite(value) ? ir.float(value, e.span) : undefined
    return Number.isInteger(value) && Math.abs(value) < 2 ** 31 ? ir.int(value, e.span) : undefined
  },
})

/** Sums of integers in canonical form; `x - mod(x, m)` becomes alignDown(x, m) where that cancels x. */
const sum = (op: Op): Rule<Bounds> => ({
  name: 'affine',
  op,
  apply: (e, ir) => {
    if (e.type !== 'i32') return undefined
    let form = affineOf(e)
    for (const [term, c] of form.terms) {
      if (term.op !== 'mod') continue
      const [x, m] = term.src as [Expr, Expr]
      const whole = addForms(form, scaleForm(affineOf(x), c), 1)
      const without = addForms(whole, { constant: 0, terms: new Map([[term, -c]]) })
      const aligned = addForms(without, { constant: 0, terms: new Map([[ir.make('alignDown', [x, m]), -c]]) })
      if (aligned.terms.size < form.terms.size) form = aligned
    }
    return fromAffine(ir, form)
  },
})

const compare = (op: 'lt' | 'le' | 'eq'): Rule<Bounds>[] => [
  {
    name: 'compare-known',
    op,
    apply: (e, ir, bounds) => {
      const [a, b] = e.src as [Expr, Expr]
      if (a.type !== 'i32') return undefined
      if (op === 'eq') {
        const difference = addForms(affineOf(a), affineOf(b), -1)
        if (difference.terms.size === 0) return ir.bool(difference.constant === 0, e.span)
        const apart = leastOf(difference, bounds) > 0 || leastOf(scaleForm(difference, -1), bounds) > 0
        return apart ? ir.bool(false, e.span) : undefined
      }
      const gap = op === 'lt' ? 1 : 0
      const difference = addForms(addForms(affineOf(b), affineOf(a), -1), constantForm(-gap))
      if (leastOf(difference, bounds) >= 0) return ir.bool(true, e.span)
      // not (a <= b) is b - a <= -1
      return leastOf(addForms(scaleForm(difference, -1), constantForm(-1)), bounds) >= 0
        ? ir.bool(false, e.span)
        : undefined
    },
  },
  {
    name: 'cancel-terms',
    op,
    apply: (e, ir, bounds) => {
      const [a, b] = e.src as [Expr, Expr]
      if (a.type !== 'i32') return undefined
      const [left, right] = [affineOf(a), affineOf(b)]
      const shared = [...left.terms.keys()].some((t) => right.terms.has(t))
      const constants =
        left.constant !== 0 && right.constant !== 0 && left.terms.size > 0 && right.terms.size > 0
      if (!shared && !constants) return undefined
      // Each term goes to the side where its coefficient is positive.
      const difference = addForms(right, left, -1)
      const part = (sign: number): Affine => ({
        constant: Math.max(0, sign * difference.constant),
        terms: new Map(
          [...difference.terms].filter(([, c]) => sign * c > 0).map(([t, c]) => [t, Math.abs(c)]),
        ),
      })
      const apart = ir.make(op, [fromAffine(ir, part(-1)), fromAffine(ir, part(1))], e.span)
      // `kv - x < x` fits where `kv < 2 * x` may not.
      return bounds.fits(apart) ? apart : undefined
    },
  },
]

/** min and max: the smaller or larger side where that is known. */
const extreme = (op: 'min' | 'max'): Rule<Bounds>[] => [
  {
    name: 'extreme-known',
    op,
    apply: (e, _ir, bounds) => {
      const [a, b] = e.src as [Expr, Expr]
      if (e.type !== 'i32') return a === b ? a : undefined
      if (alwaysLe(a, b, bounds)) return op === 'min' ? a : b
      if (alwaysLe(b, a, bounds)) return op === 'min' ? b : a
      return undefined
    },
  },
  {
    name: 'extreme-absorbed',
    op,
    apply: (e, _ir) => {
      const [a, b] = e.src as [Expr, Expr]
      if (a.op === op && a.src.includes(b)) return a
      if (b.op === op && b.src.includes(a)) return b
      return undefined
    },
  },
]

const connective = (op: 'and' | 'or'): Rule<Bounds>[] => {
  const neutral = op === 'and'
  return [
    {
      name: 'connective-constants',
      op,
      apply: (e, ir) => {
        const [a, b] = e.src as [Expr, Expr]
        if (isBool(a, neutral) || a === b) return b
        if (isBool(b, neutral)) return a
        return isBool(a, !neutral) || isBool(b, !neutral) ? ir.bool(!neutral, e.span) : undefined
      },
    },
    {
      name: 'connective-absorbed',
      op,
      apply: (e) => {
        const [a, b] = e.src as [Expr, Expr]
        const other = op === 'and' ? 'or' : 'and'
        if (a.op === op && a.src.includes(b)) return a
        if (b.op === op && b.src.includes(a)) return b
        if (a.op === other && a.src.includes(b)) return b
        return b.op === other && b.src.includes(a) ? a : undefined
      },
    },
  ]
}

const rule = (name: string, op: Op, apply: Rule<Bounds>['apply']): Rule<Bounds> => ({ name, op, apply })

export const RULES: readonly Rule<Bounds>[] = [
  ...(Object.keys(OPS) as Op[]).filter((op) => OPS[op].types.length > 0).map(fold),

  sum('add'),
  sum('sub'),
  sum('neg'),
  rule('mul-by-constant', 'mul', (e, ir) => {
    const [a, b] = e.src as [Expr, Expr]
    if (e.type !== 'i32') return undefined
    if (isInt(a, 0) || isInt(b, 0)) return ir.int(0, e.span)
    if (isInt(a, 1)) return b
    if (isInt(b, 1)) return a
    const form = affineOf(e)
    return form.terms.has(e) ? undefined : fromAffine(ir, form)
  }),
  rule('multiple-of-quotient', 'mul', (e, ir) => {
    const [a, b] = e.src as [Expr, Expr]
    if (a.op === 'floorDiv' && a.src[1] === b) return ir.make('alignDown', a.src, e.span)
    return b.op === 'floorDiv' && b.src[1] === a ? ir.make('alignDown', b.src, e.span) : undefined
  }),
  ...extreme('min'),
  ...extreme('max'),
  rule('abs-known', 'abs', (e, ir, bounds) => {
    const [lo, hi] = bounds.numeric(e.src[0]!)
    return lo >= 0 ? e.src[0] : hi <= 0 ? ir.make('neg', e.src, e.span) : undefined
  }),

  rule('divide-by-one', 'floorDiv', (e) => (isInt(e.src[1]!, 1) ? e.src[0] : undefined)),
  rule('quotient-of-one-block', 'floorDiv', (e, ir, bounds) => {
    const [lo, hi] = bounds.numeric(e.src[0]!)
    const least = bounds.numeric(e.src[1]!)[0]
    return lo >= 0 && hi < least ? ir.int(0, e.span) : undefined
  }),
  rule('quotient-of-quotient', 'floorDiv', (e, ir) => {
    const [a, m] = e.src as [Expr, Expr]
    const n = a.op === 'floorDiv' ? a.src[1] : undefined
    if (n?.op !== 'const' || m.op !== 'const') return undefined
    const both = (n.arg as number) * (m.arg as number)
    return both < 2 ** 31 ? ir.make('floorDiv', [a.src[0]!, ir.int(both)], e.span) : undefined
  }),
  rule('mod-one', 'mod', (e, ir) => (isInt(e.src[1]!, 1) ? ir.int(0, e.span) : undefined)),
  rule('mod-of-small', 'mod', (e, _ir, bounds) => {
    const [lo, hi] = bounds.numeric(e.src[0]!)
    return lo >= 0 && hi < bounds.numeric(e.src[1]!)[0] ? e.src[0] : undefined
  }),
  rule('align-to-one', 'alignDown', (e) => (isInt(e.src[1]!, 1) ? e.src[0] : undefined)),
  rule('remainder-of-positive', 'rem', (e, ir, bounds) =>
    bounds.numeric(e.src[0]!)[0] >= 0 && bounds.numeric(e.src[1]!)[0] > 0
      ? ir.make('mod', e.src, e.span)
      : undefined,
  ),
  rule('shift-is-quotient', 'shr', (e, ir) =>
    e.src[1]!.op === 'const' && (e.src[1]!.arg as number) < 31
      ? ir.make('floorDiv', [e.src[0]!, ir.int(2 ** (e.src[1]!.arg as number))], e.span)
      : undefined,
  ),
  rule('shift-is-product', 'shl', (e, ir) =>
    e.src[1]!.op === 'const' && (e.src[1]!.arg as number) < 31
      ? ir.make('mul', [e.src[0]!, ir.int(2 ** (e.src[1]!.arg as number))], e.span)
      : undefined,
  ),
  rule('mask-is-remainder', 'bitAnd', (e, ir) => {
    const [a, b] = e.src as [Expr, Expr]
    const [x, m] = b.op === 'const' ? [a, b.arg as number] : a.op === 'const' ? [b, a.arg as number] : [a, -1]
    return m > 0 && (m & (m + 1)) === 0 && m < 2 ** 30
      ? ir.make('mod', [x, ir.int(m + 1)], e.span)
      : undefined
  }),

  ...compare('lt'),
  ...compare('le'),
  ...compare('eq'),
  rule('same-residue', 'eq', (e, ir, bounds) => {
    const [a, b] = e.src as [Expr, Expr]
    if (a.op !== 'mod' || b.op !== 'mod' || a.src[1] !== b.src[1]) return undefined
    const difference = ir.make('sub', [a.src[0]!, b.src[0]!])
    return bounds.fits(difference)
      ? ir.make('eq', [ir.make('mod', [difference, a.src[1]!]), ir.int(0)], e.span)
      : undefined
  }),
  rule('eq-of-one-float', 'eq', (e, ir) =>
    e.src[0] === e.src[1] && e.src[0]!.op === 'const' ? ir.bool(true) : undefined,
  ),

  rule('not-not', 'not', (e) => (e.src[0]!.op === 'not' ? e.src[0]!.src[0] : undefined)),
  rule('not-compare', 'not', (e, ir) => {
    const [x] = e.src as [Expr]
    // A float comparison with NaN is false both ways, so only integers turn around.
    if ((x.op !== 'lt' && x.op !== 'le') || x.src[0]!.type !== 'i32') return undefined
    return ir.make(x.op === 'lt' ? 'le' : 'lt', [x.src[1]!, x.src[0]!], x.span)
  }),
  ...connective('and'),
  ...connective('or'),
  rule('select-known', 'select', (e) => {
    const [c, a, b] = e.src as [Expr, Expr, Expr]
    return a === b || isBool(c, true) ? a : isBool(c, false) ? b : undefined
  }),
]

/** A simplifier for the expressions of one pattern. */
export function simplifier(ir: Ir, pattern: Leaves, trace?: Trace): (e: Expr) => Expr {
  const rewriter = new Rewriter(ir, RULES, new Bounds(pattern), trace)
  return (e) => (isLeaf(e) && e.src.length === 0 ? e : rewriter.rewrite(e))
}

export function simplifyPattern(ir: Ir, pattern: PatternIr, trace?: Trace): PatternIr {
  const simplify = simplifier(ir, pattern, trace)
  return {
    ...pattern,
    mask: simplify(pattern.mask),
    score: pattern.score && simplify(pattern.score),
    sinkLogit: pattern.sinkLogit && simplify(pattern.sinkLogit),
    derived: pattern.derived.map((d) => ({ ...d, value: simplify(d.value) })),
  }
}

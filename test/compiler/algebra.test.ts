/** The compiler's integer algebra: affine forms, solving for a position, the prover, intervals and rewriting. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { affineOf, fromAffine } from '../../compiler/affine.ts'
import { Bounds, intervalOf, NUMBERS } from '../../compiler/interval.ts'
import { evaluate, Ir, printExpr, type Environment, type Expr } from '../../compiler/ir.ts'
import type { ParamInfo } from '../../compiler/plan.ts'
import { alwaysLe } from '../../compiler/prove.ts'
import { simplifier } from '../../compiler/simplify.ts'
import { solveFor } from '../../compiler/solve.ts'
import { termsOf } from '../../compiler/terms.ts'

const ir = new Ir()
const [q, kv, qLo, qHi] = [ir.var('q'), ir.var('kv'), ir.var('qLo'), ir.var('qHi')]
const w = ir.param('w', 'i32')
const params: ParamInfo[] = [{ name: 'w', type: 'i32', default: 4, min: 1, max: 1000, perHead: false }]
const bounds = new Bounds({ params, tables: [] })
const simplify = simplifier(ir, { params, tables: [] })
const op = (name: Parameters<Ir['make']>[0], ...src: Expr[]) => ir.make(name, src)
const n = (value: number) => ir.int(value)

const at = (values: Partial<Record<string, number>>): Environment => ({
  var: (name) => values[name] ?? 0,
  param: (name) => values[name] ?? 0,
  derived: () => 0,
  load: () => 0,
})

/** Sums of q, kv, w and constants under quotients, remainders and extremes; small, so nothing overflows. */
const integers: fc.Arbitrary<Expr> = fc.letrec<{ e: Expr }>((tie) => ({
  e: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(q, kv, w, n(0), n(1), n(3), n(-2)),
    fc
      .tuple(fc.constantFrom('add', 'sub', 'min', 'max'), tie('e'), tie('e'))
      .map(([o, a, b]) => op(o as 'add', a, b)),
    fc
      .tuple(fc.constantFrom('floorDiv', 'mod', 'alignDown'), tie('e'), fc.constantFrom(w, n(1), n(4), n(7)))
      .map(([o, a, b]) => op(o as 'mod', a, b)),
    fc.tuple(fc.constantFrom('neg', 'abs'), tie('e')).map(([o, a]) => op(o as 'neg', a)),
    tie('e').map((a) => op('mul', a, n(3))),
  ),
})).e

const point = fc.record({
  q: fc.integer({ min: -20, max: 60 }),
  kv: fc.integer({ min: 0, max: 60 }),
  w: fc.integer({ min: 1, max: 20 }),
})

describe('affine forms', () => {
  it('cancel what is correlated', () => {
    const e = op('sub', op('add', q, kv), op('add', kv, n(3)))
    expect(printExpr(fromAffine(ir, affineOf(e)))).toBe('sub(q, 3)')
  })

  it('keep the value', () => {
    fc.assert(
      fc.property(integers, point, (e, p) => {
        expect(evaluate(fromAffine(ir, affineOf(e)), at(p))).toBe((evaluate(e, at(p)) as number) + 0)
      }),
    )
  })
})

describe('rewriting', () => {
  const bools = fc.oneof(
    fc.tuple(fc.constantFrom('le', 'lt', 'eq'), integers, integers).map(([o, a, b]) => op(o as 'le', a, b)),
    fc
      .tuple(integers, integers)
      .map(([a, b]) => op('not', op('and', op('le', a, b), op('not', op('eq', a, b))))),
  )

  it('keeps the value', () => {
    fc.assert(
      fc.property(fc.oneof(integers, bools), point, (e, p) => {
        const env = at({ ...p, kvLen: 61 })
        expect(evaluate(simplify(e), env)).toEqual(evaluate(e, env))
      }),
      { numRuns: 500 },
    )
  })

  it.each([
    [op('le', op('sub', q, kv), op('sub', q, n(3))), 'le(3, kv)'],
    [op('eq', op('mod', q, w), op('mod', kv, w)), 'eq(mod(sub(q, kv), $w), 0)'],
    [op('sub', q, op('mod', q, w)), 'alignDown(q, $w)'],
    [op('mul', w, op('floorDiv', q, w)), 'alignDown(q, $w)'],
    [op('min', qLo, qHi), 'qLo'],
    [op('max', op('floorDiv', qLo, w), op('floorDiv', qHi, w)), 'floorDiv(qHi, $w)'],
    [op('le', w, n(0)), 'false'],
    [op('not', op('lt', q, kv)), 'le(kv, q)'],
    [op('bitAnd', q, n(63)), 'mod(q, 64)'],
    [op('floorDiv', op('floorDiv', q, n(4)), n(8)), 'floorDiv(q, 32)'],
  ])('makes the short form (%#)', (e, text) => expect(printExpr(simplify(e))).toBe(text))
})

describe('intervals', () => {
  it('hold every value', () => {
    const box = fc.tuple(point, fc.nat(12), fc.nat(12))
    fc.assert(
      fc.property(integers, box, fc.nat(), fc.nat(), (e, [p, dq, dk], i, j) => {
        const [lo, hi] = intervalOf(NUMBERS, e, (leaf) => {
          if (leaf.op === 'const') return [leaf.arg, leaf.arg]
          if (leaf === q) return [p.q, p.q + dq]
          return leaf === kv ? [p.kv, p.kv + dk] : [p.w, p.w]
        }) as [number, number]
        const value = evaluate(
          e,
          at({ q: p.q + (i % (dq + 1)), kv: p.kv + (j % (dk + 1)), w: p.w }),
        ) as number
        expect(lo).toBeLessThanOrEqual(value)
        expect(hi).toBeGreaterThanOrEqual(value)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('the prover', () => {
  it('is right when it says a <= b', () => {
    fc.assert(
      fc.property(integers, integers, point, (a, b, p) => {
        if (!alwaysLe(a, b, bounds)) return
        const env = at({ ...p, kvLen: 61 })
        expect(evaluate(a, env) as number).toBeLessThanOrEqual(evaluate(b, env) as number)
      }),
      { numRuns: 1000 },
    )
  })

  it('sees through min, max and quotients', () => {
    expect(alwaysLe(op('min', qLo, w), op('max', qHi, kv), bounds)).toBe(true)
    expect(alwaysLe(op('floorDiv', qLo, w), op('floorDiv', op('max', qHi, kv), w), bounds)).toBe(true)
    expect(alwaysLe(qHi, qLo, bounds)).toBe(false)
  })
})

describe('solving for a position', () => {
  it('gives exactly the values that satisfy the comparison', () => {
    fc.assert(
      fc.property(integers, point, (e, p) => {
        const form = affineOf(e)
        const bound = solveFor(ir, form, 'kv')
        if (!bound) return
        const limit = evaluate(bound.value, at(p)) as number
        for (let k = 0; k < 70; k++) {
          const holds = (evaluate(e, at({ ...p, kv: k })) as number) <= 0
          expect(holds, `kv ${k}`).toBe(bound.side === 'upper' ? k <= limit : k >= limit)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the disjunctive form', () => {
  it('has the value of the mask', () => {
    const mask = op(
      'and',
      op('le', kv, q),
      op('or', op('lt', op('sub', q, kv), w), op('eq', op('mod', kv, w), n(0))),
    )
    for (const positive of [true, false]) {
      const terms = termsOf(
        ir,
        positive ? mask : op('not', mask),
        (form) => solveFor(ir, form, 'kv') !== null,
      )!
      for (let i = 0; i < 20; i++)
        for (let j = 0; j < 20; j++) {
          const env = at({ q: i, kv: j, w: 5 })
          const some = terms.some((t) =>
            t.every((a) => evaluate(a.kind === 'le' ? op('le', fromAffine(ir, a.form), n(0)) : a.test, env)),
          )
          expect(some).toBe(evaluate(mask, env) === positive)
        }
    }
  })
})

/** Whether a value scales with a variable: never said of what does not, and said of what indexers make of a product. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { scalesWith } from '../../compiler/homogeneous.ts'
import { evaluate, Ir, printExpr, type Environment, type Expr } from '../../compiler/ir.ts'

const ir = new Ir()
const s = ir.var('s')
const slope = ir.param('slope', 'f32')
const zero = ir.float(0)
const op = (name: Parameters<Ir['make']>[0], ...src: Expr[]) => ir.make(name, src)

const floats: fc.Arbitrary<Expr> = fc.letrec<{ e: Expr; test: Expr }>((tie) => ({
  e: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(s, s, slope, zero, ir.float(1), ir.float(-3)),
    fc
      .tuple(fc.constantFrom('add', 'sub', 'min', 'max', 'mul', 'div'), tie('e'), tie('e'))
      .map(([o, a, b]) => op(o as 'add', a, b)),
    fc.tuple(fc.constantFrom('neg', 'abs', 'floor'), tie('e')).map(([o, a]) => op(o as 'neg', a)),
    fc.tuple(tie('test'), tie('e'), tie('e')).map(([c, a, b]) => op('select', c, a, b)),
  ),
  test: fc
    .tuple(fc.constantFrom('lt', 'le', 'eq'), tie('e'), tie('e'))
    .map(([o, a, b]) => op(o as 'lt', a, b)),
})).e

const at = (value: number, slopeValue: number): Environment => ({
  var: () => value,
  param: () => slopeValue,
  derived: () => 0,
  load: () => 0,
})

test('what is said to scale does', () => {
  let told = 0
  // Factors of two round nothing.
  const factors = fc.constantFrom(0, 0.25, 1, 2, 64)
  const values = fc.integer({ min: -9, max: 9 })
  fc.assert(
    fc.property(floats, factors, values, values, (e, factor, value, slopeValue) => {
      if (!scalesWith(e, 's')) return
      told++
      const once = evaluate(e, at(value, slopeValue)) as number
      const scaled = evaluate(e, at(factor * value, slopeValue)) as number
      if (!Number.isFinite(once) || !Number.isFinite(scaled)) return
      expect(scaled, printExpr(e)).toBeCloseTo(factor * once, 9)
    }),
    { numRuns: 3000 },
  )
  expect(told).toBeGreaterThan(200)
})

test.each<[Expr, boolean]>([
  [op('mul', slope, op('max', s, zero)), true],
  [op('select', op('lt', s, zero), op('mul', ir.float(0.1), s), s), true],
  [op('abs', op('div', s, slope)), true],
  [op('max', s, ir.float(1)), false],
  [op('mul', s, s), false],
  [op('add', s, slope), false],
  [op('exp', s), false],
])('%#', (e, scales) => expect(scalesWith(e, 's'), printExpr(e)).toBe(scales))

/** The laws of the compiler's expressions, on random ones: rewriting keeps values, values lie in their intervals. */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Bounds } from '../compiler/interval.ts'
import {
  evaluate,
  Ir,
  nodesOf,
  printExpr,
  type Environment,
  type Expr,
  type VarName,
} from '../compiler/ir.ts'
import { OPS, type Op, type Scalar, type Value } from '../compiler/ops.ts'
import { simplifier } from '../compiler/simplify.ts'
import { findTiles, tileClass } from '../compiler/tiles.ts'
import { arbitrary, readable } from '../runtime/testing/arbitraries.ts'
import { Draw } from '../runtime/testing/draw.ts'
import { PATTERNS } from '../patterns/index.ts'
import { compiled } from './helpers.ts'
import { differenceOfStages } from './program-check.ts'
import { drawEnvironment, drawExpr, LEAVES } from './exprs.ts'

const RUNS = Number(process.env.RUNS ?? 3000)

const drawn = (type: Scalar) =>
  arbitrary(fc, (d) => {
    const ir = new Ir()
    const depth = d.int(1, 5)
    const e = drawExpr(d, ir, type, depth)
    const env = drawEnvironment(d)
    return readable({ ir, e, env }, () => `${printExpr(e)}\n  where ${env.text}`)
  })

/** -0 is 0 on both sides of every kernel; a NaN equals itself here. */
const sameValue = (a: Value, b: Value): boolean => a === b || (Number.isNaN(a) && Number.isNaN(b))

const closeTo = (a: Value, b: Value): boolean =>
  sameValue(a, b) ||
  (typeof a === 'number' &&
    typeof b === 'number' &&
    Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b)))

describe.each<Scalar>(['i32', 'bool', 'f32'])('a random %s expression', (type) => {
  test('simplify keeps its value', () => {
    fc.assert(
      fc.property(drawn(type), ({ ir, e, env }) => {
        const simple = simplifier(ir, LEAVES)(e)
        const same = type === 'f32' ? closeTo : sameValue
        const [want, got] = [evaluate(e, env), evaluate(simple, env)]
        if (!same(want, got)) throw new Error(`${printExpr(simple)} is ${got}, not ${want}`)
      }),
      { numRuns: RUNS },
    )
  })

  test('every value lies in its interval', () => {
    fc.assert(
      fc.property(drawn(type), ({ e, env }) => {
        const bounds = new Bounds(LEAVES)
        // A float expression may divide by zero; nothing is promised of what reads a NaN.
        const lost = new Set<Expr>()
        for (const node of nodesOf(e)) {
          const value = evaluate(node, env)
          if (Number.isNaN(value) || node.src.some((s) => lost.has(s))) lost.add(node)
          else checkInside(node, value, bounds)
        }
      }),
      { numRuns: RUNS },
    )
  })

  test('what simplify makes has the same value where int32 wraps', () => {
    fc.assert(
      fc.property(drawn(type), ({ ir, e, env }) => {
        const simple = simplifier(ir, LEAVES)(e)
        const [want, got] = [evaluate(e, env), evaluateWrapped(simple, env)]
        const same = type === 'f32' ? closeTo : sameValue
        if (!same(want, got)) throw new Error(`${printExpr(simple)} is ${got} in int32, not ${want}`)
      }),
      { numRuns: RUNS },
    )
  })
})

/** As a kernel computes: every integer operation wraps. */
function evaluateWrapped(root: Expr, env: Environment): Value {
  const values = new Map<Expr, Value>()
  for (const e of nodesOf(root)) {
    const src = e.src.map((s) => values.get(s)!)
    const leaf = OPS[e.op].types.length === 0
    const indexed = { ...env, load: (table: string) => env.load(table, src as number[]) }
    const value =
      e.op === 'pick'
        ? e.arg[src[0] as number]!
        : leaf
          ? evaluate(e, indexed)
          : e.op === 'mul' && e.type === 'i32'
            ? Math.imul(src[0] as number, src[1] as number)
            : (OPS[e.op].eval as (...args: Value[]) => Value)(...src)
    values.set(e, e.type === 'i32' ? (value as number) | 0 : value)
  }
  return values.get(root)!
}

function checkInside(node: Expr, value: Value, bounds: Bounds): void {
  const where = () => `${printExpr(node)} is ${value}, its interval is [${bounds.of(node).join(', ')}]`
  if (typeof value === 'boolean') {
    const [sure, possible] = bounds.of(node) as readonly [boolean, boolean]
    if ((sure && !value) || (!possible && value)) throw new Error(where())
    return
  }
  const [lo, hi] = bounds.numeric(node)
  if (value < lo || value > hi) throw new Error(where())
}

/** A query tile and a kv tile of a call, whole or cut off by the end of the keys. */
function drawTile(d: Draw) {
  const kvLen = d.int(1, 70)
  const kvLo = d.int(0, kvLen - 1)
  const qLo = d.smallInt(-8, 90)
  return { kvLen, kvLo, kvHi: Math.min(kvLen - 1, kvLo + d.int(0, 9)), qLo, qHi: qLo + d.int(0, 9) }
}

test('the class of a tile is sound: empty tiles keep no pair, full ones keep all', () => {
  const masks = arbitrary(fc, (d) => {
    const ir = new Ir()
    const mask = drawExpr(d, ir, 'bool', d.int(1, 4), { floats: false })
    const env = drawEnvironment(d)
    const tiles = d.list(4, () => drawTile(d))
    return readable(
      { ir, mask, env, tiles },
      () => `${printExpr(mask)}\n  where ${env.text}\n  tiles ${JSON.stringify(tiles)}`,
    )
  })
  fc.assert(
    fc.property(masks, ({ ir, mask, env, tiles }) => {
      const simple = simplifier(ir, LEAVES)(mask)
      const found = findTiles(ir, {
        ...LEAVES,
        name: 'random',
        cite: '',
        consts: {},
        derived: [],
        mask: simple,
        score: null,
        sinkLogit: null,
      })
      for (const tile of tiles) {
        const at = (more: Partial<Record<VarName, number>>): Environment => ({
          ...env,
          var: (name) => more[name] ?? (tile as Partial<Record<VarName, number>>)[name] ?? env.var(name),
        })
        const kind = tileClass(found.tiles, at({}))
        for (let q = tile.qLo; q <= tile.qHi; q++) {
          for (let kv = tile.kvLo; kv <= tile.kvHi; kv++) {
            const kept = evaluate(mask, at({ q, kv }))
            if (kept === (kind === 'empty') && kind !== 'partial') {
              throw new Error(
                `${kind} tile ${JSON.stringify(tile)}, but (q ${q}, kv ${kv}) is ${kept ? 'kept' : 'dropped'}`,
              )
            }
          }
        }
      }
    }),
    { numRuns: RUNS },
  )
})

describe.each(PATTERNS.map(({ pattern }) => [pattern.name, pattern] as const))('%s', (_, pattern) => {
  test('run as TypeScript it equals its expressions, and the classes of its tiles are sound', () => {
    const form = compiled(pattern)
    for (let seed = 1; seed <= 25; seed++) expect(differenceOfStages(pattern, form, seed)).toBeNull()
  })
})

test('random expressions draw every op that has a row', () => {
  const seen = new Set<Op>()
  for (let seed = 0; seed < 4000; seed++) {
    const d = Draw.fromSeed(seed)
    const e = drawExpr(d, new Ir(), d.pick(['i32', 'bool', 'f32']), 4)
    for (const node of nodesOf(e)) seen.add(node.op)
  }
  expect([...seen].toSorted()).toEqual((Object.keys(OPS) as Op[]).toSorted())
})

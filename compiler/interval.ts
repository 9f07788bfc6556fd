/** Intervals of expressions, computed by the op table's rows: in numbers for proofs, in expressions for tile bounds. */

import { nodesOf, type Expr, type Ir } from './ir.ts'
import { OPS, type Domain, type OpRow, type Range, type Value } from './ops.ts'
import type { PatternIr } from './plan.ts'
import { VARS } from './vars.ts'

/** What an i32 param, table or derived uniform may hold when its declaration does not say. */
export const WIDEST = 2 ** 30

export const NUMBERS: Domain<Value> = {
  num: (n) => n,
  apply: (op, ...args) => (OPS[op].eval as (...args: Value[]) => Value)(...args),
  same: (a, b) => a === b,
}

export const expressions = (ir: Ir): Domain<Expr> => ({
  num: (n) => ir.int(n),
  apply: (op, ...args) => ir.make(op, args),
  same: (a, b) => a === b,
})

/** The bounds of a leaf; a load or pick gets the ranges of its indices. */
export type LeafRange<T> = (leaf: Expr, indices: readonly Range<T>[]) => Range<T>

/** Applies each node's interval row, bottom-up. `memo` may answer for any node before its row is asked. */
export function intervalOf<T>(
  d: Domain<T>,
  root: Expr,
  leaf: LeafRange<T>,
  memo: Map<Expr, Range<T>> = new Map(),
): Range<T> {
  const found = memo.get(root)
  if (found) return found
  const src = root.src.map((s) => intervalOf(d, s, leaf, memo))
  const row: OpRow = OPS[root.op]
  const [lo, hi] = isLeaf(root) ? leaf(root, src) : row.range(d, ...src)
  const made = [known(lo, -Infinity), known(hi, Infinity)] as const
  memo.set(root, made)
  return made
}

/** A float row may meet inf - inf or 0 * inf: nothing is known of such an end. */
const known = <T>(end: T, otherwise: number): T => (Number.isNaN(end) ? (otherwise as T) : end)

export const isLeaf = (e: Expr): boolean =>
  e.op === 'const' ||
  e.op === 'var' ||
  e.op === 'param' ||
  e.op === 'derived' ||
  e.op === 'load' ||
  e.op === 'pick'

/** What is declared of a pattern's leaves. */
export type Leaves = Pick<PatternIr, 'params' | 'tables'> & Partial<Pick<PatternIr, 'derived'>>

/** Bounds of a pattern's leaves in plain numbers: lengths up to LONGEST, params and tables as declared. */
export function declaredBounds(pattern: Leaves): LeafRange<Value> {
  const derived = new Map(pattern.derived?.map((d) => [d.name, d.value]))
  const params = new Map(pattern.params.map((p) => [p.name, [p.min, p.max] as const]))
  const tables = new Map(pattern.tables.map((t) => [t.name, [t.min, t.max] as const]))
  return (e, indices) => {
    switch (e.op) {
      case 'const':
        return [e.arg, e.arg]
      case 'var':
        return VARS[e.arg].range
      case 'param':
        return params.get(e.arg) ?? unknown(e)
      case 'derived': {
        // Lowering clamps a derived integer to WIDEST, so both bounds hold.
        const [least, most] = unknown(e)
        const value = derived.get(e.arg)
        if (!value) return [least, most]
        const [lo, hi] = intervalOf(
          NUMBERS,
          value,
          declaredBounds({ ...pattern, derived: [] }),
        ) as Range<number>
        return [Math.max(lo, least), Math.min(hi, most)]
      }
      case 'load': {
        // Out of range reads give 0.
        const [lo, hi] = tables.get(e.arg) ?? unknown(e)
        return [Math.min(lo, 0), Math.max(hi, 0)]
      }
      case 'pick': {
        const [lo, hi] = indices[0]! as Range<number>
        const inside = e.arg.slice(Math.max(0, lo), Math.max(0, hi + 1))
        const values = inside.length > 0 ? inside : e.arg
        return [Math.min(...values), Math.max(...values)]
      }
      default:
        throw new Error(`${e.op} is not a leaf`)
    }
  }
}

const unknown = (e: Expr): Range<number> => (e.type === 'f32' ? [-Infinity, Infinity] : [-WIDEST, WIDEST])

/** Numeric ranges of a pattern's expressions, each computed once. */
export class Bounds {
  readonly #memo = new Map<Expr, Range<Value>>()
  readonly #leaf: LeafRange<Value>

  constructor(pattern: Leaves) {
    this.#leaf = declaredBounds(pattern)
  }

  of(e: Expr): Range<Value> {
    return intervalOf(NUMBERS, e, this.#leaf, this.#memo)
  }

  numeric(e: Expr): Range<number> {
    const [lo, hi] = this.of(e)
    return [Number(lo), Number(hi)]
  }

  /** True if no i32 in the expression can leave int32. */
  fits(e: Expr): boolean {
    return nodesOf(e).every((n) => n.type !== 'i32' || isInt32(this.numeric(n)))
  }
}

export const isInt32 = ([lo, hi]: Range<number>): boolean => lo >= -(2 ** 31) && hi <= 2 ** 31 - 1

/** Applies rule rows to an expression, bottom-up, until none fires; each firing can be traced by name. */

import type { Expr, Ir } from './ir.ts'
import type { Op } from './ops.ts'

export interface Rule<Context> {
  readonly name: string
  readonly op: Op
  /** The better expression of the same value, or undefined where the rule does not apply. */
  readonly apply: (e: Expr, ir: Ir, context: Context) => Expr | undefined
}

export type Trace = (rule: string, before: Expr, after: Expr) => void

/** A rule that only swaps a form for itself would never end; no expression of an author needs this many steps. */
const MOST_STEPS = 1000

export class Rewriter<Context> {
  readonly #rules = new Map<Op, Rule<Context>[]>()
  readonly #done = new Map<Expr, Expr>()
  readonly #ir: Ir
  readonly #context: Context
  readonly #trace: Trace | undefined

  constructor(ir: Ir, rules: readonly Rule<Context>[], context: Context, trace?: Trace) {
    this.#ir = ir
    this.#context = context
    this.#trace = trace
    for (const rule of rules) this.#rules.set(rule.op, [...(this.#rules.get(rule.op) ?? []), rule])
  }

  rewrite(e: Expr): Expr {
    const known = this.#done.get(e)
    if (known) return known
    let now = this.#ir.with(
      e,
      e.src.map((s) => this.rewrite(s)),
    )
    for (let steps = 0; ; steps++) {
      if (steps > MOST_STEPS) throw new Error(`rewriting does not end at ${now.op}`)
      const next = this.#step(now)
      if (!next) break
      // A rule may build from parts that were not rewritten yet.
      now = this.#ir.with(
        next,
        next.src.map((s) => this.rewrite(s)),
      )
    }
    this.#done.set(e, now)
    this.#done.set(now, now)
    return now
  }

  #step(e: Expr): Expr | undefined {
    for (const rule of this.#rules.get(e.op) ?? []) {
      const next = rule.apply(e, this.#ir, this.#context)
      if (next && next !== e) {
        this.#trace?.(rule.name, e, next)
        return next
      }
    }
    return undefined
  }
}

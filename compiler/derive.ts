/**
 * derive: a mask with floats in, the same mask over integers alone out, its floats as derived uniforms.
 *
 * A float that is free of q, kv and tables has one value per (batch, head), which the runtime computes in f64, as
 * JavaScript does. Where it meets an integer i in a comparison, the comparison becomes an exact one of integers:
 *   i < f  is  i < ceil(f)      i <= f  is  i <= floor(f)      f < i  is  floor(f) < i      f <= i  is  ceil(f) <= i
 *   i === f  is  i === floor(f)  and  floor(f) === f
 * A bound beyond every integer of the pattern is clamped to +-2^30, and to the side that makes the comparison false if it
 * is NaN. A comparison of floats alone becomes a flag, 1 or 0.
 */

import { isRounded, type Context } from './context.ts'
import { Bounds, WIDEST } from './interval.ts'
import { evaluate, nodesOf, type Environment, type Expr } from './ir.ts'
import { NOTES } from './messages.ts'
import type { DerivedInfo, ParamInfo, TableInfo } from './plan.ts'

type Comparison = 'lt' | 'le' | 'eq'

const CONSTANT: Environment = { var: never, param: never, derived: never, load: never }
function never(): never {
  throw new Error('a constant has no leaves')
}

export class Derivation {
  readonly list: DerivedInfo[] = []
  readonly #cx: Context
  readonly #bounds: Bounds
  readonly #taken: ReadonlySet<string>
  readonly #names = new Map<Expr, Expr>()
  readonly #free = new Map<Expr, boolean>()
  readonly #done = new Map<Expr, Expr>()

  constructor(
    cx: Context,
    params: readonly ParamInfo[],
    tables: readonly TableInfo[],
    consts: readonly string[],
  ) {
    this.#cx = cx
    this.#bounds = new Bounds({ params, tables })
    this.#taken = new Set([...consts, ...[...params, ...tables].map((n) => n.name)])
  }

  /** A boolean of a mask, without floats; unchanged where something was reported. */
  condition(e: Expr): Expr {
    return this.#once(e, () => {
      if (e.op === 'lt' || e.op === 'le' || e.op === 'eq') return this.#comparison(e.op, e)
      return this.#cx.ir.with(
        e,
        e.src.map((s) => (s.type === 'bool' ? this.condition(s) : this.#integer(s))),
      )
    })
  }

  /** An expression of a score: floats stay, integers made from floats become derived uniforms. */
  number(e: Expr): Expr {
    return this.#once(e, () =>
      e.op === 'toI32'
        ? this.#rounded(e, 'float-index')
        : this.#cx.ir.with(
            e,
            e.src.map((s) => this.number(s)),
          ),
    )
  }

  #once(e: Expr, make: () => Expr): Expr {
    const made = this.#done.get(e) ?? make()
    this.#done.set(e, made)
    return made
  }

  #integer(e: Expr): Expr {
    return this.#once(e, () => {
      if (e.op === 'toI32') return this.#rounded(e, 'float-in-mask')
      return this.#cx.ir.with(
        e,
        e.src.map((s) => (s.type === 'bool' ? this.condition(s) : this.#integer(s))),
      )
    })
  }

  #rounded(e: Expr, code: 'float-in-mask' | 'float-index'): Expr {
    const f = e.src[0]!
    if (!this.#isFree(f)) return this.#refuse(code, f, e)
    const [lo, hi] = this.#bounds.numeric(f)
    if (lo < -WIDEST || hi > WIDEST || !this.#isFinite(f)) {
      this.#cx.session.report(
        'derived-overflow',
        e.span,
        { term: textAt(e), range: `${lo} .. ${hi}` },
        this.#origin(e),
      )
      return e
    }
    return this.#derive(e)
  }

  #comparison(op: Comparison, e: Expr): Expr {
    const { ir } = this.#cx
    const [a, b] = e.src as readonly [Expr, Expr]
    if (a.type === 'f32') return this.#isFree(e) ? this.#flag(e) : this.#floats(op, a, b, e)
    const [fa, fb] = [this.#freeFloat(a), this.#freeFloat(b)]
    if (fa && fb) return this.#flag(ir.make(op, [fa, fb], e.span))
    if (fb) return this.#exact(op, a, fb, true, e)
    if (fa) return this.#exact(op, b, fa, false, e)
    return ir.with(e, [this.#integer(a), this.#integer(b)])
  }

  /** The float that was rounded to make this integer, if the host can compute it. */
  #freeFloat(e: Expr): Expr | null {
    return e.op === 'toI32' && this.#isFree(e.src[0]!) ? e.src[0]! : null
  }

  #floats(op: Comparison, a: Expr, b: Expr, e: Expr): Expr {
    const { ir } = this.#cx
    for (const [choice, build] of [
      [a, (x: Expr) => this.#floats(op, x, b, e)],
      [b, (x: Expr) => this.#floats(op, a, x, e)],
    ] as const) {
      if (choice.op !== 'select' || this.#isFree(choice)) continue
      const c = this.condition(choice.src[0]!)
      const [yes, no] = [build(choice.src[1]!), build(choice.src[2]!)]
      const picked = ir.make('and', [c, yes], e.span)
      return ir.make('or', [picked, ir.make('and', [ir.make('not', [c], e.span), no], e.span)], e.span)
    }
    if (this.#isFree(a) && this.#isFree(b)) return this.#flag(ir.make(op, [a, b], e.span))
    const [i, j] = [a.op === 'toF32' ? a.src[0]! : null, b.op === 'toF32' ? b.src[0]! : null]
    if (i && j) return ir.make(op, [this.#integer(i), this.#integer(j)], e.span)
    if (i && this.#isFree(b)) return this.#exact(op, i, b, true, e)
    if (j && this.#isFree(a)) return this.#exact(op, j, a, false, e)
    return this.#refuse('float-in-mask', i || this.#isFree(a) ? b : a, e)
  }

  #exact(op: Comparison, integer: Expr, f: Expr, integerFirst: boolean, e: Expr): Expr {
    const { ir } = this.#cx
    const i = this.#integer(integer)
    if (!this.#isFinite(f, WIDEST - 1)) {
      const [lo, hi] = this.#bounds.numeric(i)
      if (lo <= -WIDEST || hi >= WIDEST) {
        const bound = textAt(e.src[integerFirst ? 1 : 0]!)
        this.#cx.session.report(
          'compare-overflow',
          e.span,
          { term: textAt(integer), bound, range: `${lo} .. ${hi}` },
          this.#origin(e),
        )
        return e
      }
    }
    if (op === 'eq') {
      const whole = ir.make('eq', [this.#round('floor', f), f], e.span)
      const same = ir.make('eq', [i, this.#derive(this.#clamped(this.#round('floor', f), 'low'))], e.span)
      return isRounded(f) && this.#isFinite(f, WIDEST - 1)
        ? same
        : ir.make('and', [same, this.#flag(whole)], e.span)
    }
    // The side that is false for every integer, and the rounding that no integer lies between.
    const up = (op === 'lt') === integerFirst
    const bound = this.#derive(
      this.#clamped(this.#round(up ? 'ceil' : 'floor', f), integerFirst ? 'low' : 'high'),
    )
    return ir.make(op, integerFirst ? [i, bound] : [bound, i], e.span)
  }

  #round(op: 'floor' | 'ceil', f: Expr): Expr {
    return isRounded(f) ? f : this.#cx.ir.make(op, [f], f.span)
  }

  /** A whole float as i32 within +-2^30; NaN becomes the low or the high end. */
  #clamped(f: Expr, nan: 'low' | 'high'): Expr {
    const { ir } = this.#cx
    if (this.#isFinite(f, WIDEST - 1)) return ir.make('toI32', [f], f.span)
    const [low, high] = [ir.float(-WIDEST), ir.float(WIDEST)]
    // A comparison with NaN is false, so the last branch is where NaN ends.
    const [near, far] = nan === 'low' ? [high, low] : [low, high]
    const below = (x: Expr, y: Expr) => (nan === 'low' ? [x, y] : [y, x])
    const kept = ir.make('toI32', [ir.make(nan === 'low' ? 'max' : 'min', [f, far])], f.span)
    const ends = ir.make('select', [ir.make('le', below(near, f)), whole(near), whole(far)])
    return ir.make('select', [ir.make('lt', below(f, near)), kept, ends], f.span)

    function whole(x: Expr): Expr {
      return ir.int(x.arg as number)
    }
  }

  #flag(e: Expr): Expr {
    const { ir } = this.#cx
    const bit = this.#derive(ir.make('select', [e, ir.int(1), ir.int(0)], e.span))
    return bit.op === 'const' ? ir.bool(bit.arg === 1, e.span) : ir.make('eq', [bit, ir.int(1)], e.span)
  }

  /** The uniform that holds an i32 value; a constant is computed here. */
  #derive(value: Expr): Expr {
    const known = this.#names.get(value)
    if (known) return known
    const { ir } = this.#cx
    const spelled = this.#spell(value)
    let made: Expr
    if (nodesOf(value).every((n) => n.op !== 'var' && n.op !== 'param')) {
      made = ir.int(evaluate(spelled, CONSTANT) as number, value.span)
    } else {
      let n = this.list.length
      while (this.#taken.has(`d${n}`) || this.list.some((d) => d.name === `d${n}`)) n++
      this.list.push({ name: `d${n}`, type: 'i32', value: spelled })
      made = ir.derived(`d${n}`, 'i32', value.span)
    }
    this.#names.set(value, made)
    return made
  }

  /** Reads of constant arrays as choices: a manifest's expressions have no arrays. */
  #spell(e: Expr): Expr {
    const { ir } = this.#cx
    const src = e.src.map((s) => this.#spell(s))
    if (e.op !== 'pick') return ir.with(e, src)
    const values = e.arg.map((v) => (e.type === 'i32' ? ir.int(v) : ir.float(v)))
    return values
      .slice(0, -1)
      .reduceRight(
        (rest, v, i) => ir.make('select', [ir.make('eq', [src[0]!, ir.int(i)]), v, rest]),
        values.at(-1)!,
      )
  }

  #isFree(e: Expr): boolean {
    const known = this.#free.get(e)
    if (known !== undefined) return known
    const pinned =
      e.op === 'load' || (e.op === 'var' && (e.arg === 'q' || e.arg === 'kv' || e.arg === 'logit'))
    const free = !pinned && e.src.every((s) => this.#isFree(s))
    this.#free.set(e, free)
    return free
  }

  /** True if the value and all it is made of are numbers that cannot overflow or be NaN, itself within the limit. */
  #isFinite(e: Expr, limit = Infinity): boolean {
    const inside = (n: Expr, most: number) =>
      this.#bounds.numeric(n).every((x) => Number.isFinite(x) && Math.abs(x) <= most)
    return nodesOf(e).every((n) => n.type === 'bool' || inside(n, Infinity)) && inside(e, limit)
  }

  #refuse(code: 'float-in-mask' | 'float-index', f: Expr, e: Expr): Expr {
    const cause = nodesOf(f).find((n) => n.op === 'load' || (n.op === 'var' && !this.#isFree(n)))
    const because = cause?.op === 'load' ? `table \`${cause.arg}\`` : `\`${String(cause?.arg)}\``
    this.#cx.session.report(
      code,
      f.span,
      { term: textAt(f), because },
      { ...this.#origin(f), label: NOTES.dependsOn(because) },
    )
    return e
  }

  #origin(e: Expr): { readonly notes: readonly { readonly span: Expr['span']; readonly text: string }[] } {
    return { notes: (this.#cx.origins.get(e) ?? []).map((span) => ({ span, text: NOTES.calledFrom })) }
  }
}

const textAt = (e: Expr): string => e.span.source.text.slice(e.span.start, e.span.end)

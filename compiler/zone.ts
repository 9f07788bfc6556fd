/**
 * What a term's comparisons say together about one pair of tiles: intervals of q, kv and of sums such as q - kv, each in
 * expressions over the tile's bounds; and from them, whether a further condition may hold or surely holds there.
 */

import { affineOf, formKey, fromAffine, scaleForm, type Affine } from './affine.ts'
import { expressions, isLeaf, type LeafRange } from './interval.ts'
import { readsVar, type Expr, type Ir } from './ir.ts'
import { OPS, type OpRow, type Range } from './ops.ts'
import type { TableInfo } from './plan.ts'

export interface Positions {
  readonly q: Range<Expr>
  readonly kv: Range<Expr>
}

export class Zone {
  readonly #ir: Ir
  readonly #tables: ReadonlyMap<string, TableInfo>
  readonly #at: Positions
  /** Upper bounds of sums of position terms, by their key. */
  readonly #most = new Map<string, Expr>()
  readonly #memo = new Map<Expr, Range<Expr>>()
  /** Conditions without which the zone is empty. */
  readonly nonEmpty: Expr[] = []

  constructor(ir: Ir, tables: readonly TableInfo[], at: Positions, comparisons: readonly Affine[] = []) {
    this.#ir = ir
    this.#tables = new Map(tables.map((t) => [t.name, t]))
    this.#at = at
    for (const form of comparisons) {
      const [moving, rest] = split(form)
      if (moving.terms.size > 1) this.#most.set(formKey(moving), fromAffine(ir, scaleForm(rest, -1)))
    }
  }

  /** The interval of an integer expression (of a boolean: surely true, possibly true). */
  range(e: Expr): Range<Expr> {
    const known = this.#memo.get(e)
    if (known) return known
    const made = this.#range(e)
    this.#memo.set(e, made)
    return made
  }

  #range(e: Expr): Range<Expr> {
    if (!readsVar(e, 'q', 'kv')) return [e, e]
    if (e.op === 'eq' || e.op === 'le' || e.op === 'lt') {
      const exact = e.src[0]!.type === 'i32' ? this.#residue(e) : null
      if (exact) return exact
    }
    if (e.op === 'not') {
      const [surely, possibly] = this.range(e.src[0]!)
      return [this.#ir.make('not', [possibly]), this.#ir.make('not', [surely])]
    }
    if (isLeaf(e))
      return this.#leaf(
        e,
        e.src.map((s) => this.range(s)),
      )
    const form = e.type === 'i32' ? affineOf(e) : null
    if (form && !form.terms.has(e)) return this.#sum(form)
    const row: OpRow = OPS[e.op]
    return row.range(expressions(this.#ir), ...e.src.map((s) => this.range(s)))
  }

  /** A sum's interval, term by term, cut to what the comparisons say of it. */
  #sum(form: Affine): Range<Expr> {
    const ir = this.#ir
    const [moving, rest] = split(form)
    let [lo, hi]: Range<Expr> = [ir.int(0), ir.int(0)]
    for (const [term, c] of moving.terms) {
      const [a, b] = this.range(term)
      const times = (x: Expr) => ir.make('mul', [x, ir.int(c)])
      lo = ir.make('add', [lo, times(c > 0 ? a : b)])
      hi = ir.make('add', [hi, times(c > 0 ? b : a)])
    }
    const most = this.#most.get(formKey(moving))
    const least = this.#most.get(formKey(scaleForm(moving, -1)))
    if (most) hi = ir.make('min', [hi, most])
    if (least) lo = ir.make('max', [lo, ir.make('neg', [least])])
    if (most || least) this.nonEmpty.push(ir.make('le', [lo, hi]))
    const fixed = fromAffine(ir, rest)
    return [ir.make('add', [lo, fixed]), ir.make('add', [hi, fixed])]
  }

  /**
   * Comparisons of one remainder with a value that does not move. All values of an interval are attained, so they are
   * decided on the circle of residues, exactly, where the hull of `mod` would lose them.
   */
  #residue(e: Expr): Range<Expr> | null {
    const ir = this.#ir
    const [moving, rest] = split(affineOf(ir.make('sub', [e.src[0]!, e.src[1]!])))
    const [entry, more] = [...moving.terms]
    if (!entry || more) return null
    const [term, factor] = entry
    if (term.op !== 'mod' || Math.abs(factor) !== 1 || readsVar(term.src[1]!, 'q', 'kv')) return null
    const [lo, hi] = this.range(term.src[0]!)
    const m = term.src[1]!
    const length = ir.make('sub', [hi, lo])
    const one = ir.int(1)
    const and = (...es: Expr[]) => es.reduce((a, b) => ir.make('and', [a, b]))
    const or = (...es: Expr[]) => es.reduce((a, b) => ir.make('or', [a, b]))
    const le = (a: Expr, b: Expr) => ir.make('le', [a, b])
    const reach = (start: Expr) => ir.make('add', [start, length])

    /** mod(x, m) <= t */
    const atMost = (t: Expr): Range<Expr> => {
      const start = ir.make('mod', [lo, m])
      return [
        or(le(reach(start), t), ir.make('lt', [ir.make('sub', [m, one]), ir.make('add', [t, one])])),
        and(le(ir.int(0), t), or(le(start, t), le(m, reach(start)))),
      ]
    }
    const value = fromAffine(ir, factor > 0 ? scaleForm(rest, -1) : rest)
    if (e.op === 'eq') {
      const start = ir.make('mod', [ir.make('sub', [lo, value]), m])
      const inside = and(le(ir.int(0), value), ir.make('lt', [value, m]))
      const zero = ir.make('eq', [start, ir.int(0)])
      return [
        and(inside, or(le(m, one), and(zero, le(length, ir.int(0))))),
        and(inside, or(zero, le(m, reach(start)))),
      ]
    }
    // e is factor * mod + rest < or <= 0
    const strict = e.op === 'lt' ? 1 : 0
    if (factor > 0) return atMost(ir.make('sub', [value, ir.int(strict)]))
    const [surely, possibly] = atMost(ir.make('add', [value, ir.int(strict - 1)]))
    return [ir.make('not', [possibly]), ir.make('not', [surely])]
  }

  #leaf: LeafRange<Expr> = (e, indices) => {
    const ir = this.#ir
    if (e.op === 'var') return e.arg === 'q' ? this.#at.q : this.#at.kv
    const point = indices.every(([lo, hi]) => lo === hi)
    const at = (side: 0 | 1) =>
      ir.with(
        e,
        indices.map((r) => r[side]),
      )
    if (point) return [at(0), at(0)]
    if (e.op === 'pick') return [ir.int(Math.min(...e.arg)), ir.int(Math.max(...e.arg))]
    const table = e.op === 'load' ? this.#tables.get(e.arg) : undefined
    if (!table) throw new Error(`${e.op} cannot depend on positions`)
    const [least, most] = [ir.int(Math.min(0, table.min)), ir.int(Math.max(0, table.max))]
    const last = indices.length - 1
    const onlyLastMoves = indices.every(([lo, hi], i) => i === last || lo === hi)
    if (!table.monotone || !onlyLastMoves) return [least, most]
    // Reads outside the table give 0, which need not be in order.
    const dim = table.dims[last]!
    const size =
      typeof dim === 'number' ? ir.int(dim) : dim === 'qLen' || dim === 'kvLen' ? ir.var(dim) : null
    if (!size) return [least, most]
    const [lo, hi] = indices[last]!
    const inside = ir.make('and', [ir.make('le', [ir.int(0), lo]), ir.make('lt', [hi, size])])
    return [ir.make('select', [inside, at(0), least]), ir.make('select', [inside, at(1), most])]
  }
}

/** A form's terms that read a position, and the rest with the constant. */
export function split(form: Affine): readonly [moving: Affine, rest: Affine] {
  const moves = [...form.terms].filter(([t]) => readsVar(t, 'q', 'kv'))
  const stays = [...form.terms].filter(([t]) => !readsVar(t, 'q', 'kv'))
  return [
    { constant: 0, terms: new Map(moves) },
    { constant: form.constant, terms: new Map(stays) },
  ]
}

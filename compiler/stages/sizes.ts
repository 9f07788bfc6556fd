/** Sizes of stage values: axes, shares and types in; numbers of units, cells and bytes as expressions of the lengths out. */

import { evaluate, type Environment, type Expr, type Ir } from '../ir.ts'
import type { Dim, TableInfo } from '../plan.ts'
import type { VarName } from '../vars.ts'
import type { Axis, Grouping, Share, Side, ValueType } from './graph.ts'

/** Arithmetic on sizes. They are evaluated by the host, in doubles: products of lengths need not fit int32. */
export class Sizes {
  readonly ir: Ir
  readonly #tables: ReadonlyMap<string, TableInfo>

  constructor(ir: Ir, tables: readonly TableInfo[]) {
    this.ir = ir
    this.#tables = new Map(tables.map((t) => [t.name, t]))
  }

  num(n: number): Expr {
    return this.ir.int(n)
  }
  var(name: VarName): Expr {
    return this.ir.var(name)
  }

  sum(...terms: readonly Expr[]): Expr {
    const constant = terms.reduce((n, t) => n + (constOf(t) ?? 0), 0)
    const rest = terms.filter((t) => constOf(t) === null)
    return this.#fold('add', constant === 0 ? rest : [...rest, this.num(constant)], 0)
  }
  product(...factors: readonly Expr[]): Expr {
    if (factors.some((f) => isConst(f, 0))) return this.num(0)
    const constant = factors.reduce((n, f) => n * (constOf(f) ?? 1), 1)
    const rest = factors.filter((f) => constOf(f) === null)
    return this.#fold('mul', constant === 1 ? rest : [this.num(constant), ...rest], 1)
  }
  difference(a: Expr, b: Expr): Expr {
    if (isConst(b, 0)) return a
    return this.#known('sub', a, b)
  }
  floorDiv(a: Expr, n: number): Expr {
    return n === 1 ? a : this.#known('floorDiv', a, this.num(n))
  }
  ceilDiv(a: Expr, n: number): Expr {
    return n === 1 ? a : this.floorDiv(this.sum(a, this.num(n - 1)), n)
  }
  min(a: Expr, b: Expr): Expr {
    return a === b ? a : this.#known('min', a, b)
  }
  max(a: Expr, b: Expr): Expr {
    return a === b ? a : this.#known('max', a, b)
  }

  #fold(op: 'add' | 'mul', terms: readonly Expr[], none: number): Expr {
    return terms.length === 0 ? this.num(none) : terms.reduce((a, b) => this.#known(op, a, b))
  }

  #known(op: 'add' | 'mul' | 'sub' | 'floorDiv' | 'min' | 'max', a: Expr, b: Expr): Expr {
    const made = this.ir.make(op, [a, b])
    return a.op === 'const' && b.op === 'const' ? this.num(evaluate(made, NOTHING) as number) : made
  }

  sharers(share: Share): Expr {
    switch (share) {
      case 'request':
        return this.num(1)
      case 'kvHead':
        return this.var('kvHeads')
      case 'head':
        return this.var('qHeads')
      case 'indexHead':
        return this.var('indexHeads')
    }
  }

  tokens(side: Side): Expr {
    return this.var(side === 'q' ? 'qLen' : 'kvLen')
  }

  /** How many units an axis has, or at most has where that depends on values. */
  units({ side, units }: Axis): Expr {
    return this.#count(side, units)
  }

  #count(side: Side, g: Grouping): Expr {
    const tokens = this.tokens(side)
    switch (g.kind) {
      case 'token':
        return tokens
      case 'whole':
        return this.num(1)
      case 'block': {
        // Blocks are cut from token 0 of the sequence, and the queries are its last tokens.
        const end = this.ceilDiv(this.var('kvLen'), g.size)
        const start = this.floorDiv(this.difference(this.var('kvLen'), this.var('qLen')), g.size)
        return side === 'kv' ? end : this.difference(end, start)
      }
      case 'window':
        return this.max(
          this.num(0),
          this.sum(this.floorDiv(this.difference(tokens, this.num(g.size)), g.step), this.num(1)),
        )
      case 'chunk':
        return this.tableSize(g.ends, -1)
      case 'cluster':
        return g.labels === null ? tokens : this.#labels(g.labels, tokens)
      case 'residue':
        return this.min(this.num(g.step), tokens)
      case 'span':
        return g.most
      case 'units':
        return g.of.type.kind === 'set' ? g.of.type.most : fail(`${g.of.word} has no units`)
      case 'offset':
        return g.count
      case 'slice':
        return this.#slice(this.#count(side, g.of), g)
    }
  }

  /** A label may be any number of its table's bounds, but there are not more clusters than tokens. */
  #labels(name: string, tokens: Expr): Expr {
    const table = this.#tables.get(name)
    return table && table.max < 2 ** 30 ? this.min(this.num(table.max + 1), tokens) : tokens
  }

  #slice(all: Expr, { start, end, step }: Extract<Grouping, { kind: 'slice' }>): Expr {
    const place = (e: Expr): Expr => {
      const n = constOf(e)
      if (n !== null && n >= 0) return this.min(e, all)
      const fromEnd = this.max(this.num(0), this.sum(all, e))
      if (n !== null) return fromEnd
      return this.ir.make('select', [this.ir.make('lt', [e, this.num(0)]), fromEnd, this.min(e, all)])
    }
    const first = constOf(start)
    // The last n of all: as many as there are, at most n.
    const length =
      end === null && first !== null && first < 0
        ? this.min(this.num(-first), all)
        : this.max(this.num(0), this.difference(end === null ? all : place(end), place(start)))
    return this.ceilDiv(length, step)
  }

  /** The size of a dim; a negative place counts from the last. */
  tableSize(name: string, place: number): Expr {
    const dim = this.#tables.get(name)?.dims.at(place)
    return dim === undefined ? this.num(1) : this.dim(dim)
  }

  dim(dim: Dim): Expr {
    if (typeof dim === 'number') return this.num(dim)
    return this.var(DIM_VARS[dim])
  }

  /** Cells of scores or of a set, elements of rows, tokens of a permutation: of one batch entry. */
  cells(type: ValueType): Expr {
    switch (type.kind) {
      case 'rows':
        return this.product(this.sharers(type.share), this.units(type.axis), type.channels)
      case 'scores':
      case 'set':
        return this.product(this.sharers(type.share), this.units(type.q), this.units(type.kv))
      case 'permutation':
        return this.product(this.sharers(type.share), this.tokens(type.side))
      case 'state':
      case 'output':
        return this.product(this.var('qHeads'), this.var('qLen'), this.var('valueDim'))
    }
  }
}

const DIM_VARS = {
  batch: 'batches',
  head: 'qHeads',
  kvHead: 'kvHeads',
  indexHead: 'indexHeads',
  qLen: 'qLen',
  kvLen: 'kvLen',
  headDim: 'headDim',
} as const satisfies Readonly<Record<Exclude<Dim, number>, VarName>>

const never = (): never => {
  throw new Error('a constant has no leaves')
}
const fail = (what: string): never => {
  throw new Error(what)
}
const NOTHING: Environment = { var: never, param: never, derived: never, load: never }

export const constOf = (e: Expr): number | null =>
  e.op === 'const' && typeof e.arg === 'number' ? e.arg : null
const isConst = (e: Expr, n: number): boolean => constOf(e) === n

/** The power of the length that a size grows with: 1 for kvLen / 64, 2 for qLen * kvLen, 0 for min(64, kvLen). */
export function growth(e: Expr): number {
  switch (e.op) {
    case 'var':
      return e.arg === 'qLen' || e.arg === 'kvLen' ? 1 : 0
    case 'mul':
      return growth(e.src[0]!) + growth(e.src[1]!)
    case 'min':
      return Math.min(...e.src.map(growth))
    case 'floorDiv':
      return growth(e.src[0]!)
    default:
      return Math.max(0, ...e.src.map(growth))
  }
}

/** The greatest that a size can be, as far as its form says so: 64 for min(64, kvLen), infinite for kvLen / 64. */
export function atMost(e: Expr): number {
  const constant = constOf(e)
  if (constant !== null) return constant
  return e.op === 'min' ? Math.min(...e.src.map(atMost)) : Infinity
}

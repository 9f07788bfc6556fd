/** Expr: the one node of a lowered pattern, the interning constructor, and walks over it. */

import { OPS, type Op, type Scalar, type Value } from './ops.ts'
import { NO_SPAN, type Span } from './source.ts'
import { VARS, type VarName } from './vars.ts'

export { INDEX_VARS, TILE_VARS, type IndexVar, type TileVar, type VarName } from './vars.ts'

interface Args {
  const: Value
  var: VarName
  /** A param's, derived uniform's or table's name. */
  param: string
  derived: string
  load: string
  /** The constant array that is read. */
  pick: readonly number[]
}
export type ArgOf<O extends Op> = O extends keyof Args ? Args[O] : null

export type Expr<O extends Op = Op> = O extends Op
  ? {
      readonly op: O
      readonly type: Scalar
      readonly src: readonly Expr[]
      readonly arg: ArgOf<O>
      readonly span: Span
      /** Order of making within one Ir: a stable sort key. */
      readonly id: number
    }
  : never

/** Makes nodes; two calls with the same op, sources and argument give the same node, so equality is `===`. */
export class Ir {
  readonly #nodes = new Map<string, Expr>()

  #intern(op: Op, type: Scalar, src: readonly Expr[], arg: unknown, span: Span): Expr {
    const value =
      arg === null
        ? ''
        : Array.isArray(arg)
          ? `[${arg.join(' ')}]`
          : Object.is(arg, -0)
            ? '-0'
            : `${typeof arg}${String(arg)}`
    const key = `${op}:${type}:${src.map((e) => e.id).join(',')}:${value}`
    const known = this.#nodes.get(key)
    if (known) return known
    const node = { op, type, src, arg, span, id: this.#nodes.size } as Expr
    this.#nodes.set(key, node)
    return node
  }

  /** An operation on sources whose types select one of the op's overloads. */
  make(op: Op, src: readonly Expr[], span: Span = NO_SPAN): Expr {
    const have = src.map((e) => e.type).join(' ')
    const types: readonly string[] = OPS[op].types
    const match = types.map((t) => t.split(' -> ')).find(([from]) => from === have)
    if (!match) throw new Error(`op ${op} has no overload for (${have})`)
    return this.#intern(op, match[1] as Scalar, src, null, span)
  }

  int(value: number, span: Span = NO_SPAN): Expr {
    return this.#intern('const', 'i32', [], value + 0, span)
  }
  float(value: number, span: Span = NO_SPAN): Expr {
    return this.#intern('const', 'f32', [], value, span)
  }
  bool(value: boolean, span: Span = NO_SPAN): Expr {
    return this.#intern('const', 'bool', [], value, span)
  }
  var(name: VarName, span: Span = NO_SPAN): Expr {
    return this.#intern('var', VARS[name].type, [], name, span)
  }
  param(name: string, type: 'i32' | 'f32', span: Span = NO_SPAN): Expr {
    return this.#intern('param', type, [], name, span)
  }
  derived(name: string, type: 'i32' | 'f32', span: Span = NO_SPAN): Expr {
    return this.#intern('derived', type, [], name, span)
  }
  /** A table's element; out of range it is 0. */
  load(table: string, type: 'i32' | 'f32', indices: readonly Expr[], span: Span = NO_SPAN): Expr {
    return this.#intern('load', type, indices, table, span)
  }
  /** An element of a constant array; the index is proven to be inside. */
  pick(values: readonly number[], type: 'i32' | 'f32', index: Expr, span: Span = NO_SPAN): Expr {
    return this.#intern('pick', type, [index], values, span)
  }

  /** The same node over other sources. */
  with(e: Expr, src: readonly Expr[]): Expr {
    return src.every((s, i) => s === e.src[i]) ? e : this.#intern(e.op, e.type, src, e.arg, e.span)
  }
}

/** Replaces whole nodes, top-down: what `f` returns is not looked into again. */
export function substitute(ir: Ir, root: Expr, f: (e: Expr) => Expr | undefined): Expr {
  const done = new Map<Expr, Expr>()
  const go = (e: Expr): Expr => {
    const known = done.get(e)
    if (known) return known
    const made = f(e) ?? ir.with(e, e.src.map(go))
    done.set(e, made)
    return made
  }
  return go(root)
}

/** Every node once, sources before their users. */
export function nodesOf(...roots: readonly Expr[]): Expr[] {
  const seen = new Set<Expr>()
  const go = (e: Expr) => {
    if (seen.has(e)) return
    e.src.forEach(go)
    seen.add(e)
  }
  roots.forEach(go)
  return [...seen]
}

const READS = new WeakMap<Expr, ReadonlySet<VarName>>()

/** The variables that an expression reads; asked of every node many times, so kept with it. */
function varsOf(e: Expr): ReadonlySet<VarName> {
  const known = READS.get(e)
  if (known) return known
  const vars = e.op === 'var' ? new Set([e.arg]) : new Set(e.src.flatMap((s) => [...varsOf(s)]))
  READS.set(e, vars)
  return vars
}

export const readsVar = (e: Expr, ...names: readonly VarName[]): boolean => {
  const vars = varsOf(e)
  return names.some((name) => vars.has(name))
}

/** What an expression's leaves are worth: one environment for the oracle, the picture and the tests. */
export interface Environment {
  readonly var: (name: VarName) => number
  readonly param: (name: string) => number
  readonly derived: (name: string) => number
  readonly load: (table: string, indices: readonly number[]) => number
}

export function evaluate(e: Expr, env: Environment): Value {
  const memo = new Map<Expr, Value>()
  const go = (n: Expr): Value => {
    const known = memo.get(n)
    if (known !== undefined) return known
    const value = step(n)
    memo.set(n, value)
    return value
  }
  const step = (n: Expr): Value => {
    switch (n.op) {
      case 'const':
        return n.arg
      case 'var':
        return env.var(n.arg)
      case 'param':
        return env.param(n.arg)
      case 'derived':
        return env.derived(n.arg)
      case 'load':
        return env.load(
          n.arg,
          n.src.map((s) => go(s) as number),
        )
      case 'pick':
        return n.arg[go(n.src[0]!) as number] ?? 0
      default: {
        const value = (OPS[n.op].eval as (...args: Value[]) => Value)(...n.src.map(go))
        // An integer has no negative zero.
        return n.type === 'i32' ? (value as number) + 0 : value
      }
    }
  }
  return go(e)
}

/** One line: `and(le(kv, q), lt(sub(q, kv), $window))`. */
export function printExpr(e: Expr): string {
  switch (e.op) {
    case 'const':
      return e.type === 'f32' && Number.isInteger(e.arg) ? `${e.arg}.0` : String(e.arg)
    case 'var':
      return e.arg
    case 'param':
      return `$${e.arg}`
    case 'derived':
      return `%${e.arg}`
    case 'load':
      return `${e.arg}[${e.src.map(printExpr).join(', ')}]`
    case 'pick':
      return `[${e.arg.join(' ')}][${printExpr(e.src[0]!)}]`
    default:
      return `${e.op}(${e.src.map(printExpr).join(', ')})`
  }
}

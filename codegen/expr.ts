/**
 * A pattern's expressions become Code. What reads neither position is computed once per workgroup, what reads only the
 * query's once per row, what reads only the key's once per column; the rest goes into a function called per pair.
 */

import type { Expr, VarName } from '../compiler/ir.ts'
import { Block } from './block.ts'
import { bool, f32, i32, name, op, type Code, type FunctionDecl } from './kernel.ts'
import type { Names } from './names.ts'

/** What a leaf is worth: a name in scope, a uniform, a read of meta or of a table. */
export interface Leaves {
  readonly var: (name: VarName) => Code
  readonly param: (name: string) => Code
  readonly derived: (name: string) => Code
  readonly load: (table: string, indices: readonly Code[]) => Code
  readonly pick: (values: readonly number[], type: 'i32' | 'f32', index: Code) => Code
}

/** Values of nodes known so far in a scope and in those around it. */
export class Values {
  readonly #own = new Map<Expr, Code>()
  readonly #outer: Values | null
  constructor(outer: Values | null = null) {
    this.#outer = outer
  }
  get(e: Expr): Code | undefined {
    return this.#own.get(e) ?? this.#outer?.get(e)
  }
  set(e: Expr, value: Code): void {
    this.#own.set(e, value)
  }
}

const constant = (e: Expr<'const'>): Code =>
  typeof e.arg === 'boolean' ? bool(e.arg) : e.type === 'f32' ? f32(e.arg) : i32(e.arg)

/** Writes an expression into a block; nodes used more than once, and those already known, are shared. */
export function write(block: Block, leaves: Leaves, values: Values, root: Expr, base = 'value'): Code {
  const uses = new Map<Expr, number>()
  const count = (e: Expr): void => {
    const n = uses.get(e) ?? 0
    uses.set(e, n + 1)
    if (n === 0 && !values.get(e)) e.src.forEach(count)
  }
  count(root)
  const go = (e: Expr): Code => {
    const known = values.get(e)
    if (known) return known
    const code = step(e)
    if (e.src.length === 0) return code
    if (uses.get(e)! < 2) return code
    const named = block.let(base, code)
    values.set(e, named)
    return named
  }
  const step = (e: Expr): Code => {
    switch (e.op) {
      case 'const':
        return constant(e as Expr<'const'>)
      case 'var':
        return leaves.var(e.arg)
      case 'param':
        return leaves.param(e.arg)
      case 'derived':
        return leaves.derived(e.arg)
      case 'load':
        return leaves.load(e.arg, e.src.map(go))
      case 'pick':
        return leaves.pick(e.arg, e.type as 'i32' | 'f32', go(e.src[0]!))
      default:
        return op(e.type, e.op, ...e.src.map(go))
    }
  }
  return go(root)
}

/** As write, but the result has a name in the block and is remembered. */
export function writeNamed(block: Block, leaves: Leaves, values: Values, root: Expr, base: string): Code {
  const known = values.get(root)
  if (known) return known
  const named = block.let(base, write(block, leaves, values, root, base))
  values.set(root, named)
  return named
}

/** A function over some variables; `inputs` are the nodes that its caller computes, by how often that must be done. */
export interface PatternFunction {
  readonly decl: FunctionDecl
  readonly inputs: readonly Expr[]
}

export type Rate = 'workgroup' | 'row' | 'column' | 'pair'

/** Which variables make a node change, as a rate; tile variables count as those of rows and columns. */
export function rateOf(e: Expr, memo: Map<Expr, Rate> = new Map()): Rate {
  const known = memo.get(e)
  if (known) return known
  const join = (a: Rate, b: Rate): Rate => (a === b || b === 'workgroup' ? a : a === 'workgroup' ? b : 'pair')
  const own: Rate =
    e.op !== 'var'
      ? 'workgroup'
      : e.arg === 'logit'
        ? 'pair'
        : ['q', 'qLo', 'qHi'].includes(e.arg)
          ? 'row'
          : ['kv', 'kvLo', 'kvHi'].includes(e.arg)
            ? 'column'
            : 'workgroup'
  const rate = e.src.map((s) => rateOf(s, memo)).reduce(join, own)
  memo.set(e, rate)
  return rate
}

export interface FunctionOptions {
  readonly names: Names
  readonly leaves: Leaves
  /** True of a leaf that text anywhere in the module can read. */
  readonly global: (e: Expr) => boolean
  /** Nodes of these rates are the caller's work. */
  readonly hoist: ReadonlySet<Rate>
}

/** Variables are called as authors call them: `q`, `qIndex` for `q.index`. */
const parameterName = (v: VarName): string =>
  v === 'logit' ? 's' : v.replace(/\.(.)/g, (_, c: string) => c.toUpperCase())

const BASE: Readonly<Record<Rate, string>> = {
  workgroup: 'fixed',
  row: 'ofRow',
  column: 'ofColumn',
  pair: 'value',
}

export function patternFunction(wish: string, root: Expr, options: FunctionOptions): PatternFunction {
  const { names, leaves, global, hoist } = options
  const rates = new Map<Expr, Rate>()
  const inputs: Expr[] = []
  const seen = new Set<Expr>()
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    if (e.op === 'const' || global(e)) return
    if (e.op === 'var' || e.op === 'derived' || e.op === 'param') inputs.push(e)
    else if (hoist.has(rateOf(e, rates)) && e.src.length > 0 && rateOf(e, rates) !== 'pair') inputs.push(e)
    else e.src.forEach(visit)
  }
  visit(root)
  // Positions first, then what depends on them, in the order of the expression.
  const first: readonly unknown[] = ['logit', 'q', 'kv', 'qLo', 'qHi', 'kvLo', 'kvHi']
  const order = (e: Expr): number =>
    e.op === 'var' && first.includes(e.arg) ? first.indexOf(e.arg) : first.length
  inputs.sort((a, b) => order(a) - order(b))
  const callee = names.fresh(wish)
  const inside = new Block(names.child())
  const values = new Values()
  const parameters = inputs.map((e) => {
    const wished =
      e.op === 'var'
        ? parameterName(e.arg)
        : e.op === 'derived' || e.op === 'param'
          ? e.arg
          : BASE[rateOf(e, rates)]
    const parameter = inside.names.fresh(wished)
    values.set(e, name(e.type, parameter))
    return { name: parameter, type: e.type }
  })
  inside.return(write(inside, leaves, values, root))
  return { decl: { name: callee, parameters, result: root.type, body: inside.stmts }, inputs }
}

export const callOf = (f: PatternFunction, input: (e: Expr) => Code): Code => ({
  kind: 'call',
  type: f.decl.result,
  callee: f.decl.name,
  args: f.inputs.map(input),
})

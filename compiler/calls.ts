/** Calls of the language's own functions: Math.*, the DSL's helpers and declarations, an array's and a table's methods. */

import ts from 'typescript'
import {
  and,
  conditionOf,
  float,
  make,
  numeric,
  or,
  report,
  textOf,
  truth,
  unify,
  type Context,
} from './context.ts'
import { declare, isDeclarationWord } from './declare.ts'
import type { Expr } from './ir.ts'
import { binary, integer, power, type Sides } from './operators.ts'
import { OPS, type Op } from './ops.ts'
import { callStage, isStageWord } from './stages/words.ts'
import { readParam, readTable } from './table-read.ts'
import { BAD, boolean, exprValue, number, type Condition, type Value } from './value.ts'

/** A call of a word: its arguments' values and syntax. */
export interface Call {
  readonly node: ts.CallExpression
  readonly args: readonly Value[]
  readonly at: readonly ts.Node[]
  /** Calls an author's function that stands among the arguments. */
  readonly apply: (cx: Context, f: Value, args: readonly Value[]) => Value
}

type Word = (cx: Context, call: Call) => Value

export function callWord(cx: Context, word: Value & { kind: 'word' }, call: Call): Value {
  if (call.args.some((a) => a.kind === 'bad')) return BAD
  if (word.of === 'table' && word.self?.kind === 'table') return readTable(cx, word.self.table, call)
  if (word.of === 'param' && word.self?.kind === 'expr' && word.self.expr.op === 'param')
    return readParam(cx, word.self.expr, call)
  // A mask may call another pattern's, so `pattern` is read anywhere.
  const declares =
    word.of === 'heddle' && isDeclarationWord(word.name) && (cx.part === 'fields' || word.name === 'pattern')
  if (declares) return declare(cx, word.name, call)
  if (word.of === 'heddle' && isStageWord(word.name)) return callStage(cx, word.name, call)
  const table: Readonly<Record<string, Word>> = {
    Math: MATH,
    heddle: HELPERS,
    array: ARRAY,
    table: {},
    param: {},
  }[word.of]
  const known: Word | undefined = Object.hasOwn(table, word.name) ? table[word.name] : undefined
  const name = word.of === 'Math' ? `Math.${word.name}` : word.of === 'array' ? `.${word.name}` : word.name
  if (!known)
    return report(cx, 'unknown-call', call.node, {
      name,
      known: Object.keys(table).map((k) => (word.of === 'Math' ? `Math.${k}` : k)),
    })
  const [least, most] = ARITY[word.name] ?? [1, 1]
  if (call.args.length < least || call.args.length > most) {
    return report(cx, 'argument-count', call.node, { name, least, most, got: call.args.length })
  }
  return word.of === 'array' ? known(cx, { ...call, args: [word.self!, ...call.args] }) : known(cx, call)
}

const ARITY: Readonly<Record<string, readonly [number, number]>> = {
  min: [1, Infinity],
  max: [1, Infinity],
  pow: [2, 2],
  imul: [2, 2],
  floorDiv: [2, 2],
  mod: [2, 2],
  clamp: [3, 3],
  hash: [1, Infinity],
}

/** A function of one float. */
const ofFloat =
  (op: Op, fold: (x: number) => number): Word =>
  (cx, { node, args, at }) => {
    if (args[0]!.kind === 'number') return number(fold(args[0]!.value))
    const e = float(cx, args[0]!, at[0]!)
    return e ? exprValue(make(cx, op, [e], node)) : BAD
  }

/** A function of integers alone. */
const ofIntegers =
  (op: Op): Word =>
  (cx, { node, args, at }) => {
    const numbers = args.flatMap((a) => (a.kind === 'number' ? [a.value] : []))
    if (numbers.length === args.length) {
      const value = (OPS[op].eval as (...xs: number[]) => number | boolean)(...numbers)
      return typeof value === 'boolean' ? boolean(value) : number(value)
    }
    const user = textOf(node.expression)
    const src = args.map((a, i) => integer(cx, a, at[i]!, `\`${user}\``, op === 'imul'))
    return src.every((e) => e !== null) ? exprValue(make(cx, op, src, node)) : BAD
  }

/** floorDiv and mod: of whole numbers, and in a function over cells also of floats, as JavaScript computes them. */
const quotient =
  (op: 'floorDiv' | 'mod'): Word =>
  (cx, call) => {
    const floats = call.args.some((a) => a.kind === 'expr' && a.expr.type === 'f32')
    if (cx.part !== 'cell' || !floats) return ofIntegers(op)(cx, call)
    const [x, m] = call.args.map((a, i) => float(cx, a, call.at[i]!))
    if (!x || !m) return BAD
    const { node } = call
    const down = make(cx, 'floor', [make(cx, 'div', [x, m], node)], node)
    if (op === 'floorDiv') return exprValue(down)
    return exprValue(make(cx, 'sub', [x, make(cx, 'mul', [m, down], node)], node))
  }

/** Math.floor and its like: of an integer the integer itself, of a float in a mask an integer that the host derives. */
const rounding =
  (fold: (x: number) => number, build: (cx: Context, x: Expr, node: ts.Node) => Expr): Word =>
  (cx, { node, args, at }) => {
    const [a] = args
    if (a!.kind === 'number') return number(fold(a!.value))
    const e = numeric(cx, a!, at[0]!)
    if (!e) return BAD
    if (e.type === 'i32') return exprValue(e)
    const fraction = quotientOf(at[0]!)
    const integers =
      e.op === 'div' && e.src.every((s) => s.op === 'toF32' || (s.op === 'const' && Number.isInteger(s.arg)))
    // An f32 quotient of integers may land on the wrong side of a whole number.
    if (integers) return report(cx, 'index-division', at[0]!, fraction)
    const rounded = build(cx, e, node)
    return exprValue(cx.part === 'mask' ? make(cx, 'toI32', [rounded], node) : rounded)
  }

function quotientOf(at: ts.Node): { readonly left: string; readonly right: string } {
  const bare = ts.isParenthesizedExpression(at) ? at.expression : at
  return ts.isBinaryExpression(bare)
    ? { left: textOf(bare.left), right: textOf(bare.right) }
    : { left: 'a', right: 'b' }
}

const extreme =
  (op: 'min' | 'max'): Word =>
  (cx, { node, args, at }) =>
    args.slice(1).reduce<Value>(
      (a, b, i) => {
        if (a.kind === 'number' && b.kind === 'number') return number(Math[op](a.value, b.value))
        const both = unify(cx, a, b, [at[i]!, at[i + 1]!])
        return both ? exprValue(make(cx, op, both, node)) : BAD
      },
      args.length > 1 || numeric(cx, args[0]!, at[0]!) ? args[0]! : BAD,
    )

const absolute: Word = (cx, { node, args, at }) => {
  if (args[0]!.kind === 'number') return number(Math.abs(args[0]!.value))
  const e = numeric(cx, args[0]!, at[0]!)
  return e ? exprValue(make(cx, 'abs', [e], node)) : BAD
}

const half = (cx: Context, x: Expr, node: ts.Node): Expr => {
  // Math.round: up from the half on. Adding 0.5 first would round 0.49999999999999994 up.
  const down = make(cx, 'floor', [x], node)
  const up = make(cx, 'le', [cx.ir.float(0.5), make(cx, 'sub', [x, down], node)], node)
  return make(cx, 'add', [down, make(cx, 'select', [up, cx.ir.float(1), cx.ir.float(0)], node)], node)
}

const towardsZero = (cx: Context, x: Expr, node: ts.Node): Expr =>
  make(
    cx,
    'select',
    [make(cx, 'lt', [x, cx.ir.float(0)], node), make(cx, 'ceil', [x], node), make(cx, 'floor', [x], node)],
    node,
  )

const sign: Word = (cx, { node, args, at }) => {
  if (args[0]!.kind === 'number') return number(Math.sign(args[0]!.value))
  const e = numeric(cx, args[0]!, at[0]!)
  if (!e) return BAD
  const n = (value: number) => (e.type === 'i32' ? cx.ir.int(value) : cx.ir.float(value))
  const [below, above] = [make(cx, 'lt', [e, n(0)], node), make(cx, 'lt', [n(0), e], node)]
  return exprValue(make(cx, 'select', [below, n(-1), make(cx, 'select', [above, n(1), n(0)], node)], node))
}

const leadingZeros: Word = (cx, { node, args, at }) => {
  if (args[0]!.kind === 'number') return number(Math.clz32(args[0]!.value))
  const e = integer(cx, args[0]!, at[0]!, '`Math.clz32`')
  if (!e) return BAD
  // log2Floor is -1 from zero down, where a negative number has its top bit set.
  const top = make(cx, 'sub', [cx.ir.int(31), make(cx, 'log2Floor', [e], node)], node)
  return exprValue(make(cx, 'select', [make(cx, 'lt', [e, cx.ir.int(0)], node), cx.ir.int(0), top], node))
}

const sidesOf = ({ node, at }: Call): Sides => ({ node, left: at[0]!, right: at[1]! })

const MATH: Readonly<Record<string, Word>> = {
  abs: absolute,
  ceil: rounding(Math.ceil, (cx, x, node) => make(cx, 'ceil', [x], node)),
  clz32: leadingZeros,
  cos: ofFloat('cos', Math.cos),
  exp: ofFloat('exp', Math.exp),
  floor: rounding(Math.floor, (cx, x, node) => make(cx, 'floor', [x], node)),
  imul: ofIntegers('imul'),
  log: ofFloat('log', Math.log),
  log2: ofFloat('log2', Math.log2),
  max: extreme('max'),
  min: extreme('min'),
  pow: (cx, call) => power(cx, call.args[0]!, call.args[1]!, sidesOf(call)),
  round: rounding(Math.round, half),
  sign,
  sin: ofFloat('sin', Math.sin),
  sqrt: ofFloat('sqrt', Math.sqrt),
  tanh: ofFloat('tanh', Math.tanh),
  trunc: rounding(Math.trunc, towardsZero),
}

const HELPERS: Readonly<Record<string, Word>> = {
  abs: absolute,
  clamp: (cx, call) => {
    const [x, lo, hi] = call.args
    const [atX, atLo, atHi] = call.at
    const above = extreme('max')(cx, { ...call, args: [x!, lo!], at: [atX!, atLo!] })
    return extreme('min')(cx, { ...call, args: [above, hi!], at: [atX!, atHi!] })
  },
  floorDiv: quotient('floorDiv'),
  hash: (cx, call) => {
    const seed: Value = number(HASH_SEED)
    return call.args.reduce<Value>((h, x, i) => {
      if (h.kind === 'bad') return h
      return ofIntegers('hash')(cx, { ...call, args: [h, wrapped(x)], at: [call.node, call.at[i]!] })
    }, seed)
  },
  isPow2: ofIntegers('isPow2'),
  log2Floor: ofIntegers('log2Floor'),
  max: extreme('max'),
  min: extreme('min'),
  mod: quotient('mod'),
  popcount: ofIntegers('popcount'),
}

/** Where dsl/math.ts starts its hash. */
const HASH_SEED = 0x9e3779b

/** `hash` mixes the low 32 bits of what it is given. */
const wrapped = (x: Value): Value =>
  x.kind === 'number' && Number.isInteger(x.value) ? number(x.value | 0) : x

/** Methods of arrays whose elements are known; the first argument is the array. */
const ARRAY: Readonly<Record<string, Word>> = {
  includes: (cx, call) =>
    anyOf(cx, call, (item) =>
      binary(cx, ts.SyntaxKind.EqualsEqualsEqualsToken, item, call.args[1]!, {
        node: call.node,
        left: call.node,
        right: call.at[0]!,
      }),
    ),
  some: (cx, call) => anyOf(cx, call, (item, i) => call.apply(cx, call.args[1]!, [item, number(i)])),
  every: (cx, call) => {
    const all = itemsOf(call).map((item, i) =>
      conditionOf(cx, call.apply(cx, call.args[1]!, [item, number(i)]), call.at[0]!),
    )
    return all.every((c) => c !== null)
      ? truth(all.reduce<Condition>((a, b) => and(cx, a, b, call.node), true))
      : BAD
  },
}

const itemsOf = ({ args }: Call): readonly Value[] => (args[0]!.kind === 'array' ? args[0]!.items : [])

function anyOf(cx: Context, call: Call, test: (item: Value, i: number) => Value): Value {
  const all = itemsOf(call).map((item, i) => conditionOf(cx, test(item, i), call.node))
  return all.every((c) => c !== null)
    ? truth(all.reduce<Condition>((a, b) => or(cx, a, b, call.node), false))
    : BAD
}

export const ARRAY_METHODS: readonly string[] = Object.keys(ARRAY)

/** Derived uniforms: small expressions of the artefact and a call's params and lengths in, one value per (batch, head) out. */

import type { DerivedUniform, JsonExpr } from '../codegen/artifact.ts'
import { floorDiv, hash2, isPow2, log2Floor, mod, popcount } from '../dsl/math.ts'

type Value = number | boolean
type Evaluate = (...args: never[]) => Value

/** The meaning of each op on the host, in f64; a test holds it against the compiler's table. */
export const EVALUATE: Readonly<Record<string, Evaluate>> = {
  add: (a: number, b: number) => a + b,
  sub: (a: number, b: number) => a - b,
  mul: (a: number, b: number) => a * b,
  neg: (a: number) => -a,
  min: (a: number, b: number) => Math.min(a, b),
  max: (a: number, b: number) => Math.max(a, b),
  abs: (a: number) => Math.abs(a),
  floorDiv,
  mod,
  alignDown: (x: number, m: number) => x - mod(x, m),
  rem: (a: number, b: number) => (a % b) + 0,
  bitAnd: (a: number, b: number) => a & b,
  bitOr: (a: number, b: number) => a | b,
  bitXor: (a: number, b: number) => a ^ b,
  bitNot: (a: number) => ~a,
  shl: (a: number, b: number) => a * 2 ** b,
  shr: (a: number, b: number) => a >> b,
  ushr: (a: number, b: number) => a >>> b,
  popcount,
  log2Floor,
  isPow2,
  hash: hash2,
  imul: (a: number, b: number) => Math.imul(a, b),
  div: (a: number, b: number) => a / b,
  exp: (a: number) => Math.exp(a),
  exp2: (a: number) => 2 ** a,
  log: (a: number) => Math.log(a),
  log2: (a: number) => Math.log2(a),
  sqrt: (a: number) => Math.sqrt(a),
  tanh: (a: number) => Math.tanh(a),
  sin: (a: number) => Math.sin(a),
  cos: (a: number) => Math.cos(a),
  pow: (a: number, b: number) => a ** b,
  floor: (a: number) => Math.floor(a),
  ceil: (a: number) => Math.ceil(a),
  toF32: (a: number) => a,
  toI32: (a: number) => Math.trunc(a) + 0,
  lt: (a: number, b: number) => a < b,
  le: (a: number, b: number) => a <= b,
  eq: (a: number, b: number) => a === b,
  and: (a: boolean, b: boolean) => a && b,
  or: (a: boolean, b: boolean) => a || b,
  not: (a: boolean) => !a,
  select: (c: boolean, a: number, b: number) => (c ? a : b),
}

/** What a derived uniform may read. */
export const DERIVED_VARS: readonly string[] = [
  'batch',
  'head',
  'kvHead',
  'qLen',
  'kvLen',
  'qHeads',
  'kvHeads',
  'headDim',
]

export interface Leaves {
  readonly vars: Readonly<Record<string, number>>
  readonly param: (name: string) => number
}

export function evaluateJson(e: JsonExpr, leaves: Leaves): Value {
  if (typeof e !== 'object') return e
  if ('var' in e) return leaves.vars[e.var]!
  if ('param' in e) return leaves.param(e.param)
  const args = e.src.map((s) => evaluateJson(s, leaves))
  if ('pick' in e) return e.pick[args[0] as number] ?? 0
  return (EVALUATE[e.op] as (...a: Value[]) => Value)(...args)
}

/** The names that an expression uses and this runtime does not know; empty for a well-formed one. */
export function unknownNames(
  e: unknown,
  params: ReadonlySet<string>,
  vars: readonly string[] = DERIVED_VARS,
): string[] {
  if (typeof e === 'number' || typeof e === 'boolean') return []
  if (typeof e !== 'object' || e === null) return [String(e)]
  if ('var' in e) return vars.includes(String(e.var)) ? [] : [`var ${String(e.var)}`]
  if ('param' in e) return params.has(String(e.param)) ? [] : [`param ${String(e.param)}`]
  const src =
    'src' in e && Array.isArray(e.src) ? e.src.flatMap((s) => unknownNames(s, params, vars)) : ['no src']
  if ('pick' in e) return Array.isArray(e.pick) ? src : ['pick']
  return 'op' in e && Object.hasOwn(EVALUATE, String(e.op))
    ? src
    : ['op' in e ? `op ${String(e.op)}` : 'neither leaf nor op', ...src]
}

/** The 32 bits that the kernel reads. */
export function derivedBits({ type, value }: DerivedUniform, leaves: Leaves): number {
  const x = Number(evaluateJson(value, leaves))
  if (type === 'i32') return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, x)) | 0
  return floatBits(x)
}

const scratch = new DataView(new ArrayBuffer(4))

/** A number's f32 bits as an int32. */
export function floatBits(x: number): number {
  scratch.setFloat32(0, x, true)
  return scratch.getInt32(0, true)
}

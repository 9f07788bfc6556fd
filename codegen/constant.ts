/** Folding of operations on literals: WGSL refuses constant expressions that overflow, so none reach the text. */

import { OPS, type Value } from '../compiler/ops.ts'
import type { Code } from './kernel.ts'

export function evaluateConstant(e: Code): Value | undefined {
  // Most operations fail at the first look: only an operand that is a literal or an operation can be constant.
  if (e.kind !== 'op' || !e.args.every((a) => a.kind === 'literal' || a.kind === 'op')) return undefined
  if (!Object.hasOwn(OPS, e.op) || e.args.length === 0) return undefined
  const values: Value[] = []
  for (const a of e.args) {
    const value = a.kind === 'literal' ? a.value : evaluateConstant(a)
    if (value === undefined) return undefined
    values.push(value)
  }
  return (OPS[e.op as keyof typeof OPS].eval as (...args: Value[]) => Value)(...values)
}

/** The number that an expression is, where it is known with the text. */
export function literalOf(e: Code): number | null {
  const value = e.kind === 'literal' ? e.value : evaluateConstant(e)
  return typeof value === 'number' ? value : null
}

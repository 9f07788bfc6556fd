/** What artefacts say whatever their target: the package's version, the head dims there are, derived uniforms as JSON. */

import type { Expr } from '../compiler/ir.ts'
import type { KernelPlan } from '../compiler/plan.ts'
import type { DerivedUniform, JsonExpr } from './artifact.ts'

/** The package's version, which an artefact carries. */
export const VERSION = '0.1.0'

export const HEAD_DIMS = { min: 1, max: 256 } as const

/** @throws RangeError for a head dim or value dim that no kernel has */
export function checkHeadDim(dim: number): void {
  if (!Number.isInteger(dim) || dim < HEAD_DIMS.min || dim > HEAD_DIMS.max) {
    throw new RangeError(`a head dim is a whole number from ${HEAD_DIMS.min} to ${HEAD_DIMS.max}, not ${dim}`)
  }
}

export const derivedUniforms = (plan: KernelPlan): DerivedUniform[] =>
  plan.derived.map(({ name, type, value }) => ({ name, type, value: jsonOf(value) }))

/** @throws Error for what no host can evaluate */
export function jsonOf(e: Expr): JsonExpr {
  switch (e.op) {
    case 'const':
      return e.arg
    case 'var':
      return { var: e.arg }
    case 'param':
      return { param: e.arg }
    case 'pick':
      return { pick: e.arg, src: [jsonOf(e.src[0]!)] }
    case 'derived':
    case 'load':
      throw new Error(`a derived uniform reads ${e.op} ${e.arg}`)
    default:
      return { op: e.op, src: e.src.map(jsonOf) }
  }
}

/** A size of vectors in; the number that it is where it is one of the dims that a text is made for, out. */

import type { Expr } from '../../compiler/ir.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'

export interface Dims {
  readonly sizes: Sizes
  readonly headDim: number
  readonly valueDim: number
}

export function knownDim({ sizes, headDim, valueDim }: Dims, size: Expr): number | null {
  if (size === sizes.var('headDim')) return headDim
  return size === sizes.var('valueDim') ? valueDim : null
}

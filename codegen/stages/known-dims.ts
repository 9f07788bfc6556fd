/** A size of vectors in; the number that it is where it is one of the dims that a text is made for, out. */

import type { Dims } from '../../compiler/head-dim.ts'
import type { Expr } from '../../compiler/ir.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'

export function knownDim(
  { sizes, headDim, valueDim }: Dims & { readonly sizes: Sizes },
  size: Expr,
): number | null {
  if (size === sizes.var('headDim')) return headDim
  return size === sizes.var('valueDim') ? valueDim : null
}

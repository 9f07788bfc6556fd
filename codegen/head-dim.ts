/** A program and the head dims that kernels are asked for in; an error with its place where they do not fit it, out. */

import type { Diagnostic } from '../compiler/diagnostics.ts'
import { misfitAt } from '../compiler/head-dim.ts'
import type { StagePlan } from '../compiler/stages/plan.ts'

/** Vectors of other lengths meet at the head dim that kernels were asked for: they would read each other's neighbours. */
export class HeadDimError extends Error {
  readonly headDim: number
  readonly diagnostic: Diagnostic

  constructor(headDim: number, diagnostic: Diagnostic) {
    super(`at head dim ${headDim}: ${diagnostic.text}`)
    this.name = 'HeadDimError'
    this.headDim = headDim
    this.diagnostic = diagnostic
  }
}

/** @throws HeadDimError */
export function checkWidths(
  stages: StagePlan | null | undefined,
  headDims: readonly number[],
  valueDims: readonly number[] = headDims,
): void {
  if (!stages) return
  headDims.forEach((headDim, n) => {
    const found = misfitAt(stages, { headDim, valueDim: valueDims[n] ?? headDim })
    if (found) throw new HeadDimError(headDim, found)
  })
}

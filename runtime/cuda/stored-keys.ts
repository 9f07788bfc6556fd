/** Keys and values that kernels of a program left, in place of a call's: what a launch over them is checked and mapped by. */

import type { Operands } from './call.ts'
import type { Address } from './driver.ts'
import type { FasterLaunch } from './stages.ts'
import { stridesOf } from '../tensor.ts'

/** The operands as they are for a launch over so many stored rows; without those, as they are. */
export function operandsOver<T extends Operands>(operands: T, { keyRows }: FasterLaunch): T {
  if (keyRows === null) return operands
  const { sizes, views, lengths } = operands
  const { batch, kvHeads, headDim, valueDim } = sizes
  const along = (dim: number) => {
    const shape = [batch, kvHeads, keyRows, dim] as const
    return { shape, strides: stridesOf(shape, 'bhld') }
  }
  const [k, v] = [
    { ...views.k, ...along(headDim) },
    { ...views.v, ...along(valueDim) },
  ]
  return {
    ...operands,
    sizes: { ...sizes, kvRows: keyRows },
    views: { ...views, k, v },
    lengths: lengths.map((l) => ({ ...l, kvStart: 0, kvLen: keyRows })),
  }
}

/** The views that its tensor maps are of, where `list` begins there. */
export function mappedViews(
  views: Operands['views'],
  { keys, keyRows }: FasterLaunch,
  list: Address,
): Operands['views'] {
  if (keys === null || keyRows === null) return views
  const [batch, heads, rows, dim] = views.k.shape
  const shape = [keys.parts * batch, heads, rows, dim] as const
  const behind = BigInt(2 * keys.parts * batch * heads * rows * dim)
  return { ...views, k: { ...views.k, address: list, shape }, v: { ...views.v, address: list + behind } }
}

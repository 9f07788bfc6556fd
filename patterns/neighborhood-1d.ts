/** neighborhood-1d: the nearest keys on a line, always the same number of them. */

import { clamp, floorDiv, i32, mod, pattern } from '../dsl/index.ts'

/**
 * Whether y is among the `window` nearest of x on an axis of `length` points, moved inwards at the ends, so
 * that there are always exactly `window`. With dilation only points of the same residue meet, and nearness
 * counts in those.
 */
export const isNeighbor = (
  x: number,
  y: number,
  length: number,
  window: number,
  dilation: number,
): boolean => {
  const residue = mod(x, dilation)
  const points = floorDiv(length - residue + dilation - 1, dilation)
  const first = clamp(floorDiv(x, dilation) - floorDiv(window, 2), 0, points - window)
  const at = floorDiv(y, dilation)
  return mod(y, dilation) === residue && at >= first && at < first + window
}

/**
 * Neighborhood attention on a line (NATTEN, 2022), bidirectional: each query sees exactly `window` keys,
 * itself in the middle, or as near to it as the ends allow; an even window has one more on the left. With
 * `dilation` d it sees every d-th key only (DiNAT, 2022). `window` counts keys; window * dilation should not
 * exceed kvLen, else all keys of the residue are seen.
 */
export const neighborhood1d = pattern({
  name: 'neighborhood-1d',
  cite: 'Neighborhood Attention, arXiv:2204.07143; DiNAT, arXiv:2209.15001',
  consts: { dilation: 1 },
  params: { window: i32(513, { min: 1, max: 2 ** 22 }) },
  mask: ({ q, kv, kvLen, window, dilation }) => isNeighbor(q, kv, kvLen, window, dilation),
})

/** Kept pairs by tile in; the share of pairs that is kept and the share of tiles that holds one out, of the causal ones. */

import type { TileCounts } from './probe.ts'

export interface Density {
  /** Kept pairs / causal pairs. */
  readonly density: number
  /** Tiles of 64 x 64 that hold a kept pair / those that hold a causal one. */
  readonly tiles: number
}

/** Of layers of `heads` heads each, over a text of so many tokens in so many blocks. */
export function densityOf(
  counts: readonly TileCounts[],
  { heads, length, blocks }: { readonly heads: number; readonly length: number; readonly blocks: number },
): Density {
  let [pairs, tiles] = [0, 0]
  for (const layer of counts) {
    for (const kept of layer) {
      pairs += kept
      tiles += Number(kept > 0)
    }
  }
  const planes = counts.length * heads
  return {
    density: pairs / planes / ((length * (length + 1)) / 2),
    tiles: tiles / planes / ((blocks * (blocks + 1)) / 2),
  }
}

/** Keys: the keys of one tile, wherever they stand; contiguous ones here, gathered ones in parts.ts. */

import type { Place } from './frame.ts'
import { add, bool, lt, min, op, toU32, type Code, type Memory } from './kernel.ts'
import { lastKey } from './stage.ts'

/** Key `n` of a tile, an i32 from 0 to tile.kv - 1. */
export interface Keys {
  /** Its position; `clamp` gives a real one where the key is not there. */
  readonly position: (n: Code, clamp: boolean) => Code
  readonly inside: (n: Code) => Code
  /** The row of K and V, and whether it may be read; in a full tile all are there. `n` is a u32 here. */
  readonly row: (full: boolean) => (n: Code) => { readonly at: Code; readonly valid: Code }
  /** A number of its own for each tile of a kernel, with room for tile.kv more. */
  readonly mark: Code
  /** Which of them a row of the tile has, in words of bits; absent: all rows have all. */
  readonly rowKeys?: Memory
}

/** The keys from `kvLo` on. */
export const contiguous = (place: Place, kvLo: Code): Keys => {
  const position = (n: Code) => add(kvLo, n)
  return {
    position: (n, clamp) => (clamp ? min(position(n), lastKey(place)) : position(n)),
    inside: (n) => lt(position(n), place.kvLen),
    row: (full) => (n) => {
      const own = position(op('i32', 'fromU32', n))
      return { at: toU32(add(place.kvStart, own)), valid: full ? bool(true) : lt(own, place.kvLen) }
    },
    mark: toU32(kvLo),
  }
}

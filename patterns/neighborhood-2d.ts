/** neighborhood-2d: the nearest keys on an image, always the same number of them. */

import { floorDiv, i32, mod, pattern } from '../dsl/index.ts'
import { isNeighbor } from './neighborhood-1d.ts'

/**
 * Neighborhood attention on an image (NATTEN, 2022), bidirectional: tokens are the points of a `height` by
 * `width` grid, row by row; each query sees the `windowHeight` by `windowWidth` points around it, moved
 * inwards at the edges, so always the same number. The consts `dilationHeight` and `dilationWidth` spread
 * them out (DiNAT, 2022). All count grid points. Tokens beyond the grid see nothing and are not seen.
 */
export const neighborhood2d = pattern({
  name: 'neighborhood-2d',
  cite: 'Neighborhood Attention, arXiv:2204.07143; DiNAT, arXiv:2209.15001',
  consts: { dilationHeight: 1, dilationWidth: 1 },
  params: {
    height: i32(64, { min: 1, max: 4096 }),
    width: i32(64, { min: 1, max: 4096 }),
    windowHeight: i32(13, { min: 1, max: 4096 }),
    windowWidth: i32(13, { min: 1, max: 4096 }),
  },
  mask: ({ q, kv, height, width, windowHeight, windowWidth, dilationHeight, dilationWidth }) => {
    const size = height * width
    return (
      q < size &&
      kv < size &&
      isNeighbor(floorDiv(q, width), floorDiv(kv, width), height, windowHeight, dilationHeight) &&
      isNeighbor(mod(q, width), mod(kv, width), width, windowWidth, dilationWidth)
    )
  },
})

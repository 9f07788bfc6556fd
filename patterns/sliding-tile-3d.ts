/** sliding-tile-3d: whole tiles of a video around the query's tile, and text. */

import { floorDiv, i32, mod, pattern, perHead } from '../dsl/index.ts'
import { isNeighbor } from './neighborhood-1d.ts'

/**
 * Sliding tile attention (STA, 2025), bidirectional: the tokens of a video stand tile by tile (`tileTokens`
 * each, 384 for tiles of 6 x 8 x 8), the tiles row by row in a canvas of `tilesT` x `tilesH` x `tilesW`. Each
 * query sees all tokens of the `windowT` x `windowH` x `windowW` tiles around its own, moved inwards at the
 * canvas' ends; windows are per head and odd in STA. Tokens after the video are text: seen by every query,
 * and seeing every key. Canvas and windows count tiles.
 */
export const slidingTile3d = pattern({
  name: 'sliding-tile-3d',
  cite: 'Sliding Tile Attention, arXiv:2502.04507',
  params: {
    tilesT: i32(5, { min: 1, max: 64 }),
    tilesH: i32(6, { min: 1, max: 64 }),
    tilesW: i32(10, { min: 1, max: 64 }),
    tileTokens: i32(384, { min: 1, max: 4096 }),
    windowT: perHead(i32(3, { min: 1, max: 64 })),
    windowH: perHead(i32(3, { min: 1, max: 64 })),
    windowW: perHead(i32(3, { min: 1, max: 64 })),
  },
  mask: ({ q, kv, tilesT, tilesH, tilesW, tileTokens, windowT, windowH, windowW }) => {
    const videoTokens = tilesT * tilesH * tilesW * tileTokens
    const qTile = floorDiv(q, tileTokens)
    const kvTile = floorDiv(kv, tileTokens)
    const qRow = floorDiv(qTile, tilesW)
    const kvRow = floorDiv(kvTile, tilesW)
    const isNear =
      isNeighbor(floorDiv(qRow, tilesH), floorDiv(kvRow, tilesH), tilesT, windowT, 1) &&
      isNeighbor(mod(qRow, tilesH), mod(kvRow, tilesH), tilesH, windowH, 1) &&
      isNeighbor(mod(qTile, tilesW), mod(kvTile, tilesW), tilesW, windowW, 1)
    return q >= videoTokens || kv >= videoTokens || isNear
  },
})

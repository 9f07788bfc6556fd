/** A pattern of a mask in, one random call of it out: lengths around the ends of tiles, padding, queries that stand anywhere. */

import type { Pattern } from '../../dsl/index.ts'
import type { Length } from '../lengths.ts'
import type { Layout } from '../tensor.ts'
import type { AttentionCase, CaseVariant } from './cases.ts'
import type { Draw } from './draw.ts'
import { drawGiven, WORK, type CaseSizes } from './given.ts'

export function drawMaskCase(d: Draw, pattern: Pattern, variant: CaseVariant): AttentionCase {
  const { headDim, valueDim, dtype, tile, fewRows, keyTiles } = variant
  const perPair = headDim + valueDim
  let qRows = fewRows === undefined ? drawLength(d, tile.q) : d.int(1, fewRows)
  const isLong = keyTiles !== undefined && d.oneIn(3)
  const kvRows = isLong ? d.int(1, keyTiles * tile.kv) : d.oneIn(4) ? qRows : drawLength(d, tile.kv)
  if (qRows * kvRows * perPair > WORK) qRows = Math.max(1, Math.floor(WORK / (kvRows * perPair)))
  const room = Math.max(1, Math.floor(WORK / Math.max(1, qRows * kvRows * perPair)))
  const kvHeads = Math.min(room, d.int(1, 3))
  const qHeads = kvHeads * Math.min(Math.max(1, Math.floor(room / kvHeads)), d.pick([1, 2, 3, 4]))
  const batch = Math.min(Math.max(1, Math.floor(room / qHeads)), d.int(1, 2))
  const sizes: CaseSizes = { batch, qHeads, kvHeads, qRows, kvRows, headDim }
  const given = drawGiven(d, pattern, sizes)
  const lengths = kvRows < qRows || d.oneIn(3) ? d.list(batch, () => drawLengthEntry(d, sizes)) : undefined
  const scale = d.oneIn(4) ? d.pick([0.25, 1, 0.0625]) : undefined
  const layout = d.pick<Layout>(['bhld', 'blhd'])
  return {
    ...sizes,
    valueDim,
    dtype,
    layout,
    scale,
    lengths,
    ...given,
    seed: d.choose(2 ** 16),
  }
}

/** Nothing, one, the ends of tiles, and anything up to a little more than two tiles. */
function drawLength(d: Draw, tile: number): number {
  const roll = d.choose(8)
  if (roll < 2) return d.int(1, 9)
  if (roll < 4) return d.int(1, Math.min(150, 2 * tile + 9))
  return [tile + 1, tile, Math.max(1, tile - 1), d.oneIn(4) ? 0 : 1][roll - 4]!
}

/** Padding on either side, fewer tokens than rows, queries that stand anywhere, also before the first key. */
function drawLengthEntry(d: Draw, { qRows, kvRows }: CaseSizes): Length {
  const kvStart = d.oneIn(3) ? d.int(0, kvRows) : 0
  const kvLen = d.oneIn(2) ? d.int(0, kvRows - kvStart) : kvRows - kvStart
  const qRow = d.oneIn(3) ? d.int(0, qRows) : 0
  const qLen = d.oneIn(2) ? d.int(0, qRows - qRow) : qRows - qRow
  const qStart = kvLen < qLen || d.oneIn(3) ? d.smallInt(-5, kvRows + 40) : kvLen - qLen
  return { qRow, qStart, qLen, kvStart, kvLen }
}

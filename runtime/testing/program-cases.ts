/** A pattern with a `forward` in, one random call of it out: lengths of several of its blocks, whole prompts, chunks and single steps. */

import type { Pattern } from '../../dsl/index.ts'
import { rowsShape } from '../stage-sizes.ts'
import type { Layout, Shape } from '../tensor.ts'
import type { AttentionCase, CaseVariant } from './cases.ts'
import type { Draw } from './draw.ts'
import { drawGiven, WORK } from './given.ts'

/** Tokens of the longest calls: the oracle looks at each pair, of each head. */
export const MOST_TOKENS = 600
const LEAST_TOKENS = 120
/** Blocks of a program's size that its longest calls have. */
const BLOCKS = 5
/** A program does several times what attention alone does. */
const SHARE = 2

/** What a program cuts its tokens by, as far as its consts say: those that are longer than the calls are left out. */
export const sizesIn = ({ consts }: Pick<Pattern, 'consts'>): number[] =>
  Object.values(consts).filter((n) => n > 1 && n <= MOST_TOKENS)

export function drawProgramCase(d: Draw, pattern: Pattern, variant: CaseVariant): AttentionCase {
  const { headDim, valueDim, dtype } = variant
  const kvRows = drawTokens(d, sizesIn(pattern))
  const most = Math.max(1, Math.floor(WORK / (SHARE * kvRows * (headDim + valueDim))))
  const qRows = d.pick([() => kvRows, () => 1, () => d.int(1, kvRows)])()
  const rows = Math.min(qRows, most)
  const room = Math.max(1, Math.floor(most / rows))
  const kvHeads = Math.min(room, d.int(1, 2))
  const qHeads = kvHeads * Math.min(Math.max(1, Math.floor(room / kvHeads)), d.pick([2, 1, 4]))
  const batch = Math.min(Math.max(1, Math.floor(room / qHeads)), d.int(1, 2))
  const indexHeads = d.pick([2, 1, 3])
  const channels = d.pick([8, 16, 5])
  const sizes = { batch, qHeads, kvHeads, qRows: rows, kvRows, headDim }
  const vectors = Object.entries(pattern.tables).flatMap(([name, spec]): [string, Shape][] =>
    spec.kind === 'rows-input' ? [[name, rowsShape(spec, sizes, indexHeads, channels)]] : [],
  )
  const given = drawGiven(d, pattern, vectors.length > 0 ? { ...sizes, indexHeads } : sizes)
  return {
    ...sizes,
    valueDim,
    dtype,
    layout: d.pick<Layout>(['bhld', 'blhd']),
    scale: d.oneIn(4) ? d.pick([0.25, 1, 0.0625]) : undefined,
    lengths: undefined,
    ...given,
    rows: Object.fromEntries(vectors),
    seed: d.choose(2 ** 16),
  }
}

/** A few tokens, any number up to several blocks, and the ends of blocks. */
function drawTokens(d: Draw, sizes: readonly number[]): number {
  const most = Math.min(MOST_TOKENS, Math.max(LEAST_TOKENS, BLOCKS * Math.max(0, ...sizes)))
  const roll = d.choose(4)
  if (roll === 0) return d.int(1, 9)
  if (roll < 3 || sizes.length === 0) return d.int(1, most)
  const size = d.pick(sizes)
  return Math.min(MOST_TOKENS, size * d.int(1, Math.max(1, Math.floor(most / size))) + d.int(-1, 1))
}

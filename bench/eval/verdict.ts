/** A pattern's numbers beside the dense ones in; in a sentence what it loses, and where, out. */

import type { EvalRow } from './evaluate.ts'
import { shareOf, type Count } from './scores.ts'

type Judged = Omit<EvalRow, 'verdict'>

/** Of the answers that dense attention gives, so many have to be left. */
export const KEEPS_UP = 0.95
/** A model that misses more under dense attention is no judge. */
export const DENSE_NEEDS = 0.99

const percent = (x: number): string => `${(100 * x).toFixed(x > 0.995 && x < 1 ? 1 : 0)} %`
const of = (count: Count): string => `${percent(shareOf(count)!)} of ${count.answers}`

export function verdictOf(row: Judged, dense: EvalRow | null): string {
  if (row.accuracy === null) {
    if (dense === null || row.perplexity === null || dense.perplexity === null) return ''
    const more = row.perplexity / dense.perplexity - 1
    return `perplexity ${more >= 0 ? '+' : ''}${(100 * more).toFixed(1)} %`
  }
  if (dense === null || dense.accuracy === null)
    return row.accuracy >= DENSE_NEEDS
      ? 'answers'
      : `answers ${percent(row.accuracy)}: no judge of the patterns`
  if (row.accuracy >= KEEPS_UP * dense.accuracy) return 'keeps up with dense'
  const [near, far] = [shareOf(row.near), shareOf(row.far)]
  const denseFar = shareOf(added(dense))!
  if (far !== null && far < KEEPS_UP * denseFar) {
    const beside = near === null ? '' : `; nearer: ${of(row.near)}`
    return `fails on needles farther than ${row.nearest} tokens: ${of(row.far)}${beside}`
  }
  return `worse than dense: ${percent(row.accuracy)} against ${percent(dense.accuracy)}`
}

/** Dense attention counts all as near. */
const added = ({ near, far }: Pick<EvalRow, 'near' | 'far'>): Count => ({
  answers: near.answers + far.answers,
  right: near.right + far.right,
})

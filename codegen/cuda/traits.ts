/** What a skeleton may know of a plan while it is compiled: the constexprs at the head of a pattern section. */

import { nodesOf, type Expr } from '../../compiler/ir.ts'
import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import { rateOf, type Rate } from '../expr.ts'
import type { PassForm } from './pattern.ts'

/** Instructions, about, that a cheap mask takes at most: a pair, and a key whatever the query is. */
const CHEAP = 16
const CHEAP_KEYS = 6

const isPower = (e: Expr): boolean =>
  e.op === 'const' && typeof e.arg === 'number' && e.arg > 0 && Number.isInteger(Math.log2(e.arg))

/** A divisor that is known before the kernel starts, or once for a place: multiplied by its reciprocal. */
export const isPrepared = (divisor: Expr): boolean => divisor.op === 'param' || divisor.op === 'derived'

/** Instructions, about, of a node that is not a leaf; infinite: a read that waits, a chain of products, a division's twenty. */
function costOf(e: Expr): number {
  switch (e.op) {
    case 'const':
    case 'var':
    case 'param':
    case 'derived':
      return 0
    case 'load':
    case 'pick':
    case 'hash':
      return Infinity
    case 'rem':
      return isPower(e.src[1]!) ? 4 : e.src[1]!.op === 'const' ? 6 : Infinity
    case 'floorDiv':
    case 'mod':
    case 'alignDown': {
      const divisor = e.src[1]!
      if (isPower(divisor)) return 1
      if (divisor.op !== 'const' && !isPrepared(divisor)) return Infinity
      return e.op === 'floorDiv' ? 6 : 8
    }
    case 'isPow2':
    case 'log2Floor':
      return 4
    default:
      return 1
  }
}

/** A read, a hash or a division: worth doing once for all pairs that share it. */
export const isDear = (e: Expr): boolean => costOf(e) > 4

/**
 * True if `keeps` is a few instructions a pair, so that a skeleton unrolls it over its scores. A thread holds tens of scores
 * of a few rows: unrolled, what depends on the row alone is done once, and what depends on the key alone once for all rows,
 * but its results for all keys are alive at once, and beyond CHEAP_KEYS registers spill. An unrolled mask of 16 instructions
 * is small beside the exponentials and products of a partial tile; a read or a division for each of 64 scores would fill the
 * instruction cache and the registers.
 */
export function isCheap(mask: Expr): boolean {
  const rates = new Map<Expr, Rate>()
  const cost = (rate: Rate) =>
    nodesOf(mask).reduce((sum, e) => (rateOf(e, rates) === rate ? sum + costOf(e) : sum), 0)
  return cost('column') <= CHEAP_KEYS && cost('pair') + cost('column') / 2 <= CHEAP
}

const isOpen = (mask: Expr): boolean => mask.op === 'const' && mask.arg === true

const isMasked = (plan: KernelPlan): boolean => !isOpen(plan.mask)

/** `listed`: the skeleton walks a list of tiles, whichever way it was made. */
export function traitsText(
  plan: KernelPlan,
  listed: boolean,
  { step, part, aligned, before, makes }: PassForm,
): string {
  const scoreReadsHead = plan.score !== null && readsHead({ ...plan, mask: plan.score })
  const rows: readonly (readonly [name: string, value: boolean, about: string])[] = [
    ['MASKED', isMasked(plan), 'some pair may be dropped; if not, tiles inside kvLen are full'],
    ['SCORED', plan.score !== null, 'scoreOf changes the scaled logit'],
    ['SINK', plan.sinkLogit !== null, 'sinkLogitOf adds to the denominator'],
    ['TESTED', plan.tiles.kept.some((t) => t.test !== null), 'isReached asks more than intervals'],
    ['LISTED', listed, 'tiles are listed by the entry `list`'],
    ['LOOKS', plan.tiles.how === 'list', 'it looks at the pairs of a tile, not at its tests alone'],
    ['SHARES_LISTS', !readsHead(plan) && !aligned, 'one list serves all heads'],
    ['ORDERED', step !== null, 'rows and keys are taken by classes of the same remainder'],
    ['ALIGNED', aligned, 'query tiles begin at positions that are multiples of TILE_Q'],
    ['PARTIAL', part === 'first', 'outputs go to the scratch as they are, for a pass that joins its own'],
    [
      'STATE',
      makes === 'state',
      'outputs and sums go to call.state as they are, for an attend that goes on with them',
    ],
    ['BEFORE', before, 'call.before holds what an attend before made of other pairs'],
    ['MERGES', part === 'last', 'scratch and lse hold what an earlier pass made of other pairs'],
    ['MASK_READS_HEAD', readsHead(plan), 'keeps and the tiles may differ between heads'],
    ['SCORE_READS_HEAD', scoreReadsHead, 'scoreOf may differ between heads'],
    ['CHEAP_MASK', isCheap(plan.mask), 'keeps is a few instructions: unroll it'],
  ]
  const text = rows.map(([name, value]) => `constexpr bool ${name} = ${value};`)
  const wide = Math.max(...text.map((t) => t.length))
  return rows.map(([, , about], i) => `${text[i]!.padEnd(wide)}  // ${about}`).join('\n')
}

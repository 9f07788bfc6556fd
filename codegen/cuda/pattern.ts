/** patternSection(): a KernelPlan in, the part of a .cu text that knows the pattern out. Everything else is the same for all. */

import type { Expr } from '../../compiler/ir.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { printer } from '../print.ts'
import { PlaceText } from './place.ts'
import { Body, reachText } from './reach.ts'
import { CUDA, CUDA_EAGER } from './target.ts'
import { isCheap, traitsText } from './traits.ts'

/** How a launch takes the pairs of its plan, where a call is several launches. */
export interface PassForm {
  /** Rows and keys are taken by residue; null: in their own order. */
  readonly step: Expr | null
  /** `first` leaves unrounded outputs in the scratch for `last`, which joins its own pairs to them. */
  readonly part: 'whole' | 'first' | 'last'
  /** Query tiles are cut at positions that are multiples of their size, as the query units of lists are. */
  readonly aligned: boolean
  /** Of an attend that goes on with a state, and of one that makes a state. */
  readonly before: boolean
  readonly makes: 'output' | 'state'
}
export const ALONE: PassForm = { step: null, part: 'whole', aligned: false, before: false, makes: 'output' }
export const OVER_LISTS: PassForm = { ...ALONE, aligned: true }

/** One launch of a call: its pairs are those of its plan. */
export interface Pass extends PassForm {
  readonly plan: KernelPlan
}

/** The launches of a call, in order; none where a plan has no order by residue and that is asked for. */
export function passesOf(plan: KernelPlan, byResidue: boolean): readonly Pass[] {
  if (!byResidue) return [{ plan, ...ALONE }]
  if (plan.residues === null) return []
  const { step, inside, rest } = plan.residues
  const narrowed = { ...plan, ...inside, residues: null }
  const own = { ...ALONE, step }
  if (rest === null) return [{ ...own, plan: narrowed }]
  // The rest has few products for its bytes: what it leaves is read under the products of the other. And of parts that are
  // joined exactly one has the sink in its denominator.
  return [
    { ...ALONE, plan: { ...plan, ...rest, residues: null }, part: 'first' },
    { ...own, plan: { ...narrowed, sinkLogit: null }, part: 'last' },
  ]
}

/**
 * The section stands between the prelude and tiles.cuh; TILE_KV is a constexpr before it. Whatever a pattern's author named
 * appears as a member of Place or in the namespace `tables`, so it cannot meet a name of a skeleton.
 */
export function patternSection(
  plan: KernelPlan,
  listed = plan.tiles.how === 'list',
  form: PassForm = ALONE,
): string {
  const place = new PlaceText(plan, form.step)
  const print = printer(CUDA)
  const maskPrint = isCheap(plan.mask) ? printer(CUDA_EAGER) : print
  const method = (signature: string, e: Expr | null, otherwise: string, by = print): string => {
    if (!e) return `DEVICE ${signature} { return ${otherwise}; }`
    const body = new Body(place, by)
    body.name(e)
    const value = body.text(e)
    const statements = body.statements()
    return statements === '' && value.length < 60
      ? `DEVICE ${signature} { return ${value}; }`
      : `DEVICE ${signature} {\n${statements}  return ${value};\n}`
  }
  const functions = [
    reachText(plan, form.step !== null, place, print),
    "// q and kv are positions; kv < kvLen is the caller's to check.\n" +
      method('bool keeps(Call const& call, Place const& p, int q, int kv)', plan.mask, 'true', maskPrint),
    '// s is scale * (q . k), natural-log units.\n' +
      method('float scoreOf(Call const& call, Place const& p, float s, int q, int kv)', plan.score, 's'),
    method('float sinkLogitOf(Call const& call, Place const& p)', plan.sinkLogit, '-INFINITE'),
  ]
  // Printed last: what the functions above call is known only now.
  const parts = [
    'constexpr int NO_TILE = 0x7fffffff;',
    traitsText(plan, listed, form),
    [...new Map([...print.helpers, ...maskPrint.helpers]).values()].map((h) => h.text).join('\n'),
    place.arrays().join('\n'),
    place.text(),
    place.order(form.aligned),
    place.tables() ?? '',
    ...functions,
  ]
  return `${parts.filter((p) => p !== '').join('\n\n')}\n`
}

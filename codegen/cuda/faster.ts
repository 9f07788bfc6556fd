/** fasterOf(): an attend of a program in; what kernels of a mask's own kind, one behind the other, do it with out; none: []. */

import type { KernelPlan } from '../../compiler/plan.ts'
import type { AttendForm } from '../stages/attend-form.ts'
import { GATHER, RECORD_HEADER, recordQueries, walksSets } from './gather.ts'
import { HOPPER, KEY_PARTS, ROUNDED } from './hopper.ts'
import { LISTS, walksNot } from './lists.ts'
import type { CudaFaster, CudaVariant } from './manifest.ts'
import { ALONE, OVER_LISTS, patternSection, type PassForm } from './pattern.ts'
import { ROWS, walksRows } from './rows.ts'
import type { Request, SkeletonSpec } from './skeleton.ts'
import { idOf, isListed, paddedDim, variantOf } from './variant.ts'

type Dims = Pick<Request, 'headDim' | 'valueDim' | 'dtype'> & { readonly debug: boolean }
type Walked = Partial<Pick<Request['traits'], 'list' | 'sets'>>

/** An attend over ranges of the mask's kind, over lists, or over both: then what the first leaves is joined by the second. */
export function fasterOf(form: AttendForm, dims: Dims): readonly CudaFaster[] {
  const { ranges, listed, keys, before, state } = form
  const made = { before: before !== null, makes: state === null ? 'output' : 'state' } as const
  const stored = { lists: [], order: null, keys: null, before, state, records: null }
  const whole: PassForm = { ...ALONE, ...made }
  if (keys) return ranges ? ofStored(keys, ranges, whole, dims, stored) : []
  if (ranges && !listed) return [{ ...stored, variant: variantFor(HOPPER, ranges, whole, dims, {}) }]
  if (!listed) return []
  const { plan, lists, keyOrder, records } = listed
  const names = lists.map((l) => l.stored)
  const infos = lists.map((l) => l.info)
  const both = [dims.headDim, dims.valueDim]
  const plain = !ranges && !keyOrder && !before && state === null
  if (plain && walksNot(infos, both) === null)
    return [
      {
        ...stored,
        lists: names,
        variant: variantFor(LISTS, plan, OVER_LISTS, dims, { list: infos[0]! }),
      },
    ]
  const sets = { lists: infos, keyOrder: keyOrder && keyOrder.share }
  if (!walksSets(sets, both)) {
    if (ranges || keyOrder || before !== null || !walksRows(infos, plan, both)) return []
    const variant = variantFor(ROWS, plan, { ...ALONE, ...made }, dims, { list: infos[0]! })
    return [{ ...stored, lists: names, variant }]
  }
  if (ranges && (before !== null || state !== null)) return []
  const part = ranges ? 'last' : 'whole'
  const variant = variantFor(GATHER, plan, { ...OVER_LISTS, ...made, part }, dims, { sets })
  const walk: CudaFaster = {
    ...stored,
    lists: names,
    order: keyOrder && keyOrder.stored,
    records: records({ queries: recordQueries(sets), run: variant.tile.kv, header: RECORD_HEADER }),
    variant,
  }
  if (!ranges) return [walk]
  // Of parts that are joined exactly one has the sink in its denominator.
  const rest = variantFor(HOPPER, { ...ranges, sinkLogit: null }, { ...ALONE, part: 'first' }, dims, {})
  return [{ ...stored, variant: rest }, walk]
}

/** Of keys and values that are f32: no half of IEEE's has the size of each. */
function ofStored(
  keys: NonNullable<AttendForm['keys']>,
  plan: KernelPlan,
  form: PassForm,
  dims: Dims,
  stored: Omit<CudaFaster, 'variant'>,
): readonly CudaFaster[] {
  const most = Math.max(...ROUNDED.headDims)
  const fits = dims.dtype === 'bf16' && dims.headDim <= most && dims.valueDim <= most
  if (!fits || plan.tiles.how !== 'ranges') return []
  const variant = variantFor(ROUNDED, plan, form, dims, {})
  return [{ ...stored, keys: { ...keys, parts: KEY_PARTS }, variant }]
}

function variantFor(
  spec: SkeletonSpec,
  plan: KernelPlan,
  form: PassForm,
  { debug, ...dims }: Dims,
  { list = null, sets = null }: Walked,
): CudaVariant {
  const request: Request = {
    headDim: paddedDim(spec, dims.headDim),
    valueDim: paddedDim(spec, dims.valueDim),
    dtype: dims.dtype,
    traits: { scored: plan.score !== null, plan, list, sets },
  }
  const walks = spec.walks === 'sets'
  const listed = !walks && (list !== null || isListed(plan, spec))
  const passes = [{ ...form, plan }]
  const sections = [patternSection(plan, listed, form)]
  const [shape] = spec.shapes(request)
  return variantOf(idOf(spec, request), spec, request, shape!, { plan, passes, listed, sections, debug })
}

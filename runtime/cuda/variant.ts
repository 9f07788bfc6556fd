/** The choice of a kernel: an artefact's variants, a call and a device in; the first variant that takes the call there out. */

import type { CallRule, CudaArtifact, CudaDtype, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { HeddleError } from '../messages.ts'
import type { CudaDriver } from './driver.ts'
import type { Misaligned } from './tensor.ts'

export interface CudaWanted {
  readonly dtype: CudaDtype
  readonly headDim: number
  readonly valueDim: number
  readonly qRows: number
  readonly paged: boolean
  /** Why whole vectors cannot be loaded; null: they can. */
  readonly misaligned: Misaligned | null
  /** The value of a rule for this call. */
  readonly rule: (rule: CallRule) => number
}

export type CudaPowers = Pick<CudaDriver, 'capability' | 'maxSharedBytes'>

/** Why a variant does not take the call, as words; null if it does. `asked`: by its id, so that it need not be the best. */
function obstacle(
  v: CudaVariant,
  wanted: CudaWanted,
  { capability, maxSharedBytes }: CudaPowers,
  asked: boolean,
): string | null {
  const { major, minor } = capability
  const device = 10 * major + minor
  const version = (n: number) => (n / 10).toFixed(1)
  if (v.dtype !== wanted.dtype) return `it is for ${v.dtype}`
  if (v.headDim < wanted.headDim) return `its headDim is at most ${v.headDim}`
  if (v.valueDim < wanted.valueDim) return `its valueDim is at most ${v.valueDim}`
  const { min, max } = v.capability
  if (device < min || device > max)
    return `it is for compute capability ${version(min)}${max === min ? '' : ` to ${version(max)}`}, the device has ${version(device)}`
  const shared = Math.max(...v.entries.map((e) => e.sharedBytes))
  if (shared > maxSharedBytes)
    return `it needs ${shared} bytes of shared memory, the device has ${maxSharedBytes}`
  if (wanted.paged && !v.needs.pages) return 'it takes no pages'
  if (v.needs.qRows !== null && wanted.qRows > v.needs.qRows)
    return `it takes at most ${v.needs.qRows} query rows`
  if (!asked && v.pays !== null && !wanted.rule(v.pays)) return 'it does not pay for these sizes and params'
  const { misaligned } = wanted
  return v.needs.vectors && misaligned
    ? `it needs ${misaligned.tensor} to have ${misaligned.what} in multiples of ${misaligned.multiple}`
    : null
}

const words = ({ dtype, headDim, valueDim, qRows, paged }: CudaWanted) =>
  `${dtype}, headDim ${headDim}${valueDim === headDim ? '' : `, valueDim ${valueDim}`}, ${qRows} query rows${paged ? ', paged' : ''}`

/** @param id takes this variant alone into account: for tests and measurements */
export function chooseCudaVariant(
  { pattern, variants }: Pick<CudaArtifact, 'pattern' | 'variants'>,
  wanted: CudaWanted,
  powers: CudaPowers,
  id?: string,
): CudaVariant {
  const candidates = variants.filter((v) => id === undefined || v.id === id)
  if (candidates.length === 0 && id !== undefined) {
    const present = variants.map((v) => v.id)
    throw new HeddleError('no-variant', { wanted: `${words(wanted)} called ${id}`, present })
  }
  const reasons: string[] = []
  for (const variant of candidates) {
    const reason = obstacle(variant, wanted, powers, id !== undefined)
    if (reason === null) return variant
    reasons.push(`${variant.id}: ${reason}`)
  }
  // Where the alignment alone is in the way of the one variant that was asked for, the tensor is what has to change.
  const { misaligned } = wanted
  const [only] = candidates
  if (
    id !== undefined &&
    misaligned &&
    obstacle(only!, { ...wanted, misaligned: null }, powers, true) === null
  )
    throw new HeddleError('alignment', misaligned)
  throw new HeddleError('cuda-variant', { pattern, wanted: words(wanted), reasons })
}

/** The choice of a kernel: an artefact's variants, the call's sizes and the device's powers in, one variant out. */

import type { Variant } from '../codegen/artifact.ts'
import { HeddleError } from './messages.ts'
import type { StorageDtype } from './tensor.ts'

export interface Wanted {
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: StorageDtype
}

type LimitName =
  | 'maxComputeWorkgroupStorageSize'
  | 'maxComputeInvocationsPerWorkgroup'
  | 'maxComputeWorkgroupSizeX'
  | 'maxStorageBuffersPerShaderStage'

/** What the choice looks at. */
type Choice = Pick<Variant, 'id' | 'headDim' | 'valueDim' | 'dtype' | 'capability' | 'workgroup'>

/** What a device can do, as far as kernels ask. */
export interface Powers {
  readonly features: { has(name: string): boolean }
  readonly limits: Readonly<Record<LimitName, number>>
  /** The subgroup sizes that a pipeline may meet; null if the adapter does not say. */
  readonly subgroup: { readonly min: number; readonly max: number } | null
}

export function powersOf(device: GPUDevice): Powers {
  const { subgroupMinSize: min, subgroupMaxSize: max } = device.adapterInfo ?? {}
  return {
    features: device.features,
    limits: device.limits,
    subgroup: min !== undefined && max !== undefined ? { min, max } : null,
  }
}

/** The first thing that a variant needs and the device lacks, as words; null if it runs. */
export function unmetNeed(
  { id, capability, workgroup }: Pick<Choice, 'id' | 'capability' | 'workgroup'>,
  { features, limits, subgroup }: Powers,
): string | null {
  const feature = capability.features.find((f) => !features.has(f))
  if (feature !== undefined) return `${id} needs the feature ${feature}`
  const { workgroupBytes, invocations, storageBuffers } = capability.limits
  const rows: readonly (readonly [LimitName, number])[] = [
    ['maxComputeWorkgroupStorageSize', workgroupBytes],
    ['maxComputeInvocationsPerWorkgroup', Math.max(invocations, workgroup)],
    ['maxComputeWorkgroupSizeX', workgroup],
    ['maxStorageBuffersPerShaderStage', storageBuffers],
  ]
  for (const [limit, needed] of rows) {
    if (limits[limit] < needed) return `${id} needs ${limit} = ${needed}, the device has ${limits[limit]}`
  }
  const sizes = capability.subgroup
  if (sizes === null) return null
  if (subgroup === null)
    return `${id} needs subgroups of ${sizes.min} to ${sizes.max}, the device names no sizes`
  return sizes.min <= subgroup.min && subgroup.max <= sizes.max
    ? null
    : `${id} needs subgroups of ${sizes.min} to ${sizes.max}, the device has ${subgroup.min} to ${subgroup.max}`
}

const words = ({ headDim, valueDim, dtype }: Wanted) =>
  `headDim ${headDim}${valueDim === headDim ? '' : `, valueDim ${valueDim}`}, ${dtype}`

/**
 * The first variant, in the artefact's order (best first), that fits the call and runs on the device.
 * @param id takes this variant alone into account: for tests and measurements
 */
export function chooseVariant<V extends Choice>(
  { variants }: { readonly variants: readonly V[] },
  wanted: Wanted,
  powers: Powers,
  id?: string,
): V {
  const fitting = variants.filter(
    (v) =>
      v.headDim === wanted.headDim &&
      v.valueDim === wanted.valueDim &&
      v.dtype === wanted.dtype &&
      (id === undefined || v.id === id),
  )
  if (fitting.length === 0) {
    const present = variants.map((v) => v.id)
    throw new HeddleError('no-variant', {
      wanted: id === undefined ? words(wanted) : `${words(wanted)} called ${id}`,
      present,
    })
  }
  const reasons: string[] = []
  for (const variant of fitting) {
    const need = unmetNeed(variant, powers)
    if (need === null) return variant
    reasons.push(need)
  }
  throw new HeddleError('variant-needs', { wanted: words(wanted), reasons })
}

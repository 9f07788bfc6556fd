/** A GPUDevice out of an adapter: what the openers for Node and for browsers share. */

import { HeddleError } from './messages.ts'

export interface OpenOptions {
  /**
   * Features to ask for. By default those of the ones kernels use that the adapter has: subgroups, shader-f16,
   * timestamp-query. 'all' takes everything the adapter has; a list must be there whole.
   */
  readonly features?: 'all' | readonly string[]
}

export interface OpenDevice {
  readonly device: GPUDevice
  /** null: Dawn's null backend, which checks programs and runs nothing. */
  readonly kind: 'gpu' | 'software' | 'null'
  /** The adapter's own description. */
  readonly name: string
  readonly features: readonly string[]
  readonly limits: Readonly<Record<string, number>>
  /** Non-standard switches that were on: numbers taken with them must say so. Empty in browsers. */
  readonly toggles: readonly string[]
  /** Destroys the device and all its buffers. */
  close(): void
}

/** What kernels of artefacts ask for when it is there. */
export const USEFUL_FEATURES: readonly string[] = ['subgroups', 'shader-f16', 'timestamp-query']

export function nameOf({ info }: GPUAdapter): string {
  const words = [info.description, info.device, info.architecture, info.vendor]
  return words.find((w) => w !== '') ?? 'unnamed adapter'
}

const isSoftware = ({ info }: GPUAdapter): boolean =>
  info.isFallbackAdapter ||
  /swiftshader|llvmpipe|lavapipe|basic render/i.test(`${info.architecture} ${info.description}`)

/** Limits are getters of a prototype, so spreading misses them. */
function limitsOf(limits: GPUSupportedLimits): Record<string, number> {
  const all: Record<string, number> = {}
  for (const name in limits) {
    const value: unknown = limits[name as keyof GPUSupportedLimits]
    if (typeof value === 'number') all[name] = value
  }
  return all
}

/** Opens a device with all of the adapter's limits. */
export async function deviceOf(
  adapter: GPUAdapter,
  { features = USEFUL_FEATURES }: OpenOptions,
  toggles: readonly string[],
  kind?: OpenDevice['kind'],
): Promise<OpenDevice> {
  const name = nameOf(adapter)
  const present = [...adapter.features]
  const chosen = features !== USEFUL_FEATURES && features !== 'all'
  const missing = chosen ? features.find((f) => !present.includes(f)) : undefined
  if (missing !== undefined) throw new HeddleError('feature-missing', { feature: missing, name, present })
  const wanted = features === 'all' ? present : features.filter((f) => present.includes(f))
  const descriptor: GPUDeviceDescriptor = {
    requiredFeatures: wanted as GPUFeatureName[],
    requiredLimits: limitsOf(adapter.limits),
  }
  let device: GPUDevice
  try {
    device = await adapter.requestDevice(descriptor)
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    throw new HeddleError('device-refused', { name, detail }, { cause })
  }
  return {
    device,
    kind: kind ?? (isSoftware(adapter) ? 'software' : 'gpu'),
    name,
    features: [...device.features],
    limits: limitsOf(device.limits),
    toggles,
    close: () => device.destroy(),
  }
}

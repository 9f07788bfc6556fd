/** The schedule table: for a capability and a pair of head dims, the shape of a workgroup and of a thread's share of it. */

import type { Capability, Dtype } from './artifact.ts'

export interface Schedule {
  /** Threads along the rows and along the columns of a tile; powers of two. */
  readonly threads: { readonly q: number; readonly kv: number }
  /** Rows of scores and of the output that one thread owns; it owns four columns of scores. */
  readonly rows: number
  /** Vectors of a staged row of Q or K; its row in memory is one vector longer, so that rows start in different banks. */
  readonly width: number
  /** Loads are issued together before they are stored, each with its own name; otherwise in a loop. */
  readonly unroll: boolean
  /** Full and partial tiles have a body each, or share one in which only the mask and the sum over keys branch. */
  readonly bodies: 1 | 2
  /** Threads that a row maximum can be reduced among by shuffles; 1 is none. */
  readonly shuffle: number
  readonly nativeHalf: boolean
}

interface Row extends Schedule {
  readonly capability: string
  /** The row is for value dims up to this one; the first that fits is taken. */
  readonly valueDim: number
  readonly why: string
}

const CLASSES = {
  portable: { bytes: 16384, invocations: 256 },
  large: { bytes: 32768, invocations: 256 },
  large48: { bytes: 49152, invocations: 1024 },
} as const

const base = { shuffle: 1, nativeHalf: false } as const

const ROWS: readonly Row[] = [
  { capability: 'portable', valueDim: 128, threads: { q: 8, kv: 8 }, rows: 4, width: 8, unroll: false, bodies: 1, ...base,
    why: '32 x 32 tiles take 14.5 KiB; 4 x 4 shares and loops keep the text, and so pipeline creation, small' },
  { capability: 'portable', valueDim: 256, threads: { q: 8, kv: 8 }, rows: 2, width: 8, unroll: false, bodies: 1, ...base,
    why: 'two rows a thread, so that the output takes 64 registers at 256 value columns' },
  { capability: 'large', valueDim: 128, threads: { q: 8, kv: 16 }, rows: 8, width: 4, unroll: true, bodies: 2, ...base,
    why: '64 x 64 tiles and 8 x 4 shares in 31 KiB, staged four vectors deep' },
  { capability: 'large', valueDim: 256, threads: { q: 16, kv: 16 }, rows: 4, width: 4, unroll: true, bodies: 2, ...base,
    why: 'as above with 256 threads, so that the output takes 64 registers at 256 value columns' },
  { capability: 'large48', valueDim: 128, threads: { q: 8, kv: 16 }, rows: 8, width: 8, unroll: true, bodies: 2, ...base,
    why: '64 x 64 tiles and 8 x 4 shares in 39 KiB: half the barriers of `large`, still several workgroups a core' },
  { capability: 'large48', valueDim: 256, threads: { q: 16, kv: 16 }, rows: 4, width: 8, unroll: true, bodies: 2, ...base,
    why: 'as above with 256 threads' },
]

interface CapabilityRow {
  readonly name: string
  readonly shape: keyof typeof CLASSES
  readonly features: readonly string[]
  readonly shuffle: number
  readonly dtypes: readonly Dtype[]
}

/** What an artefact can be asked to hold; another one is one more row. */
const CAPABILITIES = [
  { name: 'portable', shape: 'portable', features: [], shuffle: 1, dtypes: ['f32', 'f16'] },
  { name: 'large', shape: 'large', features: [], shuffle: 1, dtypes: ['f32', 'f16'] },
  { name: 'large48', shape: 'large48', features: [], shuffle: 1, dtypes: ['f32', 'f16'] },
  // Every implementation has subgroups of at least four.
  { name: 'subgroups', shape: 'portable', features: ['subgroups'], shuffle: 4, dtypes: ['f32', 'f16'] },
  { name: 'large48-subgroups', shape: 'large48', features: ['subgroups'], shuffle: 16, dtypes: ['f32', 'f16'] },
  { name: 'shader-f16', shape: 'portable', features: ['shader-f16'], shuffle: 1, dtypes: ['f16'] },
  { name: 'large48-shader-f16', shape: 'large48', features: ['shader-f16'], shuffle: 1, dtypes: ['f16'] },
] as const satisfies readonly CapabilityRow[]

export type CapabilityName = (typeof CAPABILITIES)[number]['name']
export const CAPABILITY_NAMES: readonly CapabilityName[] = CAPABILITIES.map((c) => c.name)
export const DEFAULT_CAPABILITIES: readonly CapabilityName[] = ['large48-subgroups', 'large48', 'portable']

/** Ceilings of a capability's shape class: what its text must fit. */
export const ceilingOf = (capability: CapabilityName): { readonly bytes: number; readonly invocations: number } =>
  CLASSES[rowOf(capability).shape]

const rowOf = (capability: CapabilityName): CapabilityRow => CAPABILITIES.find((c) => c.name === capability)!

/** Null where the capability has nothing to offer for the dtype: native halves without half storage. */
export function scheduleOf(capability: CapabilityName, dtype: Dtype, valueDim: number): Schedule | null {
  const row = rowOf(capability)
  if (!row.dtypes.includes(dtype)) return null
  const found = ROWS.find((r) => r.capability === row.shape && valueDim <= r.valueDim)
  if (!found) return null
  const { threads, rows, width, unroll, bodies } = found
  return { threads, rows, width, unroll, bodies, shuffle: row.shuffle, nativeHalf: row.features.includes('shader-f16') }
}

/** What the variant needs of a device, from the numbers of its text. */
export function capabilityOf(
  capability: CapabilityName,
  needs: { readonly workgroupBytes: number; readonly invocations: number; readonly storageBuffers: number },
): Capability {
  const { name, features, shuffle } = rowOf(capability)
  return { name, features, limits: needs, subgroup: shuffle > 1 ? { min: shuffle, max: 128 } : null }
}

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

interface Row extends Omit<Schedule, 'shuffle' | 'nativeHalf'> {
  readonly shape: Shape
  /** The row is for value dims up to this one; the first that fits is taken. */
  readonly valueDim: number
  readonly why: string
}

const SHAPES = {
  portable: { bytes: 16384, invocations: 256 },
  unrolled: { bytes: 16384, invocations: 256 },
  large: { bytes: 32768, invocations: 256 },
  large48: { bytes: 49152, invocations: 1024 },
  decode: { bytes: 49152, invocations: 256 },
  decodePortable: { bytes: 16384, invocations: 256 },
} as const
type Shape = keyof typeof SHAPES

// The milliseconds are an H100's through Dawn, no unsafe toggles: causal, 8,192 tokens, 32/8 heads, head dim 128, f16 storage.
const ROWS: readonly Row[] = [
  {
    shape: 'portable',
    valueDim: 128,
    threads: { q: 8, kv: 8 },
    rows: 4,
    width: 8,
    unroll: false,
    bodies: 1,
    why: '43 ms; 4 x 4 shares, loops and one body keep the text short, and so pipeline creation on software adapters',
  },
  {
    shape: 'portable',
    valueDim: 256,
    threads: { q: 8, kv: 8 },
    rows: 2,
    width: 8,
    unroll: false,
    bodies: 1,
    why: 'two rows a thread, so that the output takes 64 registers at 256 value columns',
  },
  {
    shape: 'unrolled',
    valueDim: 128,
    threads: { q: 8, kv: 8 },
    rows: 4,
    width: 8,
    unroll: true,
    bodies: 1,
    why: '26 ms in the default 16 KiB: the tiles of `portable` with its loads issued together and vectors of weights',
  },
  {
    shape: 'unrolled',
    valueDim: 256,
    threads: { q: 8, kv: 8 },
    rows: 2,
    width: 8,
    unroll: true,
    bodies: 1,
    why: 'as for `portable`',
  },
  {
    shape: 'large',
    valueDim: 128,
    threads: { q: 8, kv: 16 },
    rows: 8,
    width: 4,
    unroll: true,
    bodies: 2,
    why: '26 ms; 64 x 64 tiles and 8 x 4 shares, staged four vectors deep to fit 32 KiB',
  },
  {
    shape: 'large',
    valueDim: 256,
    threads: { q: 16, kv: 16 },
    rows: 4,
    width: 4,
    unroll: true,
    bodies: 2,
    why: '256 threads, so that the output takes 64 registers at 256 value columns',
  },
  {
    shape: 'large48',
    valueDim: 128,
    threads: { q: 8, kv: 16 },
    rows: 8,
    width: 8,
    unroll: true,
    bodies: 2,
    why: '21 ms; as `large` with half the barriers. One body 23, 16 x 16 threads 22, 128 x 32 tiles 22, half the rows 37',
  },
  {
    shape: 'large48',
    valueDim: 256,
    threads: { q: 16, kv: 16 },
    rows: 4,
    width: 8,
    unroll: true,
    bodies: 2,
    why: '44 ms at head dim 256; 256 threads as for `large`',
  },
  {
    shape: 'decode',
    valueDim: 256,
    threads: { q: 1, kv: 64 },
    rows: 1,
    width: 8,
    unroll: true,
    bodies: 1,
    why: 'one row: no thread works for a query that is not there, and 256 keys are loaded together',
  },
  {
    shape: 'decodePortable',
    valueDim: 256,
    threads: { q: 1, kv: 16 },
    rows: 1,
    width: 8,
    unroll: false,
    bodies: 1,
    why: 'as for `decode`, in the default 16 KiB and a short text',
  },
]

/** Workgroups of a stage whose threads have a row of cells in common. */
export interface RowSchedule {
  readonly threads: number
  /** Cells whose reads a thread has under way at once. */
  readonly ahead: number
  /** Keys of a row that a choice keeps in workgroup memory; those beyond are made anew. A multiple of the threads. */
  readonly kept: number
  /** Bits that a choice counts keys by in one sweep over them: there are as many counters as threads, or a multiple. */
  readonly digit: number
}

/** Rows over blocks are short and many, those over tokens long and often few. */
export interface RowSchedules {
  readonly blocks: RowSchedule
  readonly tokens: RowSchedule
}

/** Rows of few cells, of which a workgroup has several: each is a team's, and its keys are kept from the first look at them. */
export interface ShortRows {
  /** Cells of a row at most. */
  readonly most: number
  /** Threads of a team, and of a workgroup; powers of two. */
  readonly team: number
  readonly threads: number
}

/**
 * Least first. Where teams lie within neighbours that shuffle, keys stay in registers, eight a thread if there are no more: a bit
 * of the bound takes two instructions a key, and what a team has in common a dozen. Rows of 64 cells have a quarter of a warp.
 */
const SHUFFLED_ROWS: readonly ShortRows[] = [
  { most: 64, team: 8, threads: 256 },
  { most: 256, team: 32, threads: 256 },
  { most: 1024, team: 32, threads: 256 },
]
/** Teams that meet in workgroup memory, in step with each other; the text is one, and short. */
const MET_ROWS: readonly ShortRows[] = [{ most: 256, team: 16, threads: 64 }]

/** @param lanes neighbours that shuffle */
export const shortRowsOf = (lanes: number): readonly ShortRows[] =>
  SHUFFLED_ROWS.every(({ team }) => team <= lanes) ? SHUFFLED_ROWS : MET_ROWS

const PORTABLE_ROWS: RowSchedules = {
  blocks: { threads: 64, ahead: 1, kept: 1024, digit: 8 },
  tokens: { threads: 256, ahead: 1, kept: 2048, digit: 8 },
}

/** Counters take a word each, so digits of eleven bits take 8 KiB. */
const LARGE_ROWS: RowSchedules = {
  blocks: { threads: 256, ahead: 1, kept: 2048, digit: 11 },
  tokens: { threads: 256, ahead: 4, kept: 4096, digit: 11 },
}

const ROW_SCHEDULES: Readonly<Record<Shape, RowSchedules>> = {
  portable: PORTABLE_ROWS,
  unrolled: {
    blocks: { threads: 128, ahead: 1, kept: 1024, digit: 8 },
    tokens: { threads: 256, ahead: 4, kept: 2048, digit: 8 },
  },
  large: LARGE_ROWS,
  large48: {
    blocks: { threads: 256, ahead: 1, kept: 2048, digit: 11 },
    tokens: { threads: 1024, ahead: 4, kept: 8192, digit: 11 },
  },
  decode: LARGE_ROWS,
  decodePortable: PORTABLE_ROWS,
}

interface CapabilityRow {
  readonly name: string
  readonly shape: Shape
  readonly features: readonly string[]
  /** Threads that a row's maximum is reduced among by shuffles; subgroups must have at least as many. */
  readonly shuffle: number
  readonly dtypes: readonly Dtype[]
}

const BOTH = ['f32', 'f16'] as const

/** What an artefact can be asked to hold, best first; another one is one more row. */
const CAPABILITIES = [
  // Native halves save no time where the arithmetic is f32 (21.2 ms against 21.3), so they are not a default.
  { name: 'large48-shader-f16', shape: 'large48', features: ['shader-f16'], shuffle: 1, dtypes: ['f16'] },
  { name: 'large48', shape: 'large48', features: [], shuffle: 1, dtypes: BOTH },
  // Shuffles in place of workgroup memory gain nothing here (21.6 ms).
  { name: 'large48-subgroups', shape: 'large48', features: ['subgroups'], shuffle: 16, dtypes: BOTH },
  { name: 'large', shape: 'large', features: [], shuffle: 1, dtypes: BOTH },
  // Subgroups of eight tell a GPU from a software adapter, whose pipelines from unrolled text take seconds.
  { name: 'unrolled', shape: 'unrolled', features: ['subgroups'], shuffle: 8, dtypes: BOTH },
  { name: 'shader-f16', shape: 'portable', features: ['shader-f16'], shuffle: 1, dtypes: ['f16'] },
  // Every implementation has subgroups of at least four.
  { name: 'subgroups', shape: 'portable', features: ['subgroups'], shuffle: 4, dtypes: BOTH },
  { name: 'portable', shape: 'portable', features: [], shuffle: 1, dtypes: BOTH },
  // Tiles of one row stand last: a call that has a row or two asks for them by their ids.
  { name: 'decode', shape: 'decode', features: ['subgroups'], shuffle: 8, dtypes: BOTH },
  { name: 'decode-portable', shape: 'decodePortable', features: [], shuffle: 1, dtypes: BOTH },
] as const satisfies readonly CapabilityRow[]

export type CapabilityName = (typeof CAPABILITIES)[number]['name']
export const CAPABILITY_NAMES: readonly CapabilityName[] = CAPABILITIES.map((c) => c.name)
/** The fastest on a desktop GPU, one for GPUs with less workgroup memory, and one that runs everywhere. */
export const DEFAULT_CAPABILITIES: readonly CapabilityName[] = ['large48', 'unrolled', 'portable']

/** Ceilings of a capability's shape class: what its text must fit. */
export const ceilingOf = (
  capability: CapabilityName,
): { readonly bytes: number; readonly invocations: number } => SHAPES[rowOf(capability).shape]

export const rowSchedulesOf = (capability: CapabilityName): RowSchedules =>
  ROW_SCHEDULES[rowOf(capability).shape]

const rowOf = (capability: CapabilityName): CapabilityRow => CAPABILITIES.find((c) => c.name === capability)!

/** Null where the capability has nothing to offer for the dtype: native halves without half storage. */
export function scheduleOf(capability: CapabilityName, dtype: Dtype, valueDim: number): Schedule | null {
  const row = rowOf(capability)
  if (!row.dtypes.includes(dtype)) return null
  const found = ROWS.find((r) => r.shape === row.shape && valueDim <= r.valueDim)
  if (!found) return null
  const { threads, rows, width, unroll, bodies } = found
  return {
    threads,
    rows,
    width,
    unroll,
    bodies,
    shuffle: row.shuffle,
    nativeHalf: row.features.includes('shader-f16'),
  }
}

/** What the variant needs of a device, from the numbers of its text. */
export function capabilityOf(
  capability: CapabilityName,
  needs: { readonly workgroupBytes: number; readonly invocations: number; readonly storageBuffers: number },
): Capability {
  const { name, features, shuffle } = rowOf(capability)
  return { name, features, limits: needs, subgroup: shuffle > 1 ? { min: shuffle, max: 128 } : null }
}

/** What the suites that run kernels measure: cases, head dims, and the shape of what is prepared for them. */

import type { Artifact } from '../codegen/artifact.ts'

/** One timed case: the pattern's params and the length, as many queries as keys. */
export interface TimedCase {
  readonly pattern: string
  readonly length: number
  readonly params: Readonly<Record<string, number>>
}

export interface Counts {
  /** Tiles of one head that keep a pair. */
  readonly needed: number
  /** Tiles of one head that the plan visits. */
  readonly visited: number
  readonly keptPairs: number
}

export interface Prepared {
  /** By pattern: both storage types, the head dims of the suites, every capability of the target. */
  readonly artifacts: Readonly<Record<string, Artifact>>
  /** By countsKey(). */
  readonly counts: Readonly<Record<string, Counts>>
}

export const SKIPPING: readonly TimedCase[] = [
  { pattern: 'causal', length: 1024, params: {} },
  { pattern: 'a-shape', length: 1024, params: { window: 128, sinkTokens: 64 } },
  { pattern: 'sliding-window', length: 1024, params: { window: 256 } },
  { pattern: 'fixed', length: 1024, params: { stride: 128, summary: 8, groups: 1 } },
]

const A_SHAPE = { window: 1024, sinkTokens: 128 }
export const ON_GPU: readonly TimedCase[] = [
  { pattern: 'causal', length: 8192, params: {} },
  { pattern: 'a-shape', length: 8192, params: A_SHAPE },
  { pattern: 'causal', length: 32768, params: {} },
  { pattern: 'a-shape', length: 32768, params: A_SHAPE },
]

/** Where memory is looked at. */
export const LONGEST: TimedCase = { pattern: 'a-shape', length: 131072, params: A_SHAPE }

/** Suites that share a head dim share artefacts. */
export const HEAD_DIMS = { skipping: 64, gpu: 128, check: 64 } as const

export const countsKey = (c: TimedCase, tile: { readonly q: number; readonly kv: number }): string =>
  `${c.pattern} ${c.length} ${JSON.stringify(c.params)} ${tile.q}x${tile.kv}`

/** Measured rows in, `bench/results/<suite>.json` out: the shape that tables and other programs read. */

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'

export interface Timing {
  readonly ms: number
  readonly tflops?: number
  /** Megabytes: of the process for a compiler, of device buffers for a kernel. */
  readonly mb?: number
}

export interface Row {
  readonly case: string
  readonly target: string
  readonly ours: Timing
  readonly peer?: { readonly name: string } & Timing
  /** Peer's ms / our ms of the same run: above 1 is faster than the peer. */
  readonly ratio?: number
  readonly tiles?: { readonly needed: number; readonly visited: number }
  /** What the project promises of this row; `ok` says whether the row keeps it. */
  readonly limit?: string
  readonly ok?: boolean
  /** What a suite adds to its rows, by name: densities, error ratios. */
  readonly more?: Readonly<Record<string, number | string>>
  readonly note?: string
}

export interface Suite {
  readonly suite: string
  readonly command: string
  readonly date: string
  readonly device: string
  readonly driver: string
  readonly versions: Readonly<Record<string, string>>
  /** Of a GPU, where the suite measured them: products in TFLOP/s, copies in TB/s. */
  readonly roofs?: { readonly tflops: number; readonly tbps: number }
  readonly rows: readonly Row[]
}

/** Where a suite ran. */
export interface Machine {
  readonly device: string
  readonly driver: string
}

/** The processor, for suites that use no adapter. */
export function thisMachine(): Machine {
  const list = cpus()
  return { device: `${list[0]?.model ?? 'unknown processor'}, ${list.length} cores`, driver: 'none' }
}

export function suiteOf(
  suite: string,
  machine: Machine,
  versions: Readonly<Record<string, string>>,
  rows: readonly Row[],
): Suite {
  return {
    suite,
    command: `npm run bench -- ${suite}`,
    date: new Date().toISOString().slice(0, 10),
    ...machine,
    versions: { node: process.versions.node, ...versions },
    rows: rows.map((row) => rounded(row) as Row),
  }
}

/** Whole file or none: a table is never made from half a suite. */
export function writeSuite(folder: string, suite: Pick<Suite, 'suite'>): string {
  mkdirSync(folder, { recursive: true })
  const file = `${folder}/${suite.suite}.json`
  writeFileSync(`${file}.part`, `${JSON.stringify(suite, null, 1)}\n`)
  renameSync(`${file}.part`, file)
  return file
}

export function readSuite(folder: string, suite: string): Suite | null {
  try {
    return JSON.parse(readFileSync(`${folder}/${suite}.json`, 'utf8')) as Suite
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}

/** Four significant digits: what a repeated run would not reproduce is noise in a diff. */
function rounded(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? value : Number(value.toPrecision(4))
  if (Array.isArray(value)) return value.map(rounded)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, rounded(inner)]))
  }
  return value
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

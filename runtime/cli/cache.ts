/** What a build made of each source file, kept beside the outputs: a file whose sources and options are the same is not built again. */

import * as fs from 'node:fs'
import * as path from 'node:path'
import { hashFile, sha256 } from './version.ts'

/** A row of `heddle build --json`: a kernel's text, or what was compiled of it for one arch. */
export interface BuildRow {
  readonly pattern: string
  readonly target: string
  readonly variant: string
  readonly file: string
  readonly bytes: number
  readonly compileMs: number
  readonly tiles: 'ranges' | 'test' | 'list'
  readonly arch?: string
  /** The most of any entry. */
  readonly registers?: number
  /** Of all entries together. */
  readonly spillBytes?: number
  /** What a reader should know of the kernel, a line each. */
  readonly remarks?: readonly string[]
}

export interface BuildEntry {
  /** Of the options and of Heddle itself. */
  readonly key: string
  /** Content hashes by path, relative to the folder of the cache. */
  readonly sources: Readonly<Record<string, string>>
  readonly outputs: Readonly<Record<string, string>>
  /** `file` is relative too; compileMs is not kept. */
  readonly rows: readonly BuildRow[]
}

type Entries = Readonly<Record<string, BuildEntry>>

export const CACHE_FILE = '.heddle-build.json'
const VERSION = 2

/** A cache that is missing, cut off or of another version only means that everything is built. */
export function readCache(folder: string): Entries {
  try {
    const found = JSON.parse(fs.readFileSync(path.join(folder, CACHE_FILE), 'utf8')) as {
      version?: unknown
      entries?: unknown
    }
    return found.version === VERSION && typeof found.entries === 'object' && found.entries !== null
      ? (found.entries as Entries)
      : {}
  } catch {
    return {}
  }
}

/** Sorted, so that the same builds leave the same bytes. */
export function cacheText(entries: Entries): string {
  const sorted = Object.fromEntries(
    Object.keys(entries)
      .sort()
      .map((name) => [name, entries[name]]),
  )
  return `${JSON.stringify({ version: VERSION, entries: sorted }, null, 1)}\n`
}

export const relativeTo = (folder: string, file: string): string =>
  path.relative(folder, file).split(path.sep).join('/')

/** True if nothing that the entry was made from, and nothing that it made, has changed. */
export function isFresh(entry: BuildEntry | undefined, key: string, folder: string): entry is BuildEntry {
  const same = (hashes: Readonly<Record<string, string>>) =>
    Object.entries(hashes).every(([name, hash]) => hashFile(path.resolve(folder, name)) === hash)
  return (
    entry !== undefined &&
    entry.key === key &&
    isHashes(entry.sources) &&
    isHashes(entry.outputs) &&
    same(entry.sources) &&
    same(entry.outputs)
  )
}

const isHashes = (value: unknown): boolean => typeof value === 'object' && value !== null

export const hashesOf = (folder: string, files: readonly string[]): Record<string, string> =>
  Object.fromEntries(files.map((file) => [relativeTo(folder, file), hashFile(file) ?? '']))

/** Files of an earlier build that this one did not make again, and that nobody changed since. */
export function leftOver(before: BuildEntry | undefined, after: Entries, folder: string): string[] {
  const kept = new Set(Object.values(after).flatMap((e) => Object.keys(e.outputs)))
  return Object.entries(before?.outputs ?? {})
    .filter(([name, hash]) => !kept.has(name) && hashFile(path.resolve(folder, name)) === hash)
    .map(([name]) => path.resolve(folder, name))
}

export const keyOf = (options: unknown): string => sha256(JSON.stringify(options))

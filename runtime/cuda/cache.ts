/** Compiled cubins on disk, each under the hash of what it was made from; read and written by any number of processes at once. */

import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheRoot } from '../swiftshader.ts'

/** HEDDLE_CACHE_DIR, else the user's cache folder. */
export const cubinCacheFolder = (env: NodeJS.ProcessEnv = process.env): string =>
  join(env.HEDDLE_CACHE_DIR || cacheRoot(env), 'cuda')

/** Raised where the form of an entry changes. */
const FORM = 'heddle-cubin-1'
const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest('hex')

export interface CubinKey {
  /** SHA-256 of the text. */
  readonly hash: string
  readonly arch: string
  /** With its version: another one compiles another cubin. */
  readonly compiler: string
}

export class CubinCache {
  readonly folder: string

  constructor(folder: string = cubinCacheFolder()) {
    this.folder = folder
  }

  fileOf({ hash, arch, compiler }: CubinKey): string {
    return join(this.folder, `${sha256(JSON.stringify([FORM, hash, arch, compiler]))}.cubin`)
  }

  /** Null if there is none, or none that is whole: an entry begins with the hash of the rest. */
  read(key: CubinKey): Uint8Array | null {
    let entry: Buffer
    try {
      entry = readFileSync(this.fileOf(key))
    } catch {
      return null
    }
    const head = entry.toString('latin1', 0, 65)
    const cubin = entry.subarray(65)
    return head === `${sha256(cubin)}\n` ? cubin : null
  }

  /** Whole or not at all; where the folder cannot be written, a later process compiles again. */
  write(key: CubinKey, cubin: Uint8Array): void {
    const file = this.fileOf(key)
    const part = `${file}.${randomUUID()}.part`
    try {
      mkdirSync(this.folder, { recursive: true })
      writeFileSync(part, Buffer.concat([Buffer.from(`${sha256(cubin)}\n`), cubin]))
      renameSync(part, file)
    } catch {
      try {
        rmSync(part, { force: true })
      } catch {
        // A file stands where the folder should: there is nothing to remove either.
      }
    }
  }
}

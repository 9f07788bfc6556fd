/** Where this package lies on disk: from its sources and from its built files the same folder. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const known = new Map<string, string | null>()

/** The nearest folder at or above `dir` that is the root of a package called heddle; null if there is none. */
export function heddleRoot(dir: string): string | null {
  const cached = known.get(dir)
  if (cached !== undefined) return cached
  const manifest = join(dir, 'package.json')
  const above = dirname(dir)
  let root: string | null
  // The nearest manifest decides: a folder of another package inside ours, or ours inside another, is not ours.
  if (existsSync(manifest)) root = nameIn(manifest) === 'heddle' ? dir : null
  else root = above === dir ? null : heddleRoot(above)
  known.set(dir, root)
  return root
}

function nameIn(manifest: string): unknown {
  try {
    const record: unknown = JSON.parse(readFileSync(manifest, 'utf8'))
    return typeof record === 'object' && record !== null && 'name' in record ? record.name : undefined
  } catch {
    // A manifest that cannot be read is some other package's; that of this one was read when it was installed.
    return undefined
  }
}

function ownRoot(): string {
  const root = heddleRoot(dirname(fileURLToPath(import.meta.url)))
  if (root === null) throw new Error('the folder of the package heddle is not found')
  return root
}

export const PACKAGE_ROOT: string = ownRoot()

/** Files in, content hashes out; and what tells one build of Heddle from another. */

import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'

export const sha256 = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** A file's content hash; null if it cannot be read. */
export function hashFile(file: string): string | null {
  try {
    return sha256(fs.readFileSync(file))
  } catch {
    return null
  }
}

let version: string | null = null

/** Heddle's version, and a digest of its compiler and code generator: a build made by others is made again. */
export function heddleVersion(): { readonly number: string; readonly digest: string } {
  const text = fs.readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8')
  const { version: number } = JSON.parse(text) as { version: string }
  version ??= digestOf(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..'))
  return { number, digest: version }
}

function digestOf(root: string): string {
  const hash = createHash('sha256')
  for (const folder of ['dsl', 'compiler', 'codegen']) {
    const names = fs.readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    for (const name of names.sort()) {
      if (/\.(js|ts|cuh)$/.test(name) && !name.endsWith('.d.ts'))
        hash.update(name).update(fs.readFileSync(path.join(root, folder, name)))
    }
  }
  return hash.digest('hex').slice(0, 16)
}

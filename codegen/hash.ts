/** The content hash of an artefact: SHA-256 of its JSON with sorted keys and no spaces, over all fields but `hash`. */

import { createHash } from 'node:crypto'

export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).filter(([, v]) => v !== undefined)
  const text = entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`)
  return `{${text.join(',')}}`
}

export function contentHash(record: object): string {
  const rest = Object.fromEntries(Object.entries(record).filter(([k]) => k !== 'hash'))
  return createHash('sha256').update(canonicalJson(rest)).digest('hex')
}

/** The C++ files of this folder by name. They lie beside this module in the sources and, copied by the build, in dist. */

import { readFileSync } from 'node:fs'

const texts = new Map<string, string>()

export function textOf(file: string): string {
  const known = texts.get(file)
  if (known !== undefined) return known
  const text = readFileSync(new URL(file, import.meta.url), 'utf8').trimEnd()
  texts.set(file, text)
  return text
}

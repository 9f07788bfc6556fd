/** The versions of the packages that a figure depends on, from the lock file. */

import { readFileSync } from 'node:fs'

export function versionsHere(): Record<string, string> {
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8')) as {
    packages: Record<string, { version: string }>
  }
  const of = (name: string) => [name, lock.packages[`node_modules/${name}`]!.version] as const
  return Object.fromEntries([['heddle', lock.packages['']!.version], of('typescript'), of('webgpu')])
}

/** The documents are in step with what they speak of: generated sections, links, commands. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import {
  EVALUATING,
  MEASUREMENTS,
  README,
  withEvaluations,
  withMeasurements,
  withTables,
} from '../bench/tables.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DOCUMENTS = [
  'README.md',
  'docs/architecture.md',
  'docs/measurements.md',
  'docs/selecting.md',
  'docs/profiles.md',
  'docs/models.md',
  'docs/evaluating.md',
  'bench/notes.md',
]
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
}

const GENERATED = [
  ['README.md', README, withTables],
  ['docs/measurements.md', MEASUREMENTS, withMeasurements],
  ['docs/evaluating.md', EVALUATING, withEvaluations],
] as const

test.each(GENERATED)(
  'the sections of %s that `npm run tables` makes are those of the results and the registry',
  (_name, file, make) => {
    const text = readFileSync(file, 'utf8')
    expect(make(text)).toBe(text)
    const stale = text.replace(/(<!-- (\w+) -->)[^]*?(<!-- \/\2 -->)/g, '$1\nstale\n$3')
    expect(stale).not.toBe(text)
    expect(make(stale)).toBe(text)
  },
)

describe.each(DOCUMENTS)('%s', (name) => {
  const text = readFileSync(join(ROOT, name), 'utf8')

  test('links to files that are there', () => {
    const links = [...text.matchAll(/\]\(([^)#]+)(#[^)]*)?\)/g)]
      .map((m) => m[1]!)
      .filter((to) => !/^https?:/.test(to))
    expect(links.filter((to) => !existsSync(join(ROOT, dirname(name), to)))).toEqual([])
  })

  test('names npm scripts that are there', () => {
    const named = [...text.matchAll(/npm run (\w+)/g)].map((m) => m[1]!)
    expect(named.filter((script) => !(script in manifest.scripts))).toEqual([])
  })
})

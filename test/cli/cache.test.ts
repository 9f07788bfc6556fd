import * as fs from 'node:fs'
import * as path from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  CACHE_FILE,
  cacheText,
  hashesOf,
  isFresh,
  leftOver,
  readCache,
  type BuildEntry,
} from '../../runtime/cli/cache.ts'
import { heddleVersion } from '../../runtime/cli/version.ts'
import { sourcesOf } from '../../runtime/cli/sources.ts'
import { temporaryFolder } from './helpers.ts'

const entryOf = (folder: string): BuildEntry => ({
  key: 'k',
  rows: [],
  sources: hashesOf(folder, [path.join(folder, 'src/a.ts')]),
  outputs: hashesOf(folder, [path.join(folder, 'a.json')]),
})

describe('the build cache', () => {
  it('is fresh until a source, an output or an option changes', () => {
    const folder = temporaryFolder({ 'src/a.ts': '1', 'a.json': '{}' })
    const entry = entryOf(folder)
    expect(Object.keys(entry.sources)).toEqual(['src/a.ts'])
    expect(isFresh(entry, 'k', folder)).toBe(true)
    expect([isFresh(entry, 'other', folder), isFresh(undefined, 'k', folder)]).toEqual([false, false])
    fs.writeFileSync(path.join(folder, 'src/a.ts'), '2')
    expect(isFresh(entry, 'k', folder)).toBe(false)
    const again = entryOf(folder)
    fs.rmSync(path.join(folder, 'a.json'))
    expect(isFresh(again, 'k', folder)).toBe(false)
  })

  it('means nothing when it is cut off, of another version, or made by something else', () => {
    const folder = temporaryFolder()
    const put = (text: string) => fs.writeFileSync(path.join(folder, CACHE_FILE), text)
    expect(readCache(folder)).toEqual({})
    for (const text of [
      '',
      '{"version":1,"entr',
      'null',
      '[]',
      '{"version":99,"entries":{"a":1}}',
      '{"version":1,"entries":null}',
    ]) {
      put(text)
      expect(readCache(folder)).toEqual({})
    }
    put('{"version":1,"entries":{"a":{"key":"k","sources":null}}}')
    expect(isFresh(readCache(folder).a, 'k', folder)).toBe(false)
    const entries = { b: entryOf(folder), a: entryOf(folder) }
    put(cacheText(entries))
    expect(readCache(folder)).toEqual(entries)
    expect(cacheText(entries)).toBe(cacheText({ a: entries.a, b: entries.b }))
  })

  it('names the files of an earlier build that nobody needs or changed', () => {
    const folder = temporaryFolder({ 'a.json': '1', 'b.json': '2', 'c.json': '3' })
    const all = ['a.json', 'b.json', 'c.json'].map((f) => path.join(folder, f))
    const before = { key: '', rows: [], sources: {}, outputs: hashesOf(folder, all) }
    fs.writeFileSync(path.join(folder, 'c.json'), 'mine')
    const after = { x: { ...before, outputs: hashesOf(folder, [all[0]!]) } }
    expect(leftOver(before, after, folder)).toEqual([all[1]])
    expect(leftOver(undefined, after, folder)).toEqual([])
  })
})

describe('sourcesOf', () => {
  it('follows imports, also through what cannot be parsed, and leaves out Heddle itself', () => {
    const folder = temporaryFolder({
      'a.ts': `import { pattern } from 'heddle'\nimport { b } from './lib/b.ts'\nimport './missing.ts'\nexport const x = = pattern(b)`,
      'lib/b.ts': `export * from './c.ts'\nimport type { A } from '../a.ts'\nexport const b = 1`,
      'lib/c.ts': `export const c = 1`,
    })
    expect(sourcesOf(path.join(folder, 'a.ts')).map((f) => path.relative(folder, f))).toEqual([
      'a.ts',
      'lib/b.ts',
      'lib/c.ts',
    ])
    expect(sourcesOf(path.join(folder, 'none.ts'))).toEqual([])
    const library = sourcesOf('patterns/a-shape.ts')
    expect(library.map((f) => path.basename(f))).toEqual(['a-shape.ts'])
  })

  it('knows Heddle by its version and its content', () => {
    expect(heddleVersion()).toEqual({
      number: expect.stringMatching(/^\d+\.\d+\.\d+/),
      digest: expect.stringMatching(/^[0-9a-f]{16}$/),
    })
  })
})

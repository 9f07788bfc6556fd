/** What holds for every pattern of the library: names, files, citations, docs, examples. */

import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { elementTables, isPattern, type TableSpec } from '../../dsl/index.ts'
import {
  EXAMPLES,
  exampleParams,
  exampleTables,
  PATTERNS,
  SELECTION_EXAMPLES,
  SELECTIONS,
} from '../../patterns/index.ts'
import * as library from '../../patterns/index.ts'
import { exampleInputs, keeps, range, square } from './pairs.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const camel = (name: string) => name.replace(/-(.)/g, (_, c: string) => c.toUpperCase())
const ALL = [...PATTERNS, ...SELECTIONS]
const names = ALL.map(({ pattern }) => pattern.name)

describe('the registry', () => {
  it('lists every file of patterns/ once', () => {
    const others = ['index.ts', 'examples.ts', 'selection-examples.ts']
    const files = readdirSync(`${ROOT}patterns`).filter((f) => !others.includes(f))
    expect(ALL.map(({ file }) => file).toSorted()).toEqual(files.map((f) => `patterns/${f}`).toSorted())
    expect(new Set(names).size).toBe(names.length)
  })

  it('exports every pattern by its name in camel case', () => {
    const exported = new Map(Object.entries(library).filter(([, value]) => isPattern(value)))
    expect([...exported.keys()].toSorted()).toEqual(names.map(camel).toSorted())
    for (const { pattern } of ALL) expect(exported.get(camel(pattern.name))).toBe(pattern)
  })

  it('has an example for every pattern', () => {
    const examples = [...Object.keys(EXAMPLES), ...Object.keys(SELECTION_EXAMPLES)]
    expect(examples.toSorted()).toEqual(names.toSorted())
  })

  it('has a forward in the patterns that select, and in no other', () => {
    expect(ALL.filter(({ pattern }) => pattern.forward)).toEqual(SELECTIONS)
  })
})

describe.each(ALL)('$pattern.name', ({ pattern, file }) => {
  const text = readFileSync(`${ROOT}${file}`, 'utf8')
  const example = SELECTION_EXAMPLES[pattern.name] ?? EXAMPLES[pattern.name]!

  it('cites a paper, has one paragraph of documentation and imports the DSL and other patterns alone', () => {
    expect(pattern.cite).toMatch(/arXiv:\d{4}\.\d{5}$/)
    expect(text).toContain(`name: '${pattern.name}'`)
    const doc = text
      .slice(0, text.indexOf(`export const ${camel(pattern.name)} = pattern(`))
      .split('/**')
      .at(-1)!
    expect(doc.replaceAll(/\s+\*\s+/g, ' ').length).toBeGreaterThan(100)
    for (const name of [...Object.keys(pattern.params), ...Object.keys(pattern.tables)]) {
      expect(doc, `the doc should speak of ${name}`).toContain(`\`${name}\``)
    }
    const imports = [...text.matchAll(/from '([^']+)'/g)].map((m) => m[1])
    for (const from of imports) expect(from).toMatch(/^\.\.\/dsl\/index\.ts$|^\.\/[a-z0-9-]+\.ts$/)
  })

  it('has an example within its declarations', () => {
    expect(example.heads % example.kvHeads).toBe(0)
    expect(Object.keys(example.params).filter((name) => !(name in pattern.params))).toEqual([])
    const rows = SELECTION_EXAMPLES[pattern.name]?.rows ?? {}
    const given = [...Object.keys(example.tables), ...Object.keys(rows)]
    expect(given.toSorted()).toEqual(Object.keys(pattern.tables).toSorted())
    for (const [name, value] of Object.entries(example.params)) {
      const spec = pattern.params[name]!
      expect(typeof value !== 'number').toBe(spec.perHead)
      const values = typeof value === 'number' ? [value] : value
      expect(values.length).toBe(typeof value === 'number' ? 1 : example.heads)
      for (const v of values) {
        expect(v).toBeGreaterThanOrEqual(spec.min)
        expect(v).toBeLessThanOrEqual(spec.max)
        expect(spec.type === 'f32' || Number.isInteger(v)).toBe(true)
      }
    }
  })
})

describe.each(PATTERNS)('$pattern.name', ({ pattern }) => {
  const example = EXAMPLES[pattern.name]!

  it.each([0, 1, 7, 64, 300])('has valid tables at kvLen %i', (kvLen) => {
    for (const seed of range(1, 6)) {
      const sizes = { batch: 2, qHeads: 6, kvHeads: 3, qLen: Math.ceil(kvLen / 2), kvLen }
      const tables = exampleTables(pattern.name, sizes, seed)
      expect(tables).toEqual(exampleTables(pattern.name, sizes, seed))
      for (const [name, spec] of elementTables(pattern.tables))
        checkTable(spec, tables[name]!, sizes, pattern.consts)
    }
  })

  it('keeps some pairs of its example and, unless it is dense, drops some', () => {
    const sizes = square(example.kvLen, example.heads)
    const kept = keeps(pattern, sizes, exampleInputs(pattern.name, sizes))
    const causal = range(0, example.heads).map((head) => {
      const rows = range(0, sizes.kvLen).filter((q) => q % 17 === 0)
      const hits = rows.map((q) => range(0, q + 1).filter((kv) => kept(head, q, kv)).length)
      for (const hit of hits) expect(hit, 'every row of the example keeps a key').toBeGreaterThan(0)
      return hits.reduce((a, b) => a + b) / rows.reduce((a, q) => a + q + 1, 0)
    })
    const dense = [
      'full',
      'causal',
      'prefix-lm',
      'block-causal',
      'alibi',
      'softcap',
      'relative-bias',
      'sink-logit',
    ]
    const [least, most] = dense.includes(pattern.name) ? [1, 1] : [0, 0.75]
    expect(Math.min(...causal)).toBeGreaterThanOrEqual(least!)
    expect(Math.min(...causal)).toBeLessThanOrEqual(most!)
  })
})

function checkTable(
  spec: TableSpec,
  values: Int32Array | Float32Array,
  sizes: { batch: number; qHeads: number; kvHeads: number; qLen: number; kvLen: number },
  consts: Readonly<Record<string, number>>,
): void {
  expect(values).toBeInstanceOf(spec.type === 'i32' ? Int32Array : Float32Array)
  const axes = new Map(Object.entries({ ...sizes, head: sizes.qHeads, kvHead: sizes.kvHeads, ...consts }))
  const shape = spec.dims.map((d) => (typeof d === 'number' ? d : axes.get(d)!))
  expect(values.length).toBe(shape.reduce((a, b) => a * b, 1))
  const width = shape.at(-1)!
  const outside = values.findIndex((value) => !(value >= spec.min && value <= spec.max))
  const falling = values.findIndex((value, i) => spec.monotone && i % width !== 0 && value < values[i - 1]!)
  expect({ outside, falling }).toEqual({ outside: -1, falling: -1 })
}

describe('examples', () => {
  it('repeat perHead params for other numbers of heads', () => {
    expect(exampleParams('streaming-heads', 6)).toEqual({
      retrieval: [0, 0, 1, 1, 0, 0],
      recent: 64,
      sinkTokens: 16,
    })
  })

  it('take a source of random numbers in place of a seed', () => {
    const sizes = { batch: 1, qHeads: 1, kvHeads: 1, qLen: 9, kvLen: 9 }
    expect(exampleTables('document-starts', sizes, () => 0.5)['docStart']).toEqual(
      Int32Array.of(0, 0, 2, 2, 4, 4, 6, 6, 8),
    )
  })

  it('refuse a name that is not in the library', () => {
    const sizes = { batch: 1, qHeads: 1, kvHeads: 1, qLen: 1, kvLen: 1 }
    expect(() => exampleTables('nope', sizes)).toThrow(/no-example.*`nope`/)
    expect(() => exampleParams('toString', 1)).toThrow(/no-example/)
  })
})

/** The law of lowering: a pattern run as TypeScript equals its expressions evaluated, on random records, params and tables. */

import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { formatDiagnostic } from '../../compiler/diagnostics.ts'
import { createCompiler, type CompiledPattern } from '../../compiler/index.ts'
import {
  evaluate,
  INDEX_VARS,
  nodesOf,
  printExpr,
  type Environment,
  type Expr,
  type IndexVar,
} from '../../compiler/ir.ts'
import type { PatternIr } from '../../compiler/plan.ts'
import type { Pattern } from '../../dsl/index.ts'
import { PATTERNS } from '../../patterns/index.ts'
import { Draw } from '../../runtime/testing/draw.ts'
import * as language from '../fixtures/language.ts'

const RUNS = 400
const compiler = createCompiler()

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

function compiled(path: string): readonly CompiledPattern[] {
  const { patterns, diagnostics } = compiler.compile(file(path))
  const errors = diagnostics.filter((d) => d.severity !== 'note')
  if (errors.length > 0) throw new Error(errors.map((d) => formatDiagnostic(d)).join('\n\n'))
  return patterns
}

interface Sizes {
  readonly record: Readonly<Record<IndexVar, number>>
  readonly batches: number
}

function drawSizes(d: Draw): Sizes {
  const kvLen = d.int(1, 40)
  const qLen = d.int(1, kvLen)
  const kvHeads = d.int(1, 3)
  const qHeads = kvHeads * d.int(1, 3)
  const head = d.int(0, qHeads - 1)
  const batches = d.int(1, 2)
  const record = {
    batch: d.int(0, batches - 1),
    head,
    kvHead: Math.floor((head * kvHeads) / qHeads),
    qHeads,
    kvHeads,
    qLen,
    kvLen,
    q: kvLen - qLen + d.int(0, qLen - 1),
    kv: d.int(0, kvLen - 1),
    headDim: d.pick([8, 64]),
  }
  return { record, batches }
}

interface World {
  readonly ix: Readonly<Record<string, unknown>>
  readonly env: Environment
  readonly text: string
}

/** A record to run the pattern on, and the same values as leaves of its expressions. */
function drawWorld(d: Draw, ir: PatternIr): World {
  const { record, batches } = drawSizes(d)
  const axes = { ...record, batch: batches, head: record.qHeads, kvHead: record.kvHeads, indexHead: 1 }
  const params = new Map(ir.params.map((p) => [p.name, drawParam(d, p)]))
  const tables = new Map(
    ir.tables.map((t) => {
      const dims = t.dims.map((dim) => (typeof dim === 'number' ? dim : axes[dim]))
      const count = dims.reduce((a, b) => a * b, 1)
      const [lo, hi] = [Math.max(t.min, -9), Math.min(t.max, 9)]
      const values = Array.from({ length: count }, () =>
        t.type === 'i32' ? d.int(lo, hi) : Math.fround(d.int(-99, 99) / 10),
      )
      return [t.name, { dims, values }] as const
    }),
  )
  const load = (name: string, indices: readonly number[]): number => {
    const { dims, values } = tables.get(name)!
    if (indices.some((x, i) => x < 0 || x >= dims[i]!)) return 0
    return values[indices.reduce((at, x, i) => at * dims[i]! + x, 0)]!
  }
  const env: Environment = {
    var: (name) => (name === 'logit' ? logit : record[name as IndexVar]),
    param: (name) => params.get(name)!,
    derived: (name) => evaluate(ir.derived.find((x) => x.name === name)!.value, env) as number,
    load,
  }
  const logit = Math.fround(d.int(-400, 400) / 100)
  const views = ir.tables.map(
    (t) => [t.name, { at: (...indices: number[]) => load(t.name, indices) }] as const,
  )
  const ix = {
    ...record,
    ...ir.consts,
    ...Object.fromEntries(params),
    ...Object.fromEntries(views),
    s: logit,
  }
  return { ix, env, text: JSON.stringify({ ...ix, tables: Object.fromEntries(tables) }) }
}

function drawParam(d: Draw, p: PatternIr['params'][number]): number {
  const [lo, hi] = [Math.max(p.min, -70), Math.min(p.max, 70)]
  if (p.type === 'i32') return d.smallInt(Math.ceil(lo), Math.floor(hi))
  const far = d.pick([0, 0, 0, 0, 1, 2])
  if (far === 1 && p.max > 1e30) return Math.fround(d.pick([1e30, -1e30, 2 ** 31, 0.5 - 2 ** -54]))
  return Math.min(p.max, Math.max(p.min, Math.fround(lo + ((hi - lo) * d.int(0, 840)) / 840)))
}

function expectLaw(pattern: Pattern, { lowered, simplified }: CompiledPattern, runs = RUNS): void {
  for (let seed = 1; seed <= runs; seed++) {
    const { ix, env, text } = drawWorld(Draw.fromSeed(seed), lowered)
    const run = ix as Parameters<Pattern['mask']>[0]
    for (const ir of [lowered, simplified]) {
      const got = evaluate(ir.mask, env)
      if (got !== pattern.mask(run))
        throw new Error(`mask of ${pattern.name} is ${got}: ${printExpr(ir.mask)}\n${text}`)
      if (ir.score)
        expectNear(
          evaluate(ir.score, env),
          pattern.score!(ix.s as number, run),
          `score of ${pattern.name} on ${text}`,
        )
      if (ir.sinkLogit)
        expectNear(
          evaluate(ir.sinkLogit, env),
          pattern.sinkLogit!(run),
          `sinkLogit of ${pattern.name} on ${text}`,
        )
    }
  }
}

/** Products and powers may be formed in another order. */
function expectNear(got: unknown, want: number, what: string): void {
  const near =
    typeof got === 'number' &&
    (Object.is(got, want) || Math.abs(got - want) <= 1e-12 * Math.max(1, Math.abs(want)))
  if (!near) throw new Error(`${what} is ${String(got)}, not ${want}`)
}

const floatsOf = (e: Expr): Expr[] => nodesOf(e).filter((n) => n.type === 'f32')

describe('a pattern of the library run as TypeScript equals its expressions', () => {
  const patterns = PATTERNS.map(({ pattern }) => pattern)
  test('there are patterns', () => expect(patterns.length).toBeGreaterThan(20))
  test.each(patterns.map((p) => [p.name, p] as const))('%s', (name, pattern) => {
    const found = compiled(`../../patterns/${name}.ts`).find((c) => c.name === name)
    expect(found).toBeDefined()
    expect(floatsOf(found!.lowered.mask)).toEqual([])
    expectLaw(pattern, found!, 150)
  })
})

describe('each corner of the language', () => {
  const made = compiled('../fixtures/language.ts')
  test.each(Object.entries(language))('%s', (exportName, pattern) => {
    const found = made.find((c) => c.exportName === exportName)
    expect(found?.name).toBe(pattern.name)
    expect(found!.lowered.consts).toEqual(pattern.consts)
    expect(
      Object.fromEntries(
        found!.lowered.params.map(({ name, ...spec }) => [name, { kind: 'param', ...spec }]),
      ),
    ).toEqual(pattern.params)
    expect(found!.lowered.tables.map((t) => t.name)).toEqual(Object.keys(pattern.tables))
    expect(floatsOf(found!.lowered.mask)).toEqual([])
    expectLaw(pattern, found!)
  })
  test('every exported pattern is found, in the order of the text', () => {
    expect(made.map((c) => c.exportName).toSorted()).toEqual(Object.keys(language).toSorted())
    expect(made[0]!.exportName).toBe('operators')
  })
})

test('a const is overridden by name, and loops and dims follow it', () => {
  const { patterns, diagnostics } = compiler.compile(file('../fixtures/language.ts'), {
    consts: { steps: 2, buckets: 9, count: 3, size: 5 },
  })
  expect(diagnostics.filter((d) => d.severity !== 'note')).toEqual([])
  const by = (name: string) => patterns.find((p) => p.exportName === name)!.lowered
  expect(by('loops').consts).toEqual({ steps: 2 })
  expect(by('tables').tables.find((t) => t.name === 'grid')!.dims).toEqual(['head', 9])
  expect(by('renamed').consts).toEqual({ size: 5, count: 3 })
  expect(by('renamed').tables.find((t) => t.name === 'grid')!.dims).toEqual(['head', 5])
})

test("expressions carry the author's text", () => {
  const text = `import { pattern } from '../../dsl/index.ts'
const near = (a: number, b: number) => a - b < 5
export const p = pattern({ name: 'p', mask: ({ q, kv }) => kv <= q && near(q, kv) })
`
  const [p] = compiler.compile(file('../fixtures/spans.ts'), { text }).patterns
  const texts = nodesOf(p!.lowered.mask).map((e) => text.slice(e.span.start, e.span.end))
  expect(texts).toContain('kv <= q')
  expect(texts).toContain('a - b < 5')
})

test('the record has the fields that the DSL says', () => {
  expect([...INDEX_VARS].toSorted()).toEqual([
    'batch',
    'head',
    'headDim',
    'kv',
    'kvHead',
    'kvHeads',
    'kvLen',
    'q',
    'qHeads',
    'qLen',
  ])
})

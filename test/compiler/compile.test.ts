/** compile() as a whole: where files may stand, what is recognised, what is never run, how stages fail. */

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { compile, createCompiler, type Compilation, type Stages } from '../../compiler/index.ts'
import { printExpr } from '../../compiler/ir.ts'
import { PACKAGE_ROOT } from '../../compiler/package-root.ts'

const compiler = createCompiler()
const outside = realpathSync(mkdtempSync(join(tmpdir(), 'heddle-compile-')))
afterAll(() => rmSync(outside, { recursive: true, force: true }))

let folders = 0
/** A fresh folder outside the repository with these files; the path of the first. */
function folder(files: Readonly<Record<string, string>>): string {
  const root = join(outside, String(folders++))
  for (const [name, text] of Object.entries(files)) {
    const path = join(root, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  return join(root, Object.keys(files)[0]!)
}

const said = ({ diagnostics }: Compilation) =>
  diagnostics.filter((d) => d.severity !== 'note').map((d) => `${d.code}: ${d.text}`)
const masks = (c: Compilation) => {
  expect(said(c)).toEqual([])
  return c.patterns.map((p) => `${p.name} = ${printExpr(p.lowered.mask)}`)
}

const CAUSAL = `import { pattern } from 'heddle'
export const causal = pattern({ name: 'mine', mask: ({ q, kv }) => kv <= q })
`

describe('a pattern file anywhere on disk', () => {
  test('with no package in reach uses this one', () => {
    const file = folder({
      'a.ts': `import { and, pattern } from 'heddle'
import { slidingWindow } from 'heddle/patterns'
export const mine = and(pattern({ name: 'even', mask: ({ kv }) => (kv & 1) === 0 }), slidingWindow)
`,
    })
    expect(masks(compiler.compile(file))).toEqual([
      'even-and-sliding-window = and(eq(bitAnd(kv, 1), 0), and(le(kv, q), lt(sub(q, kv), $window)))',
    ])
  })

  test('with a linked package uses that', () => {
    const file = folder({
      'src/a.ts': CAUSAL.replace('kv <= q', 'causal.mask(ix)')
        .replace('({ q, kv })', '(ix)')
        .replace('\n', "\nimport { causal } from 'heddle/patterns/causal'\n")
        .replace('const causal', 'const mine'),
    })
    mkdirSync(join(dirname(file), '../node_modules'))
    symlinkSync(PACKAGE_ROOT, join(dirname(file), '../node_modules/heddle'))
    expect(masks(compiler.compile(file))).toEqual(['mine = le(kv, q)'])
  })

  test('with a copied package recognises the words of the copy', () => {
    const copy = 'node_modules/heddle'
    const file = folder({
      'a.ts': CAUSAL,
      [`${copy}/package.json`]: JSON.stringify({
        name: 'heddle',
        type: 'module',
        exports: { '.': { 'heddle-source': './dsl/index.ts' } },
      }),
      [`${copy}/dsl/index.ts`]: "export { pattern } from './pattern.ts'\n",
      [`${copy}/dsl/pattern.ts`]: `interface Ix { q: number; kv: number }
export const pattern = (fields: { name: string; mask: (ix: Ix) => boolean }) => ({ kind: 'heddle/pattern' as const, ...fields })
`,
    })
    expect(masks(compiler.compile(file))).toEqual(['mine = le(kv, q)'])
  })

  test('without types of Node or a browser, and beside a tsconfig that asks for others', () => {
    const file = folder({
      'a.ts': `import { readFileSync } from 'node:fs'
${CAUSAL}
console.log(process.argv.length, readFileSync)
const loose = (x) => x
export const unused = loose(1)
`,
      'tsconfig.json': '{ "compilerOptions": { "strict": false, "types": ["nothing"], "target": "es5" } }',
    })
    expect(said(compiler.compile(file))).toEqual(["types: Parameter 'x' implicitly has an 'any' type."])
  })

  test('in JavaScript', () => {
    const file = folder({
      'a.mjs': `${CAUSAL}export const near = pattern({ name: 'near', mask: ({ q, kv }) => close(q, kv) })\nfunction close(a, b) { return a - b < 4 }\n`,
    })
    expect(masks(compiler.compile(file))).toEqual(['mine = le(kv, q)', 'near = lt(sub(q, kv), 4)'])
  })
})

test("nothing of the author's code runs", () => {
  const file = folder({
    'a.ts': `import { limit } from './limit.ts'
import { pattern } from 'heddle'
const ran = globalThis as { ran?: boolean }
ran.ran = true
if (limit > 0) throw new Error('executed')
export const mine = pattern({ name: 'mine', mask: ({ q, kv }) => { return q - kv < limit } })
`,
    'limit.ts': `(globalThis as { ran?: boolean }).ran = true
export const limit = 2 ** 3
export const crash: never = (() => { throw new Error('executed') })()
`,
  })
  expect(masks(compiler.compile(file))).toEqual(['mine = lt(sub(q, kv), 8)'])
  expect('ran' in globalThis).toBe(false)
})

describe('words are recognised by what they are, not by their names', () => {
  const compiled = (text: string) => compiler.compile(join(outside, 'words.ts'), { text })

  test('renamed, by namespace, through another file, in brackets', () => {
    const file = folder({
      'a.ts': `import * as h from 'heddle'
import { pattern as declare, floorDiv as down } from 'heddle'
import { make, width } from './words.ts'
export const a = declare({ name: 'a', mask: ({ q, kv }) => down(q, 4) === h.floorDiv(kv, 4) })
export const b = h.pattern({ name: 'b', mask: ({ q, kv }) => Math['max'](q, 2) < width(kv) })
export const c = (make({ name: 'c', mask: (({ q, kv }: { q: number; kv: number }) => kv <= q) satisfies unknown as never }))
export default h.not(a)
`,
      'words.ts':
        "export { pattern as make } from 'heddle'\nexport { clamp, floorDiv } from 'heddle'\nimport { mod } from 'heddle'\nexport const width = (x: number): number => mod(x, 8)\n",
    })
    expect(masks(compiler.compile(file))).toEqual([
      'a = eq(floorDiv(q, 4), floorDiv(kv, 4))',
      'b = lt(max(q, 2), mod(kv, 8))',
      'c = le(kv, q)',
      'not-a = not(eq(floorDiv(q, 4), floorDiv(kv, 4)))',
    ])
    expect(compiler.compile(file).patterns.map((p) => p.exportName)).toEqual(['a', 'b', 'c', 'default'])
  })

  test("an author's function of the same name is the author's", () => {
    const c = compiled(`import { pattern } from 'heddle'
const floorDiv = (a: number, b: number): number => a - b
const Math = { max: (a: number): number => a + 1 }
export const p = pattern({ name: 'p', mask: ({ q, kv }) => floorDiv(q, 4) < Math.max(kv) })
`)
    expect(masks(c)).toEqual(['p = lt(sub(q, 4), add(kv, 1))'])
  })

  test('a function called pattern that is not ours makes no pattern', () => {
    const c = compiled(
      "const pattern = (x: { name: string }) => x\nexport const p = pattern({ name: 'p' })\n",
    )
    expect(said(c)).toEqual(['no-pattern: the file exports no pattern'])
  })

  test('enum members and constants of other files are constants', () => {
    const c = compiled(`import { pattern } from 'heddle'
enum Kind { Near = 4, Far }
const enum Fast { One = 1 }
export const p = pattern({ name: 'p', mask: ({ q, kv }) => q - kv < Kind.Far + Fast.One + Math.trunc(Math.E) })
`)
    expect(masks(c)).toEqual(['p = lt(sub(q, kv), 8)'])
  })
})

describe('errors', () => {
  test('of a stage are all reported, in order, and the next stage does not start', () => {
    const file = folder({
      'a.ts': `import { pattern } from 'heddle'
import { half } from './half.ts'
export const a = pattern({ name: 'a', mask: ({ q, kv }) => half(q) == kv / 3 })
export const b = pattern({ name: 'b', mask: ({ q, kv }) => q ** 2 < kv && floor(q) })
function floor(x: number): boolean { return x as never }
`,
      'half.ts': 'export const half = (x: number): number => x / 2\n',
    })
    const c = compiler.compile(file)
    expect(c.patterns).toEqual([])
    expect(c.diagnostics.map((d) => [d.span.source.file === file ? 'a' : 'half', d.code])).toEqual([
      ['a', 'loose-equality'],
      ['a', 'index-division'],
      ['a', 'index-power'],
      ['a', 'not-boolean'],
      ['half', 'index-division'],
    ])
    expect(
      c.diagnostics.at(-1)!.notes.map((n) => n.span.source.text.slice(n.span.start, n.span.end)),
    ).toEqual(['half(q)'])
  })

  test('of types and syntax in an imported file are reported', () => {
    const file = folder({
      'a.ts': CAUSAL.replace('\n', "\nimport './b.ts'\nimport './c.ts'\n"),
      'b.ts': 'export const x: number = true\n',
      'c.ts': 'export const y = 1\n',
    })
    expect(said(compiler.compile(file))).toEqual([
      "types: Type 'boolean' is not assignable to type 'number'.",
    ])
    const broken = folder({
      'a.ts': CAUSAL.replace('\n', "\nimport './b.ts'\n"),
      'b.ts': 'export const x = = 1\n',
    })
    expect(said(compiler.compile(broken))).toEqual(['syntax: Expression expected.'])
  })

  test("of a missing import are TypeScript's", () => {
    const file = folder({ 'a.ts': CAUSAL.replace('\n', "\nimport { x } from './nowhere.ts'\n") })
    expect(said(compiler.compile(file))).toEqual([
      "types: Cannot find module './nowhere.ts' or its corresponding type declarations.",
    ])
  })

  test('of a file that cannot be read say why', () => {
    const dir = join(outside, 'a-folder.ts')
    mkdirSync(dir, { recursive: true })
    const texts = [
      join(outside, 'absent.ts'),
      dir,
      join(outside, 'notes.txt'),
      join(outside, 'types.d.ts'),
    ].map((f) => said(compiler.compile(f))[0]!.split(': ').at(-1))
    const endings = 'a pattern file ends in .ts, .mts, .cts, .js, .mjs, .cjs'
    expect(texts).toEqual(['there is no such file', 'it is not a file', endings, endings])
  })

  test('of one file leave the others of a call alone', () => {
    const deep = folder({
      'a.ts': `import { pattern } from 'heddle'\nexport const p = pattern({ name: 'p', mask: ({ kv }) => ${Array.from({ length: 6000 }, (_, i) => `kv === ${i}`).join(' || ')} })\n`,
    })
    const [bad, absent, good] = compiler.compileAll([
      deep,
      join(outside, 'absent.ts'),
      { file: join(outside, 'good.ts'), text: CAUSAL },
    ])
    expect(bad!.diagnostics.map((d) => d.code)).toEqual(['too-deep'])
    expect(absent!.diagnostics.map((d) => d.code)).toEqual(['unreadable-file'])
    expect(masks(good!)).toEqual(['mine = le(kv, q)'])
    expect(masks(compiler.compile(join(outside, 'good.ts'), { text: CAUSAL }))).toEqual(['mine = le(kv, q)'])
  })

  test('no file at all, an empty file, a file of comments', () => {
    expect(compiler.compileAll([])).toEqual([])
    for (const text of ['', '// nothing\n', '\uFEFF']) {
      expect(said(compiler.compile(join(outside, 'empty.ts'), { text }))).toEqual([
        'no-pattern: the file exports no pattern',
      ])
    }
  })

  test.each(['parse', 'lower', 'bounds', 'simplify', 'plan'] as const)(
    'a bug in %s is reported as ours',
    (stage) => {
      const broken: Partial<Stages> = {
        [stage]: () => {
          throw new TypeError('x is not a function')
        },
      }
      const c = createCompiler(broken).compile(join(outside, 'good.ts'), { text: CAUSAL })
      expect(c.patterns).toEqual([])
      expect(c.diagnostics.map((d) => [d.severity, d.code, d.text])).toEqual([
        ['internal', 'internal', `the stage \`${stage}\` broke: x is not a function`],
      ])
    },
  )
})

describe('a warm compiler', () => {
  test('sees what changed on disk, in the file and in what it imports', () => {
    const file = folder({
      'a.ts': `import { pattern } from 'heddle'\nimport { reach } from './b.ts'\nexport const a = pattern({ name: 'a', mask: ({ q, kv }) => q - kv < reach })\n`,
      'b.ts': 'export const reach = 3\n',
    })
    expect(masks(compiler.compile(file))).toEqual(['a = lt(sub(q, kv), 3)'])
    writeFileSync(join(dirname(file), 'b.ts'), 'export const reach = 5\n')
    expect(masks(compiler.compile(file))).toEqual(['a = lt(sub(q, kv), 5)'])
    rmSync(join(dirname(file), 'b.ts'))
    expect(said(compiler.compile(file))).toEqual([
      "types: Cannot find module './b.ts' or its corresponding type declarations.",
    ])
  })

  test('gives the same patterns as a fresh one', () => {
    const file = fileURLToPath(new URL('../fixtures/language.ts', import.meta.url))
    const print = (c: Compilation) =>
      c.patterns.map((p) => [p.name, printExpr(p.plan.mask), p.plan.score && printExpr(p.plan.score)])
    expect(print(compiler.compile(file))).toEqual(print(createCompiler().compile(file)))
    expect(print(compile(file))).toEqual(print(compiler.compile(file)))
  })
})

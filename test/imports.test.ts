/** The arrows between the units, checked on every import of the sources. */

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const FOLDERS = ['dsl', 'compiler', 'codegen', 'runtime', 'patterns', 'bench/eval']
const UNITS = [
  'dsl',
  'compiler',
  'codegen',
  'runtime',
  'patterns',
  'model-node',
  'testing',
  'eval',
  'cli',
] as const
type Unit = (typeof UNITS)[number]

/** What a unit may import from; `types` by `import type` alone. Its own files are always allowed. */
const ALLOWED: Record<Unit, { values: readonly string[]; types: readonly string[]; packages: RegExp }> = {
  dsl: { values: [], types: [], packages: /^$/ },
  compiler: { values: ['dsl'], types: [], packages: /^(typescript|ts-morph|node:.*)$/ },
  codegen: { values: ['dsl', 'compiler'], types: [], packages: /^(typescript|ts-morph|node:.*)$/ },
  runtime: {
    values: ['dsl/math.ts', 'dsl/stages/evaluate.ts'],
    types: ['dsl', 'compiler', 'codegen'],
    packages:
      /^(@petamoriken\/float16|@huggingface\/(jinja|tokenizers)|node:.*|webgpu|koffi|@sparticuz\/chromium)$/,
  },
  patterns: { values: ['dsl'], types: [], packages: /^$/ },
  'model-node': {
    values: ['compiler', 'codegen', 'runtime'],
    types: [],
    packages: /^node:.*$/,
  },
  testing: {
    values: ['dsl', 'compiler', 'codegen', 'runtime', 'patterns'],
    types: [],
    packages: /^(fast-check|tsx\/.*|node:.*)$/,
  },
  eval: {
    values: ['dsl', 'compiler', 'codegen', 'runtime', 'patterns', 'testing'],
    types: [],
    packages: /^(node:.*|vega|vega-lite)$/,
  },
  cli: {
    values: ['dsl', 'compiler', 'codegen', 'runtime', 'patterns', 'model-node', 'testing', 'eval'],
    types: [],
    packages: /^(citty|fast-png|typescript|tsx\/.*|node:.*)$/,
  },
}

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
  readonly dynamic: boolean
}

function sourceFiles(): string[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name.replaceAll('\\', '/')}`),
  )
}

function unitOf(file: string): Unit {
  if (file.startsWith('runtime/testing/')) return 'testing'
  if (file.startsWith('runtime/cli/')) return 'cli'
  if (file.startsWith('bench/eval/')) return 'eval'
  if (/^runtime\/model-node(\/|\.)/.test(file)) return 'model-node'
  return UNITS.find((unit) => file.startsWith(`${unit}/`))!
}

/** A relative import becomes a path from the root, a package's subpath stays as it is written. */
function importsOf(file: string): Import[] {
  const source = ts.createSourceFile(
    file,
    readFileSync(join(ROOT, file), 'utf8'),
    ts.ScriptTarget.ES2023,
    true,
  )
  const found: Import[] = []
  const add = (node: ts.Expression | undefined, typeOnly: boolean, dynamic: boolean) => {
    // Data is no module.
    if (!node || !ts.isStringLiteralLike(node) || node.text.endsWith('.json')) return
    const to = node.text.startsWith('.') ? relative(ROOT, join(ROOT, dirname(file), node.text)) : node.text
    found.push({ from: file, to, typeOnly, dynamic })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const clause = node.importClause
      const named = clause?.namedBindings
      const each = named && ts.isNamedImports(named) && !clause.name && named.elements.length > 0
      const typeOnly =
        clause?.phaseModifier === ts.SyntaxKind.TypeKeyword ||
        (each === true && named.elements.every((e) => e.isTypeOnly))
      add(node.moduleSpecifier, typeOnly, false)
    } else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly, false)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal as ts.Expression, true, false)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false, true)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const FILES = sourceFiles()
const IMPORTS = FILES.flatMap(importsOf)
const isLocal = (i: Import) => FOLDERS.some((folder) => i.to.startsWith(`${folder}/`))
const show = (i: Import) => `${i.from} -> ${i.to}${i.typeOnly ? ' (type)' : ''}`
const within = (to: string, allowed: readonly string[]) =>
  allowed.some((place) => to === place || unitOf(to) === place)

describe('imports', () => {
  test('there are some in each unit', () => {
    expect([...new Set(FILES.map(unitOf))].sort()).toEqual([...UNITS].sort())
    expect(IMPORTS.length).toBeGreaterThan(50)
  })

  test('each goes along an arrow of the design', () => {
    const wrong = IMPORTS.filter(isLocal).filter((i) => {
      const unit = unitOf(i.from)
      if (unitOf(i.to) === unit) return false
      const { values, types } = ALLOWED[unit]
      return !within(i.to, values) && !(i.typeOnly && within(i.to, types))
    })
    expect(wrong.map(show)).toEqual([])
  })

  test('each names a file that is there, with its extension', () => {
    expect(IMPORTS.filter((i) => isLocal(i) && !existsSync(join(ROOT, i.to))).map(show)).toEqual([])
    expect(IMPORTS.filter((i) => i.to.startsWith('..')).map(show)).toEqual([])
  })

  test('each package is one that the unit may use', () => {
    const wrong = IMPORTS.filter((i) => !isLocal(i) && !ALLOWED[unitOf(i.from)].packages.test(i.to))
    expect(wrong.map(show)).toEqual([])
  })

  test('the native packages are loaded on demand alone', () => {
    const native = IMPORTS.filter((i) => /^(webgpu|koffi|@sparticuz\/chromium)/.test(i.to) && !i.typeOnly)
    expect(native.filter((i) => !i.dynamic).map(show)).toEqual([])
    expect(native.length).toBeGreaterThan(0)
  })

  test.each<[string, readonly string[], RegExp]>([
    [
      'runtime',
      ['runtime/index.ts', 'runtime/device-browser.ts', 'dsl/index.ts', 'patterns/index.ts'],
      /^@petamoriken\/float16$/,
    ],
    ["models' files", ['runtime/model.ts'], /^(@petamoriken\/float16|@huggingface\/(jinja|tokenizers))$/],
  ])(
    'a browser can load the %s: what its entries reach needs neither Node nor the compiler',
    (_, entries, known) => {
      const reached = new Set<string>()
      const reach = (file: string): void => {
        if (reached.has(file)) return
        reached.add(file)
        for (const i of IMPORTS.filter((i) => i.from === file && !i.typeOnly && isLocal(i))) reach(i.to)
      }
      for (const entry of entries) reach(entry)
      expect([...reached].filter((file) => /^(compiler|codegen)\//.test(file))).toEqual([])
      const packages = IMPORTS.filter((i) => reached.has(i.from) && !i.typeOnly && !isLocal(i)).map(
        (i) => i.to,
      )
      expect(packages.filter((name) => !known.test(name))).toEqual([])
    },
  )

  test('every package is one that an install brings', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >
    const brought = new Set(
      ['dependencies', 'optionalDependencies', 'peerDependencies'].flatMap((kind) =>
        Object.keys(manifest[kind] ?? {}),
      ),
    )
    const missing = IMPORTS.filter((i) => !isLocal(i) && !i.to.startsWith('node:')).filter((i) => {
      const name = i.to
        .split('/')
        .slice(0, i.to.startsWith('@') ? 2 : 1)
        .join('/')
      return !brought.has(name)
    })
    expect(missing.map(show)).toEqual([])
  })
})

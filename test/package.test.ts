/** The packed tarball in an empty project, and a link to a clone: what a user's own pattern file can do with either. */

import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const NAMES = ['every-other', 'causal-and-every-other', 'near']
const home = mkdtempSync(join(tmpdir(), 'heddle-package-'))
const clone = join(home, 'clone')
const app = join(home, 'app')

/** The library's own causal, met with a mask of the author's: both of the package's entries that a pattern file imports. */
const MINE = `import { and, i32, pattern, rename } from 'heddle'
import { causal } from 'heddle/patterns'
import { slidingWindow } from 'heddle/patterns/sliding-window'

export const everyOther = pattern({
  name: 'every-other',
  params: { stride: i32(2, { min: 1, max: 64 }) },
  mask: ({ q, kv, stride }) => (q - kv) % stride === 0,
})

export const mine = and(causal, everyOther)
export const near = rename(and(slidingWindow, everyOther), { window: 'span' }, 'near')
`

/** What the npm that runs the tests says about itself must not steer the npm that they start. */
function environment(): NodeJS.ProcessEnv {
  const own =
    /^(npm_(lifecycle|package|command|execpath|node_execpath|config_local_prefix)|INIT_CWD|VITEST|NODE_ENV|NODE_OPTIONS)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.test(name)))
}

function execute(cwd: string, command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, env: environment(), encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`)
  return stdout
}

const heddle = (cwd: string, ...args: string[]) => execute(cwd, 'npx', ['--no-install', 'heddle', ...args])
const json = (text: string) => JSON.parse(text) as Record<string, unknown>[]

function writeJson(file: string, value: unknown): void {
  writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)
}

/** build, check and show, as far as the answers can be told from outside. */
function useIt(cwd: string): void {
  writeFileSync(join(cwd, 'mine.ts'), MINE)
  const built = json(heddle(cwd, 'build', 'mine.ts', '--target', 'wgsl', '--out', 'out', '--json'))
  expect(built.map((row) => row['pattern'])).toEqual(expect.arrayContaining(NAMES))
  for (const row of built) expect(existsSync(join(cwd, String(row['file']))), String(row['file'])).toBe(true)
  const checked = json(heddle(cwd, 'check', 'mine.ts', '--runs', '4', '--json'))
  expect(checked.map((row) => [row['pattern'], row['failures']])).toEqual(
    expect.arrayContaining(NAMES.map((name) => [name, 0])),
  )
  expect(heddle(cwd, 'show', 'mine.ts')).toContain('density')
  // Texts for CUDA are put together from files that the build copies.
  const cuda = json(
    heddle(cwd, 'build', 'mine.ts', '--target', 'cuda', '--cubins', 'none', '--out', 'cuda', '--json'),
  )
  for (const row of cuda)
    expect(readFileSync(join(cwd, String(row['file'])), 'utf8')).toMatch(/(?:attend|ENTRY\(attend\))\(/)
  expect(cuda.length).toBeGreaterThanOrEqual(NAMES.length)
}

beforeAll(() => {
  // A clone of the working tree, without what git ignores; its node_modules is this one's.
  const left = new Set(['.git', 'node_modules', 'dist', 'heddle-report', 'out', '.heddle', '.gpu-bundle'])
  cpSync(ROOT, clone, {
    recursive: true,
    filter: (source) => !left.has(basename(source)) || join(source, '..') !== join(ROOT, '.'),
  })
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'))
  execute(clone, 'npm', ['pack', '--pack-destination', home])
  const tarball = readdirSync(home).find((name) => name.endsWith('.tgz'))!
  mkdirSync(app)
  writeJson(join(app, 'package.json'), { name: 'app', private: true, type: 'module' })
  execute(app, 'npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', join(home, tarball)])
}, 240_000)

afterAll(() => rmSync(home, { recursive: true, force: true }))

describe('installed from its tarball', () => {
  const installed = join(app, 'node_modules/heddle')

  test('it ships what patterns are compiled against, and no test or tool of its own', () => {
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' })
    for (const file of [
      'dist/dsl/index.js',
      'dist/dsl/index.d.ts',
      'dsl/index.ts',
      'patterns/causal.ts',
      'dist/codegen/cuda/ampere.cuh',
      'dist/runtime/cuda/emulation/emulation.h',
      // What `heddle eval` is made of, and the words of its tasks.
      'dist/bench/eval/run.js',
      'dist/models/needle/language.json',
      'LICENSE',
      'README.md',
    ]) {
      expect(files).toContain(file)
    }
    expect(
      files.filter((file) =>
        /^(test|bench|docs|\.ci|compiler|codegen)\b|^dist\/test|^dist\/bench\/(?!eval)/.test(file),
      ),
    ).toEqual([])
  })

  test('every entry loads in plain Node', () => {
    const { exports } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
      exports: Record<string, unknown>
    }
    const entries = Object.keys(exports).filter((key) => key !== './package.json')
    const names = entries.map((key) => key.replace('*', 'causal').replace(/^\./, 'heddle'))
    const script = `for (const n of ${JSON.stringify(names)}) { const m = await import(n); console.log(n, Object.keys(m).length > 0) }`
    const lines = execute(app, process.execPath, ['--input-type=module', '-e', script]).trim().split('\n')
    expect(lines).toEqual(names.map((name) => `${name} true`))
  })

  test("a user's pattern builds, checks and shows", () => useIt(app), 120_000)

  test("a user's files type-check under nodenext, the declarations of the package included", () => {
    writeFileSync(join(app, 'mine.ts'), MINE)
    // An optional peer: who type-checks libraries and imports heddle/testing brings it.
    symlinkSync(join(ROOT, 'node_modules/fast-check'), join(app, 'node_modules/fast-check'))
    writeFileSync(
      join(app, 'use.ts'),
      `import { attention, loadKernel } from 'heddle/runtime'
import { openDevice } from 'heddle/runtime/node'
import { openModel } from 'heddle/model'
import { folderSource } from 'heddle/model/node'
import { checkPattern } from 'heddle/testing'
import { mine } from './mine.js'

export const parts: readonly unknown[] = [attention, loadKernel, openDevice, checkPattern, openModel, folderSource]
type Index = Parameters<typeof mine.mask>[0]
export const kept = (ix: Index): boolean => mine.mask({ ...ix, q: 4, kv: 2 })
export const stride: number = mine.params.stride.default
// @ts-expect-error a pattern has no such param
export const none = mine.params.strides
`,
    )
    writeJson(join(app, 'tsconfig.json'), {
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        lib: ['es2023', 'dom'],
        strict: true,
        noEmit: true,
        skipLibCheck: false,
        types: [],
      },
      files: ['mine.ts', 'use.ts'],
    })
    expect(execute(app, 'npx', ['--no-install', 'tsc', '-p', '.'])).toBe('')
  }, 60_000)
})

describe.each([
  ['with "type": "module"', { name: 'outside', private: true, type: 'module' }],
  ['without it', { name: 'outside', private: true }],
])('a link to a clone, from a folder %s', (title, manifest) => {
  test('a pattern file there builds, checks and shows', () => {
    const outside = join(home, title.replaceAll(/\W+/g, '-'))
    mkdirSync(join(outside, 'node_modules/.bin'), { recursive: true })
    writeJson(join(outside, 'package.json'), manifest)
    symlinkSync(clone, join(outside, 'node_modules/heddle'))
    symlinkSync('../heddle/runtime/cli/heddle.js', join(outside, 'node_modules/.bin/heddle'))
    useIt(outside)
  }, 120_000)
})

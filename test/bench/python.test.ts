/** The Python side of the CUDA suite, as far as it runs without a GPU. */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CASES, type CudaCase, type Ours, type Runs } from '../../bench/cuda/cases.ts'
import { countCase } from '../../bench/cuda/prepare.ts'
import { createCompiler } from '../../compiler/index.ts'
import { PATTERNS } from '../../patterns/index.ts'

const python = spawnSync('python3', ['--version']).status === 0

test.skipIf(!python)('its unit tests', () => {
  const { status, stderr } = spawnSync(
    'python3',
    ['-m', 'unittest', 'discover', '-s', 'test/bench', '-p', '*_test.py'],
    { encoding: 'utf8', env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' } },
  )
  expect(stderr).toMatch(/Ran [1-9]\d* tests[^]*OK/)
  expect(status).toBe(0)
})

test.skipIf(!python)('every module compiles', () => {
  const check = `import ast, pathlib
for f in sorted(pathlib.Path('bench/cuda').glob('*.py')): ast.parse(f.read_text(), str(f)); print(f.name)`
  expect(execFileSync('python3', ['-c', check], { encoding: 'utf8' })).toContain('run.py')
})

const LENGTH = 640

/** A sixteenth of everything that is counted in tokens, so that a short case looks as the long one does. */
function shrunk(c: CudaCase): CudaCase {
  const less = (n: number) => (n >= 64 ? n / 16 : n)
  // Nine documents of at most sixty tokens, and a last one; where a table says starts, those of the new documents.
  const shorter = (name: string, runs: Runs): Runs => {
    const lengths = runs.slice(0, 9).map(([, count]) => Math.min(count, 60))
    const all = [...lengths, LENGTH - lengths.reduce((sum, n) => sum + n, 0)]
    return all.map((n, i) => [name === 'docStart' ? all.slice(0, i).reduce((sum, m) => sum + m, 0) : i, n])
  }
  const ours = c.ours.map((o): Ours => ({
    ...o,
    params: Object.fromEntries(
      Object.entries(o.params ?? {}).map(([name, x]) => [name, typeof x === 'number' ? less(x) : x]),
    ),
    tables: Object.fromEntries(
      Object.entries(o.tables ?? {}).map(([name, runs]) => [name, shorter(name, runs)]),
    ),
  }))
  return { ...c, batch: 1, qLen: c.qLen === 1 ? 1 : LENGTH, kvLen: LENGTH, ours }
}

test.skipIf(!python)("FlexAttention's masks keep the pairs that the patterns keep", () => {
  const files = PATTERNS.map(({ file }) => file)
  const plans = new Map(
    createCompiler()
      .compileAll(files)
      .flatMap((compiled) => compiled.patterns.map((p) => [p.name, p.plan] as const)),
  )
  const cases = CASES.map(shrunk).map((c) => ({
    ...c,
    ours: c.ours.map((o) => ({ ...o, counts: countCase(plans.get(o.pattern)!, c, o, [{ q: 64, kv: 64 }]) })),
  }))
  const folder = mkdtempSync(join(tmpdir(), 'heddle-counts-'))
  const check = (changed: typeof cases) => {
    writeFileSync(join(folder, 'counts.json'), JSON.stringify({ version: 1, versions: {}, cases: changed }))
    return execFileSync('python3', ['test/bench/masks_check.py', join(folder, 'counts.json')], {
      encoding: 'utf8',
    })
  }
  try {
    expect(check(cases)).toMatch(/^\d{3,} rows\n$/)
    // The check sees a mask of another window.
    const wrong = cases.map((c) => ({
      ...c,
      ours: c.ours.map((o) => ({
        ...o,
        params: { ...o.params, window: Number(o.params?.['window'] ?? 1) + 1 },
      })),
    }))
    expect(check(wrong)).toContain('a-shape, head 0, row')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

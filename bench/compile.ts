/** Pattern files in; how long their compilation to WGSL takes, one by one in a warm compiler and all at once in a fresh process. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { emit } from '../codegen/index.ts'
import { createCompiler } from '../compiler/index.ts'
import { PATTERNS } from '../patterns/index.ts'
import { median, type Row } from './results.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LIMITS = { warmMs: 50, coldMs: 2000, coldMb: 400 }
const REPEATS = 7

/** What `heddle build` makes unless it is told otherwise. */
const EMIT = { target: 'wgsl', headDims: [64], dtypes: ['f32'] } as const

export function compileSuite(): Row[] {
  const files = PATTERNS.map(({ file }) => ROOT + file)
  return [coldRow(files), ...warmRows(files)]
}

/** A blank line more in each round: no round may find the last one's syntax tree or types. */
function warmRows(files: readonly string[]): Row[] {
  const compiler = createCompiler()
  const rows: Row[] = []
  compiler.compileAll(files)
  for (const file of files) {
    const text = readFileSync(file, 'utf8')
    const times: number[] = []
    let bytes = 0
    for (let round = 0; round <= REPEATS; round++) {
      const began = performance.now()
      const { patterns, diagnostics } = compiler.compile(file, { text: text + '\n'.repeat(round + 1) })
      bytes = patterns.reduce((sum, p) => sum + JSON.stringify(emit(p, EMIT)).length, 0)
      times.push(performance.now() - began)
      if (patterns.length === 0) throw new Error(`${file}: ${diagnostics[0]?.text ?? 'no pattern'}`)
    }
    // The first round is the one that warms the code of the compiler itself.
    const ms = median(times.slice(1))
    const name = file.slice(file.lastIndexOf('/') + 1, -'.ts'.length)
    rows.push({
      case: `${name}, warm`,
      target: 'wgsl',
      ours: { ms },
      limit: `${LIMITS.warmMs} ms`,
      ok: ms < LIMITS.warmMs,
      more: { bytes },
    })
  }
  return rows
}

/** The built package in a process of its own, from the first line after Node's start; the median of three. */
function coldRow(files: readonly string[]): Row {
  const script = `
    const began = performance.now()
    const { createCompiler } = await import(${JSON.stringify(pathToFileURL(`${ROOT}dist/compiler/index.js`).href)})
    const { emit } = await import(${JSON.stringify(pathToFileURL(`${ROOT}dist/codegen/index.js`).href)})
    let patterns = 0
    for (const c of createCompiler().compileAll(${JSON.stringify(files)})) {
      for (const p of c.patterns) { emit(p, ${JSON.stringify(EMIT)}); patterns++ }
    }
    console.log(JSON.stringify({ ms: performance.now() - began, mb: process.resourceUsage().maxRSS / 1024, patterns }))`
  const runs = [1, 2, 3].map(() => {
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      cwd: ROOT,
    })
    return JSON.parse(printed) as { ms: number; mb: number; patterns: number }
  })
  const ours = { ms: median(runs.map((r) => r.ms)), mb: Math.max(...runs.map((r) => r.mb)) }
  return {
    case: 'the whole library, cold',
    target: 'wgsl',
    ours,
    limit: `${LIMITS.coldMs} ms, ${LIMITS.coldMb} MB`,
    ok: ours.ms < LIMITS.coldMs && ours.mb < LIMITS.coldMb,
    more: { patterns: runs[0]!.patterns },
  }
}

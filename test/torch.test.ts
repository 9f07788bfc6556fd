/** The PyTorch package from this side: its own tests, and its rules, artefacts and words held against the TypeScript ones. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import type { JsonExpr } from '../codegen/artifact.ts'
import { emitCuda } from '../codegen/cuda/emit.ts'
import { PATTERNS } from '../patterns/index.ts'
import { derivedBits, EVALUATE, floatBits } from '../runtime/derived.ts'
import { canonicalJson } from '../runtime/hash.ts'
import { resolveLengths } from '../runtime/lengths.ts'
import { metaWords } from '../runtime/meta.ts'
import { resolveParams } from '../runtime/params.ts'
import { paramsOf, readProfile } from '../runtime/profile.ts'
import { drawCase, randomTensor } from '../runtime/testing/cases.ts'
import { drawSeeded, seededRandom } from '../runtime/testing/draw.ts'
import { compiled } from './helpers.ts'
import { METHOD_NAMES, type StageSizes } from './runtime/stage-cases.ts'
import { writeCases } from './torch-cases.ts'
import { writeProgramCases } from './torch-program-cases.ts'
import { programVectors } from './torch-programs.ts'

const TESTS = fileURLToPath(new URL('../runtime/torch/tests/', import.meta.url))
const PYTHON = process.env.HEDDLE_PYTHON ?? 'python3'

function python(args: readonly string[], input = '', env: Record<string, string> = {}) {
  return spawnSync(PYTHON, args, {
    cwd: TESTS,
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...env },
  })
}

const present = python(['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0
if (!present) process.stderr.write('tests of the PyTorch package are skipped: there is no python3\n')
const torch = present && python(['-c', 'import pytest, torch']).status === 0
const scratch = mkdtempSync(join(tmpdir(), 'heddle-torch-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** A double as JSON can carry it. */
function bitsOf(x: number | boolean): string | boolean {
  if (typeof x === 'boolean') return x
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, x)
  return view.getBigUint64(0).toString(16).padStart(16, '0')
}

const INTEGERS = [0, 1, -1, 2, 3, 7, 31, 32, 33, 255, -256, 65_535, 2 ** 22, 2 ** 30, -(2 ** 30), 2 ** 31 - 1]
const WIDE = [-(2 ** 31), 2 ** 31, 2 ** 32 - 1, 2 ** 32 + 5, 2 ** 53, -(2 ** 60)]
const FLOATS = [0.5, -0.5, -0, 1.5, -2.25, 1e-7, 1e9 + 0.25, 1e300, -1e300, Infinity, -Infinity, NaN]
const BOOLEANS = new Set(['and', 'or', 'not'])

/** All pairs of interesting numbers, and random ones. */
function argumentsOf(op: string): (number | boolean)[][] {
  const count = op === 'select' ? 3 : EVALUATE[op]!.length
  const truth = [true, false]
  if (op === 'not') return truth.map((x) => [x])
  if (BOOLEANS.has(op)) return truth.flatMap((a) => truth.map((b) => [a, b]))
  const numbers = [...INTEGERS, ...WIDE, ...FLOATS]
  const random = seededRandom(op.length)
  const drawn = Array.from({ length: 40 }, () => Math.floor((random() - 0.5) * 2 ** 32))
  if (count === 1) return [...numbers, ...drawn].map((x) => [x])
  // Shift counts are whole.
  const second = op === 'shl' ? INTEGERS.filter((k) => Math.abs(k) < 64) : numbers
  const pairs = numbers.flatMap((a) => second.map((b) => [a, b]))
  if (op !== 'shl') pairs.push(...drawn.map((x, i) => [x, drawn[(i * 7 + 1) % drawn.length]!]))
  return count === 2 ? pairs : pairs.flatMap(([a, b]) => truth.map((c) => [c, a!, b!]))
}

const OPS = Object.entries(EVALUATE).map(([op, f]) => ({
  op,
  calls: argumentsOf(op).map((args) => [
    args.map(bitsOf),
    bitsOf((f as (...a: (number | boolean)[]) => number | boolean)(...args)),
  ]),
}))

const v = (name: string): JsonExpr => ({ var: name })
const p = (name: string): JsonExpr => ({ param: name })
const op = (name: string, ...src: JsonExpr[]): JsonExpr => ({ op: name, src })
const EXPRESSIONS: readonly JsonExpr[] = [
  op('toI32', op('floor', op('add', p('alpha'), op('mul', p('beta'), v('kvLen'))))),
  op('max', op('sub', v('kvLen'), v('qLen')), op('mul', -3, v('head'))),
  op('select', op('lt', v('head'), 2), op('shl', 1, v('head')), op('hash', v('head'), v('kvHead'))),
  { pick: [4, 8, 15, 16], src: [op('sub', v('head'), 1)] },
  { pick: [0.5, 2.5], src: [op('div', v('head'), 2)] },
  op('div', p('alpha'), op('sub', v('head'), v('head'))),
  op('mul', p('beta'), 1e300),
  op('sqrt', op('sub', v('head'), 1)),
  op('mul', op('toF32', v('kvLen')), 2 ** 40),
]

const expressions = EXPRESSIONS.flatMap((e) =>
  [0, 1, 2, 3].map((head) => {
    const vars = {
      batch: 1,
      head,
      kvHead: head >> 1,
      qLen: 7,
      kvLen: 1000,
      qHeads: 4,
      kvHeads: 2,
      headDim: 64,
    }
    const params: Record<string, number> = { alpha: Math.fround(0.1) * head, beta: Math.fround(1 / 3) }
    const leaves = { vars, param: (name: string) => params[name]! }
    const bits = (['i32', 'f32'] as const).map((type) => derivedBits({ name: 'd', type, value: e }, leaves))
    const carried = Object.fromEntries(Object.entries(params).map(([name, x]) => [name, bitsOf(x)]))
    return { e, vars, params: carried, bits }
  }),
)

/** Every library pattern's artefact, and the words of random calls of it. */
function artifacts() {
  return PATTERNS.map(({ pattern }, i) => {
    const artifact = emitCuda(compiled(pattern), { headDims: [64], dtypes: ['f16'] })
    const calls = [0, 1, 2].map((n) => {
      const variant = { headDim: 16, valueDim: 16, dtype: 'f32', tile: { q: 32, kv: 32 } } as const
      const c = drawSeeded((d) => drawCase(d, pattern, variant), 10 * i + n).value
      const lengths = resolveLengths(c.lengths, c)
      const params = resolveParams(artifact.params, c.params, c.qHeads)
      const rows = lengths.flatMap((l) => [l.qRow, l.qStart, l.qLen, l.kvStart, l.kvLen])
      const scalars = artifact.params.filter((s) => !s.perHead)
      const words = scalars.map((s) => (s.type === 'f32' ? floatBits : Number)(params.get(s.name)![0]!))
      words.push(...metaWords(artifact, c, lengths, params).subarray(rows.length))
      const sizes = [c.batch, c.qHeads, c.kvHeads, Math.max(1, c.qRows), c.kvRows, c.headDim, c.valueDim]
      return { sizes: c.qRows === 0 ? null : sizes, lengths, params: c.params, rows, words }
    })
    return { artifact, calls: calls.filter((call) => call.sizes !== null) }
  })
}

/** Files of MInference's search, and the params of their layers. */
function profiles() {
  const random = seededRandom(3)
  const whole = (most: number) => Math.floor(random() * most)
  const kinds = ['vertical_and_slash', 'block_sparse', 'stream_llm'] as const
  const head = () => [kinds[whole(3)], whole(4000), 1 + whole(4000), random()]
  return [{}, { blocks: 7 }].map((options) => {
    const source = Array.from({ length: 3 }, () =>
      Object.fromEntries(Array.from({ length: 12 }, (_, h) => [h, head()])),
    )
    const profile = readProfile(source)
    return { source, options, params: source.map((_, layer) => paramsOf(profile, layer, 12, options)) }
  })
}

const PROGRAM: StageSizes = { batch: 2, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 90, headDim: 64 }
/** The last has chunks. */
const PROGRAM_SIZES = [
  PROGRAM,
  { ...PROGRAM, batch: 1, qLen: 1 },
  { ...PROGRAM, batch: 1, qHeads: 32, kvHeads: 8, qLen: 20_000, kvLen: 20_000 },
]

describe.skipIf(!present)('the PyTorch package', () => {
  test('its own tests that need no GPU', () => {
    const { status, stderr } = python(['-m', 'unittest', '-v'], '', { HEDDLE_CACHE_DIR: scratch })
    expect(status, stderr).toBe(0)
    expect(Number(/Ran (\d+) tests/.exec(stderr)?.[1])).toBeGreaterThan(25)
  })

  test('rules, artefacts and words agree with these', () => {
    const values = [0, -0, 1.5, 1e21, 1.5e-7, 2 ** 60, 3.4028234663852886e38, 5e-324, 1 / 3, 1e-5, 123456.789]
    const value = { b: values, a: { text: 'ü"\\\n\u2028', none: null, yes: true } }
    const tensor = randomTensor([1, 2, 3, 5], 'f32', 77)
    const given = {
      ops: OPS,
      expressions,
      texts: [{ value, text: canonicalJson(value) }],
      artifacts: artifacts(),
      tensors: [{ shape: tensor.shape, seed: 77, data: [...tensor.data] }],
      programs: [],
      profiles: profiles(),
    }
    expect(given.ops.length).toBeGreaterThan(30)
    const { status, stdout, stderr } = python(['agree.py'], JSON.stringify(given))
    expect(status, stderr).toBe(0)
    expect(stdout.trim()).toBe('')
  })

  test('programs are launched as they are here', () => {
    const programs = [
      ...METHOD_NAMES.map((name) => programVectors(name, PROGRAM_SIZES)),
      // As many heads as have forms of their own.
      ...['dsa', 'hisa'].map((name) => programVectors(name, PROGRAM_SIZES, 64)),
    ]
    const launches = programs.flatMap((p) => p.programs.map((call) => call.launches.length))
    expect(Math.max(...launches)).toBeGreaterThan(50)
    const rest = { ops: OPS, expressions: [], texts: [], artifacts: [], tensors: [], profiles: [] }
    const { status, stdout, stderr } = python(['agree.py'], JSON.stringify({ ...rest, programs }))
    expect(status, stderr).toBe(0)
    expect(stdout.trim()).toBe('')
  })

  test.skipIf(!torch)('a program on tensors of torch, by the emulation', { timeout: 200_000 }, () => {
    const folder = join(scratch, 'programs')
    writeProgramCases('moba', folder, 1, 0)
    const env = { HEDDLE_CASES: folder, HEDDLE_EMULATED: '1', HEDDLE_CACHE_DIR: scratch }
    const { status, stdout } = python(
      ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'test_numerics.py'],
      '',
      env,
    )
    expect(status, stdout).toBe(0)
    expect(stdout).toMatch(/^1 passed/m)
  })

  test('a vector that is wrong is noticed', () => {
    const given = { ops: [{ op: 'add', calls: [[[bitsOf(1), bitsOf(2)], bitsOf(4)]] }] }
    const rest = { expressions: [], texts: [], artifacts: [], tensors: [], programs: [], profiles: [] }
    const { stdout } = python(['agree.py'], JSON.stringify({ ...given, ...rest }))
    expect(stdout).toContain('add(1.0, 2.0) = 3.0, not 4.0')
    expect(stdout).toContain('ops of one side only')
  })

  test('reads the calls that are written for a GPU', () => {
    const causal = PATTERNS.find(({ pattern }) => pattern.name === 'causal')!.pattern
    writeCases(causal, scratch, 2, 0)
    const script = `
import sys
try:
    from cases import read_cases
except ImportError:
    print("no numpy"); sys.exit()
example = list(read_cases(sys.argv[1]))[1]
mask = example.mask()
rows, keys = mask.shape[2:]
print(all(mask[0, 0, r, j] == (j <= r + keys - rows) for r in range(rows) for j in range(keys)))`
    const { stdout, stderr } = python(['-c', script, scratch])
    expect(['True', 'no numpy'], stderr).toContain(stdout.trim())
  })
})

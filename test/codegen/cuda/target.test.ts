/** CUDA's spellings, compiled for the CPU: random expressions against their evaluation, and each function of floats by itself. */

import { beforeAll, expect, it } from 'vitest'
import { CALL_TEXT } from '../../../codegen/cuda/call.ts'
import { DIVISOR } from '../../../codegen/cuda/place.ts'
import { CUDA } from '../../../codegen/cuda/target.ts'
import { textOf } from '../../../codegen/cuda/text.ts'
import { Block } from '../../../codegen/block.ts'
import { Values, write, type Leaves } from '../../../codegen/expr.ts'
import { name, type Code, type Type } from '../../../codegen/kernel.ts'
import { Names } from '../../../codegen/names.ts'
import { printer } from '../../../codegen/print.ts'
import {
  evaluate,
  INDEX_VARS,
  Ir,
  nodesOf,
  printExpr,
  type Environment,
  type Expr,
} from '../../../compiler/ir.ts'
import { OPS, type Op } from '../../../compiler/ops.ts'
import { LibraryBuilder } from '../../../runtime/cuda/emulation/library.ts'
import { loadNative, type NativeLibrary } from '../../../runtime/cuda/native.ts'
import { drawSeeded } from '../../../runtime/testing/draw.ts'
import { drawEnvironment, drawExpr } from '../../exprs.ts'
import { COUNTED, FLAGS } from './probe.ts'

const EXPRESSIONS = 400
const ENVIRONMENTS = 40

/** Ints that an expression reads, in order. */
const LEAVES = [...INDEX_VARS, 'window', 'offset', 'span', 'salt'] as const

const at = (leaf: string): Code => name('i32', `v[${LEAVES.indexOf(leaf as (typeof LEAVES)[number])}]`)
const called = (type: Type, callee: string, args: readonly Code[]): Code => ({
  kind: 'call',
  type,
  callee,
  args,
})
const leaves: Leaves = {
  var: at,
  param: at,
  derived: at,
  load: (table, indices) => called('i32', `${table}At`, [name('i32', 'v'), ...indices]),
  pick: (_, type, index) => called(type, 'pickAt', [index]),
}
/** What drawEnvironment and drawExpr have behind tables and arrays. */
const TABLES = `
static int cell(int salt, int i) {
  long long x = (int)(((u32)salt ^ (u32)i) * 0x9e3779b1u);
  return (int)((x < 0 ? -x : x) % 1024);
}
static int idsAt(int const* v, int i) { return i >= 0 && i < 4096 ? cell(v[${LEAVES.indexOf('salt')}], i) % 41 : 0; }
static int startsAt(int const* v, int i) { return i >= 0 && i < 4096 ? i / 16 * 16 - 5 + v[${LEAVES.indexOf('salt')}] % 5 : 0; }
static int pickAt(int i) { int const values[] = {3, 0, 17, -5}; return values[i]; }`

/** How often division by a prepared divisor differs from division, for a divisor and every kind of dividend. */
const DIVIDED = `extern "C" int divided(int d) {
  Divisor divisor = divisorOf(d);
  u32 state = (u32)d;
  int wrong = 0;
  auto ask = [&](long long x) {
    if (x < -2147483647ll - 1 || x > 2147483647ll) return;
    long long quotient = x >= 0 ? x / d : -((-x + d - 1) / d);
    wrong += floorDiv((int)x, divisor) != quotient;
    wrong += floorMod((int)x, divisor) != x - quotient * d;
  };
  for (int i = 0; i < 200; i++) {
    state = state * 1664525u + 1013904223u;
    long long multiple = (long long)(int)state / d * d;
    for (long long near = -1; near <= 1; near++) {
      ask((int)state + near);
      ask(multiple + near);
      ask(i * (long long)d + near);
      ask(2147483647ll - i + near);
      ask(-2147483648ll + i + near);
    }
  }
  return wrong + (divisor != d);
}`

const ir = new Ir()
const expressions: Expr[] = Array.from(
  { length: EXPRESSIONS },
  (_, seed) =>
    drawSeeded((d) => drawExpr(d, ir, d.pick(['i32', 'bool']), d.int(1, 5), { floats: false }), seed).value,
)

/** Arguments at which a function of floats is asked; those it is not defined for give a NaN on both sides. */
const POINTS = [-90, -20.25, -3, -1.5, -1, -0.75, -0.001, 0, 1e-6, 0.25, 0.5, 1, 1.4142, 2, 3.5, 17, 80, 1000]
const FLOAT_OPS = (Object.keys(OPS) as Op[]).filter((op) =>
  OPS[op].types.some((t: string) => /^f32( f32)? -> f32$/.test(t)),
)

let library: NativeLibrary
beforeAll(async () => {
  const print = printer(CUDA)
  const functions = expressions.map((e, n) => {
    const block = new Block(new Names(new Set(['v'])))
    const value = print.text(write(block, leaves, new Values(), e))
    return `extern "C" int e${n}(int const* v) {\n${print.block(block.stmts, '  ')}  return ${value};\n}`
  })
  const floats = FLOAT_OPS.map((op) => {
    const [x, y] = [name('f32', 'x'), name('f32', 'y')]
    const args = OPS[op].types.some((t: string) => t.startsWith('f32 f32')) ? [x, y] : [x]
    const value = print.text({ kind: 'op', type: 'f32', op, args })
    return `extern "C" float ${op}_(float x, float y) { return ${value}; }`
  })
  const helpers = [...print.helpers.values()].map((h) => h.text)
  const before = ['constexpr bool BF16 = true;', CALL_TEXT, textOf('prelude.cuh'), COUNTED, TABLES]
  const code = [...before, ...helpers, DIVISOR, DIVIDED, ...functions, ...floats].join('\n')
  const builder = await LibraryBuilder.find({ flags: FLAGS })
  library = (await loadNative()).load(await builder.build({ pattern: 'spellings', id: 'all', code }))
}, 300_000)

it('random expressions have their values, and no integer leaves its range on the way', () => {
  const wrongs = library.func('wrongs', 'int', [])
  expressions.forEach((e, n) => {
    const f = library.func(`e${n}`, 'int', ['void *'])
    for (let seed = 0; seed < ENVIRONMENTS; seed++) {
      const env = drawSeeded(drawEnvironment, 1000 * n + seed).value
      const salt = (JSON.parse(env.text) as { salt: number }).salt
      const got = f(Int32Array.from(LEAVES, (l) => (l === 'salt' ? salt : leafOf(env, l))))
      const want = Number(evaluate(e, env))
      if (got !== want || wrongs() !== 0)
        throw new Error(
          `${printExpr(e)} is ${String(got)}, not ${want}, ${String(wrongs())} overflows, where ${env.text}`,
        )
    }
  })
  const seen = new Set(nodesOf(...expressions).map((e) => e.op))
  const integers = (Object.keys(OPS) as Op[]).filter(
    (op) => !OPS[op].types.every((t: string) => t.includes('f32')),
  )
  expect(integers.filter((op) => !seen.has(op))).toEqual([])
})

it('division by a prepared divisor is division', () => {
  const divided = library.func('divided', 'int', ['int'])
  const powers = Array.from({ length: 31 }, (_, k) => [2 ** k - 1, 2 ** k, 2 ** k + 1]).flat()
  const random = Array.from({ length: 2000 }, (_, i) => 1 + ((i * 1_103_515_245 + 12_345) % (2 ** 31 - 1)))
  const divisors = [...Array.from({ length: 3000 }, (_, i) => i + 1), ...powers, ...random, 2 ** 31 - 1]
  expect(divisors.filter((d) => d >= 1 && divided(d) !== 0)).toEqual([])
})

const leafOf = (env: Environment, l: (typeof LEAVES)[number]): number =>
  l === 'window' || l === 'offset' ? env.param(l) : l === 'span' || l === 'salt' ? env.derived(l) : env.var(l)

it.each(FLOAT_OPS)('%s of floats', (op) => {
  const f = library.func(`${op}_`, 'float', ['float', 'float'])
  const value = OPS[op].eval as unknown as (...args: number[]) => number
  for (const x of POINTS.map(Math.fround)) {
    for (const y of [-2, 0.5, 3].map(Math.fround)) {
      const [got, want] = [f(x, y) as number, Math.fround(value(x, y))]
      // A few units in the last place; of what cancels, of the argument's size.
      const allowed = 4e-7 * Math.max(Math.abs(want), ['sin', 'cos'].includes(op) ? 1 : 0)
      const same = Object.is(got, want) || got === want || Math.abs(got - want) <= allowed
      if (!same) throw new Error(`${op}(${x}, ${y}) is ${got}, not ${want}`)
    }
  }
})

it('literals read back as the same numbers', () => {
  const { text } = printer(CUDA)
  const spelled = (type: Type, value: number) => text({ kind: 'literal', type, value })
  expect(spelled('i32', -(2 ** 31))).toBe('(-2147483647 - 1)')
  expect([1, 0.1, -0, 1e30, 1e-40, Infinity, -Infinity].map((x) => spelled('f32', x))).toEqual([
    '1.0f',
    '0.1f',
    '-0.0f',
    '1e+30f',
    '1e-40f',
    'INFINITE',
    '-INFINITE',
  ])
})

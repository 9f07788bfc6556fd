/** findResidues(): which masks have an order by residue, and that its parts hold each kept pair once. */

import { describe, expect, test } from 'vitest'
import { createCompiler } from '../../compiler/index.ts'
import { evaluate, printExpr, type Environment } from '../../compiler/ir.ts'
import { environmentOf, type Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan, ResiduePart } from '../../compiler/plan.ts'
import { tileClass } from '../../compiler/tiles.ts'
import { mod } from '../../dsl/index.ts'

const compiler = createCompiler()

function planOf(
  mask: string,
  params = '{ n: i32(3, { min: 1, max: 64 }), w: i32(5, { min: 0, max: 64 }) }',
): KernelPlan {
  const text = `import { i32, mod, pattern, perHead } from 'heddle'
    export const p = pattern({ name: 'p', params: ${params}, mask: ({ q, kv, n, w }) => ${mask} })`
  const { patterns, diagnostics } = compiler.compile('patterns/residues-case.ts', { text })
  expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([])
  return patterns[0]!.plan
}

const settingOf = (n: number, w: number, qLen: number, kvLen: number): Setting => ({
  ...{ batch: 0, batches: 1, head: 0, qHeads: 1, kvHeads: 1, headDim: 8, qLen, kvLen },
  params: { n, w },
  tables: {},
})

const at = (env: Environment, ends: Readonly<Record<string, number>>): Environment => ({
  ...env,
  var: (name) => ends[name] ?? env.var(name),
})

const MASKS = [
  'kv <= q && mod(q - kv, n) === 0',
  'kv <= q && q - kv < n * w && mod(kv - q, n) === 0',
  'kv <= q && (q - kv < w || mod(q - kv, n) === 0)',
  'mod(q, n) === mod(kv, n) && kv <= q + w',
  'kv <= q && (kv < w || q - kv < w || (mod(q - kv, n) === 0 && q - kv < 40))',
  'kv <= q && mod(q - kv, 4) === 0 && w < 60',
]

describe.each(MASKS)('%s', (mask) => {
  const plan = planOf(mask)
  const { residues } = plan
  const settings = [
    [1, 5, 50, 50],
    [3, 0, 50, 50],
    [3, 7, 20, 61],
    [8, 9, 33, 40],
    [64, 2, 30, 30],
  ] as const

  test('parts hold each kept pair once', () => {
    expect(residues).not.toBeNull()
    const { step, inside, rest } = residues!
    for (const [n, w, qLen, kvLen] of settings) {
      const env = environmentOf(plan, settingOf(n, w, qLen, kvLen))
      const size = evaluate(step, env) as number
      const keeps = (part: ResiduePart | null, q: number, kv: number) =>
        part !== null && evaluate(part.mask, at(env, { q, kv })) === true
      for (let q = kvLen - qLen; q < kvLen; q++)
        for (let kv = 0; kv < kvLen; kv++) {
          const wanted = Number(evaluate(plan.mask, at(env, { q, kv })))
          const within = mod(q - kv, size) === 0 && keeps(inside, q, kv)
          expect(Number(within) + Number(keeps(rest, q, kv)), `${q}, ${kv} of ${w}, ${n}`).toBe(wanted)
        }
    }
  })

  test('tiles of a class are told right, empty and full', () => {
    const { step, inside } = residues!
    expect(inside.tiles.how).toBe('ranges')
    for (const [n, w, qLen, kvLen] of settings) {
      const env = environmentOf(plan, settingOf(n, w, qLen, kvLen))
      const size = evaluate(step, env) as number
      for (let q0 = kvLen - qLen; q0 < kvLen; q0++)
        for (let kv0 = mod(q0, size); kv0 < kvLen; kv0 += size) {
          const steps = (first: number) => [first, first + size, first + 2 * size].filter((p) => p < kvLen)
          const [qs, kvs] = [steps(q0), steps(kv0)]
          const pairs = qs.flatMap((q) => kvs.map((kv) => evaluate(inside.mask, at(env, { q, kv })) === true))
          const ends = { qLo: qs[0]!, qHi: qs.at(-1)!, kvLo: kvs[0]!, kvHi: kvs.at(-1)! }
          const found = tileClass(inside.tiles, at(env, ends))
          if (found === 'empty') expect(pairs.includes(true)).toBe(false)
          if (found === 'full') expect(pairs.includes(false)).toBe(false)
        }
    }
  })
})

test('masks without such an order have none', () => {
  const none = [
    'kv <= q && q - kv < n', // ranges already
    'kv <= q && mod(q - kv, n) === 1',
    'kv <= q && mod(q + kv, n) === 0',
    'kv <= q && mod(kv, n) === 0',
    'kv <= q && (mod(q - kv, n) === 0 || mod(q - kv, 7) === 0)',
    'kv <= q && (mod(q - kv, n) === 0 || mod(kv, 7) === 0)', // the rest has no ranges
    'kv <= q && mod(q - kv, n + 1) === 0',
  ]
  for (const mask of none) expect([mask, planOf(mask).residues]).toEqual([mask, null])
  // One step for all heads, known to the host.
  expect(
    planOf('kv <= q && w < 9 && mod(q - kv, n) === 0', '{ n: perHead(i32(3, { min: 1 })), w: i32(1) }')
      .residues,
  ).toBeNull()
})

test("the step is the author's", () => {
  expect(printExpr(planOf('kv <= q && mod(q - kv, n) === 0 && w > 0').residues!.step)).toBe('$n')
})

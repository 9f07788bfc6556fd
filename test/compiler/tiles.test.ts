/** Tiles against brute force: every pair of every tile is asked of the pattern run as JavaScript. */

import fc from 'fast-check'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { createCompiler } from '../../compiler/index.ts'
import { evaluate, type Environment } from '../../compiler/ir.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { tileClass } from '../../compiler/tiles.ts'
import { EXAMPLES, exampleTables } from '../../patterns/examples.ts'
import { PATTERNS } from '../../patterns/index.ts'
import type { Pattern } from '../../dsl/pattern.ts'

const compiler = createCompiler()

/** How tight each pattern's tiles must be; the rest are only held to soundness. */
const CLOSED_FORM = [
  'causal',
  'sliding-window',
  'a-shape',
  'tri-shape',
  'streaming-heads',
  'moa-span',
  'prefix-lm',
  'block-causal',
  'shifted-groups',
  'global-window',
  'neighborhood-1d',
  'document-starts',
  'full',
]
const CLOSED_FORM_OR_TEST = ['fixed', 's2-shard', 'strided', 'power']
const WITHIN_TENTH = ['dilated-window', 'grid', 'neighborhood-2d', 'sliding-tile-3d']

interface Case {
  readonly qLen: number
  readonly kvLen: number
  readonly tile: { readonly q: number; readonly kv: number }
  readonly params: Readonly<Record<string, readonly number[]>>
  readonly seed: number
}

const HEADS = { qHeads: 4, kvHeads: 2 }

/** Params spread over magnitudes, so that windows and blocks are now smaller, now larger than tiles. */
function cases(pattern: Pattern, fixedParams: Readonly<Record<string, number>> = {}): fc.Arbitrary<Case> {
  const params = Object.fromEntries(
    Object.entries(pattern.params).map(([name, spec]) => {
      const given = fixedParams[name]
      const one =
        given !== undefined
          ? fc.constant(given)
          : spec.type === 'f32'
            ? fc
                .double({ min: 0, max: 1, noNaN: true })
                .map((u) => Math.fround(Math.min(spec.max, Math.max(spec.min, u * 2 * spec.default))))
            : fc.double({ min: 0, max: 1, noNaN: true }).map((u) => {
                const [lo, hi] = [spec.min, Math.min(spec.max, Math.max(spec.min + 2, 400))]
                return lo + Math.round((hi - lo + 1) ** u - 1)
              })
      return [
        name,
        spec.perHead
          ? fc.array(one, { minLength: HEADS.qHeads, maxLength: HEADS.qHeads })
          : one.map((v) => [v]),
      ]
    }),
  )
  const tileSize = fc.constantFrom(8, 16, 16, 32, 32, 64)
  return fc
    .record({
      qLen: fc.integer({ min: 1, max: 120 }),
      kvLen: fc.integer({ min: 1, max: 200 }),
      tile: fc.record({ q: tileSize, kv: tileSize }),
      params: fc.record(params),
      seed: fc.nat(),
    })
    .map((c) => ({ ...c, qLen: Math.min(c.qLen, c.kvLen) }))
}

interface Counts {
  /** Tiles that hold a kept pair, and those of them that are whole and hold no other. */
  readonly needed: number
  readonly full: number
  readonly visited: number
  readonly unmasked: number
}

/** Compares every tile's class with its pairs; fails where it is not sound. */
function count(pattern: Pattern, plan: KernelPlan, c: Case, head: number): Counts {
  const { qLen, kvLen, tile } = c
  const sizes = { batch: 1, ...HEADS, qLen, kvLen, headDim: 16 }
  const tables = exampleTables(pattern.name, sizes, c.seed)
  const value = (name: string) => c.params[name]![head] ?? c.params[name]![0]!
  const view = (name: string) => {
    const dims = plan.tables
      .find((t) => t.name === name)!
      .dims.map((d) =>
        typeof d === 'number'
          ? d
          : { batch: 1, head: HEADS.qHeads, kvHead: HEADS.kvHeads, indexHead: 1, qLen, kvLen, headDim: 16 }[
              d
            ],
      )
    return (...at: number[]) =>
      at.some((i, k) => i < 0 || i >= dims[k]!)
        ? 0
        : Number(tables[name]![at.reduce((sum, i, k) => sum * dims[k]! + i, 0)])
  }
  const kvHead = Math.floor(head / (HEADS.qHeads / HEADS.kvHeads))
  const index = { batch: 0, head, kvHead, qLen, kvLen, ...HEADS, headDim: 16 }
  const own: Record<string, number | { at: (...i: number[]) => number }> = { ...plan.consts }
  for (const p of plan.params) own[p.name] = value(p.name)
  for (const t of plan.tables) own[t.name] = { at: view(t.name) }

  const environment = (tileVars: Readonly<Record<string, number>>): Environment => {
    const env: Environment = {
      var: (name) => tileVars[name] ?? index[name as keyof typeof index],
      param: value,
      derived: (name) => evaluate(plan.derived.find((d) => d.name === name)!.value, env) as number,
      load: (name, at) => view(name)(...at),
    }
    return env
  }

  const pair = { ...index, ...own, q: 0, kv: 0 }
  const keeps = (q: number, kv: number) => {
    pair.q = q
    pair.kv = kv
    return pattern.mask(pair as never)
  }
  let [needed, full, visited, unmasked] = [0, 0, 0, 0]
  const start = kvLen - qLen
  for (let row = 0; row < qLen; row += tile.q) {
    const [qLo, qHi] = [start + row, start + Math.min(qLen, row + tile.q) - 1]
    for (let kvLo = 0; kvLo < kvLen; kvLo += tile.kv) {
      const kvHi = Math.min(kvLen, kvLo + tile.kv) - 1
      let [kept, dropped] = [0, 0]
      for (let q = qLo; q <= qHi; q++)
        for (let kv = kvLo; kv <= kvHi; kv++) {
          if (keeps(q, kv)) kept++
          else dropped++
        }
      const found = tileClass(plan.tiles, environment({ qLo, qHi, kvLo, kvHi }))
      if ((found === 'empty' && kept > 0) || (found === 'full' && dropped > 0)) {
        throw new Error(
          `called ${found}: head ${head}, q ${qLo}..${qHi}, kv ${kvLo}..${kvHi}: ${kept} kept, ${dropped} dropped`,
        )
      }
      if (kept > 0) needed++
      if (dropped === 0) full++
      if (found !== 'empty') visited++
      if (found === 'full') unmasked++
    }
  }
  return { needed, full, visited, unmasked }
}

const plans = new Map(
  PATTERNS.map(({ pattern, file }) => {
    const result = compiler.compile(typeof file === 'string' ? file : fileURLToPath(file))
    const compiled = result.patterns.find((p) => p.name === pattern.name)
    if (!compiled)
      throw new Error(`${pattern.name} does not compile: ${result.diagnostics.map((d) => d.text).join('; ')}`)
    return [pattern.name, { pattern, plan: compiled.plan }] as const
  }),
)

describe.each([...plans])('%s', (name, { pattern, plan }) => {
  const fixed: Record<string, number> = name === 'neighborhood-1d' ? { dilation: 1 } : {}
  const runs = 40

  it('has no kept pair in an empty tile and no dropped pair in a full one', () => {
    fc.assert(
      fc.property(cases(pattern), fc.nat(HEADS.qHeads - 1), (c, head) => {
        count(pattern, plan, c, head)
      }),
      { numRuns: runs },
    )
  })

  if (CLOSED_FORM.includes(name) || CLOSED_FORM_OR_TEST.includes(name)) {
    it('visits exactly the tiles that hold a kept pair and skips the mask on every full one', () => {
      if (CLOSED_FORM.includes(name) && name !== 'neighborhood-1d') expect(plan.tiles.how).toBe('ranges')
      else expect(plan.tiles.how).not.toBe('list')
      fc.assert(
        fc.property(cases(pattern, fixed), fc.nat(HEADS.qHeads - 1), (c, head) => {
          const { needed, full, visited, unmasked } = count(pattern, plan, c, head)
          expect({ visited, unmasked }).toEqual({ visited: needed, unmasked: full })
        }),
        { numRuns: runs * 2 },
      )
    })
  }

  if (WITHIN_TENTH.includes(name)) {
    it('visits at most a tenth more tiles than hold a kept pair, over many random params and lengths', () => {
      let [needed, visited] = [0, 0]
      fc.assert(
        fc.property(cases(pattern), fc.nat(HEADS.qHeads - 1), (c, head) => {
          const counts = count(pattern, plan, c, head)
          needed += counts.needed
          visited += counts.visited
        }),
        { numRuns: runs * 3 },
      )
      expect(visited).toBeLessThanOrEqual(1.1 * needed)
    })
  }
})

it('has an example for every pattern', () => {
  expect(Object.keys(EXAMPLES).sort()).toEqual(PATTERNS.map(({ pattern }) => pattern.name).sort())
})

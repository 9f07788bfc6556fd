import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { evaluate, Ir, type Expr } from '../../compiler/ir.ts'
import { environmentOf, mapMask, mapPlan, maskRows, type Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan, PatternIr, TileTerm } from '../../compiler/plan.ts'

const ir = new Ir()
const q = ir.var('q')
const kv = ir.var('kv')
const window = ir.param('window', 'i32')
const distance = ir.make('sub', [q, kv])
const causal = ir.make('le', [kv, q])
const none = { q: null, kv: null }

const patternOf = (mask: Expr): PatternIr => ({
  name: 'p',
  cite: '',
  consts: {},
  mask,
  score: null,
  sinkLogit: null,
  params: [{ name: 'window', type: 'i32', default: 24, min: 1, max: 1000, perHead: true }],
  tables: [{ name: 'ids', type: 'i32', dims: ['kvLen'], monotone: false, min: 0, max: 100 }],
  derived: [{ name: 'half', type: 'i32', value: ir.make('floorDiv', [ir.var('kvLen'), ir.int(2)]) }],
})
const settingOf = (more: Partial<Setting> = {}): Setting => ({
  batch: 0,
  batches: 1,
  head: 0,
  qHeads: 4,
  kvHeads: 2,
  qLen: 40,
  kvLen: 40,
  headDim: 64,
  params: {},
  tables: {},
  ...more,
})

describe('maskRows', () => {
  it('is evaluate() of every pair', () => {
    const masks = [
      ir.make('and', [causal, ir.make('lt', [distance, window])]),
      ir.make('eq', [ir.load('ids', 'i32', [q]), ir.load('ids', 'i32', [kv])]),
      ir.make('or', [ir.make('isPow2', [distance]), ir.make('lt', [kv, ir.derived('half', 'i32')])]),
      ir.make('not', [
        ir.make('eq', [
          ir.pick([3, 1, 2], 'i32', ir.make('mod', [kv, ir.int(3)])),
          ir.make('mod', [q, ir.int(4)]),
        ]),
      ]),
      ir.make('lt', [ir.var('kvHead'), ir.var('head')]),
      ir.bool(true),
      ir.make('lt', [ir.make('select', [causal, q, kv]), ir.int(17)]),
    ]
    fc.assert(
      fc.property(
        fc.constantFrom(...masks),
        fc.nat(3),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.nat(3), { minLength: 20, maxLength: 20 }),
        (mask, head, kvLen, ids) => {
          const p = patternOf(mask)
          const at = settingOf({
            head,
            kvLen,
            qLen: kvLen,
            params: { window: [1, 5, 9, 30] },
            tables: { ids: Int32Array.from(ids) },
          })
          const rowOf = maskRows(p, at)
          for (let i = 0; i < kvLen; i++) {
            const row = [...rowOf(i)].map(Boolean)
            expect(row).toEqual(row.map((_, j) => evaluate(mask, environmentOf(p, at, { q: i, kv: j }))))
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('reads 0 outside a table, and rounds f32 params', () => {
    const p: PatternIr = {
      ...patternOf(causal),
      params: [{ name: 'slope', type: 'f32', default: 0.1, min: 0, max: 1, perHead: false }],
    }
    const env = environmentOf(p, settingOf({ tables: { ids: Int32Array.of(7, 8) } }))
    expect([env.load('ids', [1]), env.load('ids', [-1]), env.load('ids', [40])]).toEqual([8, 0, 0])
    expect(env.param('slope')).toBe(Math.fround(0.1))
  })
})

describe('mapMask', () => {
  it('counts kept pairs and the classes of tiles, also of tiles cut by the end', () => {
    const map = mapMask(patternOf(causal), settingOf(), { q: 16, kv: 16 })
    expect([map.rows, map.columns]).toEqual([3, 3])
    expect(map.counts).toEqual({ empty: 3, partial: 3, full: 3 })
    expect(map.keptPairs).toBe((40 * 41) / 2)
    expect([map.density, map.bidirectional]).toEqual([1, false])
    expect(map.tileDensity).toBeCloseTo(6 / 9)
    const all = mapMask(patternOf(ir.bool(true)), settingOf(), { q: 16, kv: 16 })
    expect([all.counts.full, all.density, all.bidirectional]).toEqual([9, 1, true])
  })

  it('places fewer queries than keys at the end', () => {
    const map = mapMask(patternOf(causal), settingOf({ qLen: 8 }), { q: 8, kv: 8 })
    expect(['full', 'full', 'full', 'full', 'partial']).toEqual([0, 1, 2, 3, 4].map((j) => map.classOf(0, j)))
    expect(map.density).toBe(1)
  })

  it('knows of no pairs at length 0', () => {
    const map = mapMask(patternOf(causal), settingOf({ qLen: 0, kvLen: 0 }), { q: 8, kv: 8 })
    expect([map.rows, map.keptPairs, map.density, map.tileDensity]).toEqual([0, 0, 0, 0])
  })
})

describe('mapPlan', () => {
  const term = (more: Partial<TileTerm>): TileTerm => ({
    when: ir.bool(true),
    lo: ir.int(0),
    hi: ir.int(2 ** 30),
    test: null,
    pieces: none,
    ...more,
  })
  const planOf = (kept: TileTerm[], dropped: TileTerm[]): KernelPlan => ({
    ...patternOf(causal),
    tiles: { how: 'ranges', kept, dropped },
    residues: null,
  })

  it('reads ranges: causal visits exactly the tiles that hold a pair', () => {
    const plan = planOf(
      [term({ hi: ir.var('qHi') })],
      [term({ lo: ir.make('add', [ir.var('qLo'), ir.int(1)]) })],
    )
    const at = settingOf({ qLen: 32, kvLen: 32 })
    const brute = mapMask(plan, at, { q: 8, kv: 8 })
    const found = mapPlan(plan, at, { q: 8, kv: 8 })
    expect(found.counts).toEqual(brute.counts)
    for (let i = 0; i < 4; i++)
      for (let j = 0; j < 4; j++) expect(found.classOf(i, j)).toBe(brute.classOf(i, j))
  })

  it('never calls a tile full that reaches beyond the keys', () => {
    const found = mapPlan(planOf([term({})], []), settingOf({ qLen: 20, kvLen: 20 }), { q: 8, kv: 8 })
    expect(found.counts).toEqual({ empty: 0, partial: 3, full: 6 })
  })

  it('asks a test per piece', () => {
    // One residue of a period of 8, seen in tiles of 8 that lie across two periods.
    const test = ir.make('le', [ir.make('mod', [ir.var('kvLo'), ir.int(8)]), ir.int(0)])
    const at = settingOf({ qLen: 8, kvLen: 40 })
    const whole = mapPlan(planOf([term({ test, lo: ir.int(4) })], []), at, { q: 8, kv: 12 })
    const cut = ir.make('add', [ir.make('alignDown', [ir.var('kvLo'), ir.int(8)]), ir.int(8)])
    const pieces = mapPlan(planOf([term({ test, lo: ir.int(4), pieces: { q: null, kv: cut } })], []), at, {
      q: 8,
      kv: 12,
    })
    expect(whole.counts.empty).toBe(2)
    expect(pieces.counts.empty).toBe(1)
    expect(mapPlan(planOf([term({ when: ir.bool(false) })], []), at, { q: 8, kv: 12 }).counts.empty).toBe(4)
  })
})

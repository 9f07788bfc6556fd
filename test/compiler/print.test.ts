import { describe, expect, it } from 'vitest'
import { Ir } from '../../compiler/ir.ts'
import { mapMask, type Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import {
  printIr,
  printMask,
  printPlan,
  printShare,
  printTiles,
  readable,
  readTerm,
} from '../../compiler/print.ts'

const ir = new Ir()
const [q, kv] = [ir.var('q'), ir.var('kv')]
const [window, sinkTokens] = [ir.param('window', 'i32'), ir.param('sinkTokens', 'i32')]
const near = ir.make('lt', [ir.make('sub', [q, kv]), window])
const mask = ir.make('and', [ir.make('le', [kv, q]), ir.make('or', [near, ir.make('lt', [kv, sinkTokens])])])
const one = ir.int(1)
const always = { when: ir.bool(true), test: null, pieces: { q: null, kv: null } }
const plan: KernelPlan = {
  name: 'sink-window',
  cite: '',
  consts: { block: 32 },
  mask,
  score: null,
  sinkLogit: null,
  derived: [],
  params: [
    { name: 'window', type: 'i32', default: 96, min: 1, max: 2 ** 30, perHead: false },
    { name: 'sinkTokens', type: 'i32', default: 8, min: 0, max: 2 ** 30, perHead: true },
  ],
  tables: [{ name: 'start', type: 'i32', dims: ['batch', 'qLen'], monotone: true, min: 0, max: 2 ** 30 }],
  tiles: {
    how: 'ranges',
    kept: [
      { ...always, lo: ir.make('add', [ir.make('sub', [ir.var('qLo'), window]), one]), hi: ir.var('qHi') },
      {
        ...always,
        lo: ir.int(0),
        hi: ir.make('sub', [sinkTokens, one]),
        when: ir.make('lt', [ir.int(0), sinkTokens]),
      },
    ],
    dropped: [],
  },
  residues: null,
}
const at: Setting = {
  batch: 0,
  batches: 1,
  head: 0,
  qHeads: 1,
  kvHeads: 1,
  qLen: 384,
  kvLen: 384,
  headDim: 64,
  params: {},
  tables: {},
}

describe('the picture of the mask', () => {
  it('is the one of the guide, down to the characters', () => {
    expect(printMask(mapMask(plan, at, { q: 32, kv: 32 }))).toBe(`\
  0 ░░······················
  1 ██░░····················
  2 ████░░··················
  3 ░░████░░················
  4 ░░░░████░░··············
  5 ░░··░░████░░············      empty 94   partial 29   full 21
  6 ░░····░░████░░··········      density 0.47   tileDensity 0.35
  7 ░░······░░████░░········
  8 ░░········░░████░░······
  9 ░░··········░░████░░····
 10 ░░············░░████░░··
 11 ░░··············░░████░░`)
  })

  it('has room for the counts when there is one row, and labels a bidirectional density', () => {
    const all = { ...plan, mask: ir.bool(true) }
    expect(printMask(mapMask(all, { ...at, qLen: 8, kvLen: 64 }, { q: 32, kv: 32 }))).toBe(
      '  0 ████      empty 0   partial 0   full 2\n              density 1.00 of all pairs   tileDensity 1.00',
    )
  })
})

describe('text of the stages', () => {
  it('prints expressions one line each', () => {
    const slope = ir.make('mul', [ir.var('logit'), ir.float(2)])
    expect(
      printIr({
        ...plan,
        score: slope,
        sinkLogit: ir.float(0.5),
        derived: [{ name: 'd', type: 'i32', value: ir.var('kvLen') }],
      }),
    ).toBe(`\
derived i32 %d = kvLen
mask   and(le(kv, q), or(lt(sub(q, kv), $window), lt(kv, $sinkTokens)))
score  mul(logit, 2.0)
sinkLogit  0.5`)
  })

  it('prints the plan with its signature and tiles', () => {
    expect(printPlan(plan)).toBe(`\
pattern sink-window
const  block = 32
param  i32 window = 96   1 .. 1073741824
param  perHead i32 sinkTokens = 8   0 .. 1073741824
table  i32 start[batch, qLen] monotone
mask   and(le(kv, q), or(lt(sub(q, kv), $window), lt(kv, $sinkTokens)))
tiles by closed-form ranges: 2 to visit, 0 not full`)
  })

  it('prints the terms of the tiles', () => {
    expect(printTiles(plan.tiles)).toBe(`\
tiles by closed-form ranges
visit 1
  lo      add(sub(qLo, $window), 1)
  hi      qHi
visit 2
  when    lt(0, $sinkTokens)
  lo      0
  hi      sub($sinkTokens, 1)
every visited tile is full`)
    const cut = { ...plan.tiles.kept[0]!, test: near, pieces: { q: one, kv } }
    expect(printTiles({ how: 'test', kept: [], dropped: [cut] })).toBe(`\
tiles by a test per tile
no tile is visited
not full 1
  lo      add(sub(qLo, $window), 1)
  hi      qHi
  test    lt(sub(q, kv), $window)
  cut q   1
  cut kv  kv`)
  })

  it('reads a term as a sentence', () => {
    expect(plan.tiles.kept.map((t) => readTerm(t))).toEqual([
      'kv from qLo - window + 1 to qHi',
      'kv from 0 to sinkTokens - 1, if 0 < sinkTokens',
    ])
    const test = ir.make('and', [near, ir.make('or', [near, ir.make('lt', [kv, q])])])
    expect(readTerm({ ...plan.tiles.kept[0]!, test, pieces: { q, kv } })).toBe(
      'kv from qLo - window + 1 to qHi, where the tile passes\n    q - kv < window\n    (q - kv < window || kv < q), asked apart on both sides of q at q and kv at kv',
    )
  })

  it('puts brackets where the strength asks for them, and nowhere else', () => {
    const sum = ir.make('add', [q, ir.int(-3)])
    expect(readable(ir.make('mul', [sum, kv]))).toBe('(q - 3) * kv')
    expect(readable(ir.make('sub', [q, ir.make('sub', [kv, one])]))).toBe('q - (kv - 1)')
    expect(readable(ir.make('not', [ir.make('or', [near, ir.make('isPow2', [q])])]))).toBe(
      '!(q - kv < window || isPow2(q))',
    )
    expect(readable(ir.make('select', [near, q, ir.make('neg', [kv])]))).toBe('q - kv < window ? q : -kv')
    expect(readable(ir.load('t', 'i32', [ir.make('floorDiv', [kv, one])]))).toBe('t.at(floorDiv(kv, 1))')
    expect(readable(ir.make('min', [ir.make('min', [q, kv]), ir.make('max', [one, window])]))).toBe(
      'min(q, kv, max(1, window))',
    )
    expect(readable(ir.pick([4, 5], 'i32', q))).toBe('[4, 5][q]')
  })

  it('does not round a small share to 0', () => {
    expect([0, 0.35, 0.0042, 1].map(printShare)).toEqual(['0.00', '0.35', '0.0042', '1.00'])
  })
})

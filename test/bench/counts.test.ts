/** What the CUDA suite counts, against looking at every pair with the pattern itself. */

import { beforeAll, describe, expect, test } from 'vitest'
import { CASES, documents, expand, type CudaCase, type Ours } from '../../bench/cuda/cases.ts'
import { countHead, headsAlike, sampleRows } from '../../bench/cuda/counts.ts'
import { maskProgram } from '../../bench/cuda/mask-program.ts'
import { countCase, settingOf, shapesFor } from '../../bench/cuda/prepare.ts'
import type { CudaArtifact } from '../../codegen/cuda/manifest.ts'
import { createCompiler } from '../../compiler/index.ts'
import { mapMask, mapPlan, type Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { EXAMPLES, exampleTables, PATTERNS } from '../../patterns/index.ts'
import { reference } from '../../runtime/reference.ts'

const plans = new Map<string, KernelPlan>()

beforeAll(() => {
  const compiled = createCompiler().compileAll(PATTERNS.map(({ file }) => file))
  for (const [i, { pattern }] of PATTERNS.entries()) {
    plans.set(pattern.name, compiled[i]!.patterns.find((p) => p.name === pattern.name)!.plan)
  }
})

const names = PATTERNS.map(({ pattern }) => pattern.name)
const TILES = [
  { q: 32, kv: 16 },
  { q: 16, kv: 64 },
] as const

function exampleSetting(name: string, qLen: number): Setting {
  const { kvLen, heads, kvHeads, params } = EXAMPLES[name]!
  const sizes = { batch: 1, qHeads: heads, kvHeads, qLen, kvLen, headDim: 64 }
  return { ...sizes, batch: 0, batches: 1, head: 1, params, tables: exampleTables(name, sizes, 7) }
}

/** Which pairs the pattern's own function keeps. */
function truth(name: string, at: Setting): (row: number, kv: number) => boolean {
  const { pattern } = PATTERNS.find((p) => p.pattern.name === name)!
  const zeros = (heads: number, rows: number) => ({
    data: new Float32Array(heads * rows),
    shape: [1, heads, rows, 1] as const,
  })
  const { keeps } = reference(pattern, {
    q: zeros(at.qHeads, at.qLen),
    k: zeros(at.kvHeads, at.kvLen),
    v: zeros(at.kvHeads, at.kvLen),
    params: at.params,
    tables: at.tables,
  })
  return (row, kv) => keeps(0, at.head, row, kv)
}

describe.each(names)('%s', (name) => {
  test.each([EXAMPLES[name]!.kvLen, 77])('pairs, keys, tiles and sampled rows with %d queries', (qLen) => {
    const plan = plans.get(name)!
    const at = exampleSetting(name, qLen)
    const keeps = truth(name, at)
    const counted = countHead(plan, at, [...TILES])
    const rows = [0, 5, Math.floor(qLen / 2), qLen - 1]
    const sample = sampleRows(plan, at, rows)
    const keys = new Set<number>()
    let kept = 0
    for (let row = 0; row < qLen; row++) {
      let [here, sum] = [0, 0]
      for (let kv = 0; kv < at.kvLen; kv++) {
        if (!keeps(row, kv)) continue
        here++
        sum += kv
        keys.add(kv)
      }
      kept += here
      const i = rows.indexOf(row)
      if (i < 0) continue
      expect([sample.kept[i], sample.sums[i]]).toEqual([here, sum])
    }
    expect(counted.kept).toBe(kept)
    expect(counted.keys).toBe(keys.size)
    for (const [i, tile] of TILES.entries()) {
      const { counts } = mapMask(plan, at, tile)
      const found = mapPlan(plan, at, tile).counts
      const needed = counts.partial + counts.full
      const visited = plan.tiles.how === 'list' ? needed : found.partial + found.full
      expect(counted.tiles[i]).toEqual({ needed, visited })
    }
  })
})

const stepped = names.filter((name) => ['strided', 'dilated-window'].includes(name))

test.each(stepped)('%s has the same pairs by residue, in fewer tiles', (name) => {
  const plan = plans.get(name)!
  for (const [qLen, kvLen] of [
    [512, 512],
    [77, 300],
    [1, 300],
  ] as const) {
    const at = { ...exampleSetting(name, qLen), kvLen }
    const natural = countHead(plan, at, [...TILES])
    const byResidue = countHead(plan, at, [...TILES], true)
    expect([byResidue.kept, byResidue.keys]).toEqual([natural.kept, natural.keys])
    for (const { needed, visited } of byResidue.tiles) expect(needed).toBe(visited)
  }
})

test('a rectangle of pairs is asked for itself alone', () => {
  const plan = plans.get('a-shape')!
  const at = { ...exampleSetting('a-shape', 384), params: { window: 4, sinkTokens: 2 } }
  const program = maskProgram(plan, at)
  const marks = new Uint8Array(384)
  const spot = { qLo: 10, qHi: 11, kvLo: 1, kvHi: 8, step: 1 }
  // Row 10 keeps 0, 1 and 7 to 10; row 11 keeps 0, 1 and 8 to 11.
  expect(program.count(spot, marks)).toBe(5)
  expect([...marks.keys()].filter((kv) => marks[kv] === 1)).toEqual([1, 7, 8])
  expect(program.sum(spot)).toBe(1 + 7 + 8 + 1 + 8)
  expect(program.keepsAny({ ...spot, kvLo: 2, kvHi: 6 })).toBe(false)
  expect(program.keepsAny(spot)).toBe(true)
})

const sized = (c: CudaCase, length: number): CudaCase => ({
  ...c,
  qLen: c.qLen === 1 ? 1 : length,
  kvLen: length,
})

describe('heads', () => {
  const at = (ours: Ours, pattern: string) =>
    settingOf(
      sized(
        CASES.find((c) => c.ours.some((o) => o.pattern === pattern))!,
        512,
      ),
      ours,
    )

  test('are alike where the mask is', () => {
    expect(headsAlike(plans.get('causal')!, at({ pattern: 'causal' }, 'causal'))).toHaveLength(1)
    const fixed = { pattern: 'fixed', params: { stride: 64, summary: 8, groups: 2 } }
    expect(headsAlike(plans.get('fixed')!, at(fixed, 'fixed'))).toHaveLength(2)
    expect(
      headsAlike(plans.get('fixed')!, at({ ...fixed, params: { ...fixed.params, groups: 1 } }, 'fixed')),
    ).toHaveLength(1)
    const streaming = CASES.flatMap((c) => c.ours).find((o) => o.pattern === 'streaming-heads')!
    const groups = headsAlike(plans.get('streaming-heads')!, at(streaming, 'streaming-heads'))
    expect(groups.map((g) => g.length)).toEqual([16, 16])
    const shard = CASES.flatMap((c) => c.ours).find((o) => o.pattern === 's2-shard')!
    expect(headsAlike(plans.get('s2-shard')!, at(shard, 's2-shard'))).toHaveLength(8)
  })

  test('a case counts each of them', () => {
    const c = sized(
      CASES.find((x) => x.ours[0]!.pattern === 'streaming-heads')!,
      512,
    )
    const [ours] = c.ours
    const plan = plans.get('streaming-heads')!
    const whole = countCase(plan, { ...c, batch: 3 }, ours!, [{ q: 64, kv: 32 }])
    let [kept, needed] = [0, 0]
    for (let head = 0; head < c.qHeads; head++) {
      const map = mapMask(plan, { ...settingOf(c, ours!), head }, { q: 64, kv: 32 })
      kept += map.keptPairs
      needed += map.counts.partial + map.counts.full
    }
    expect(whole.kept).toBe(3 * kept)
    expect(whole.tiles['64x32']!.needed).toBe(3 * needed)
    expect(whole.samples.map((s) => s.head)).toEqual([0, 4])
  })
})

describe('cases', () => {
  test('have names of their own, and goals that name an earlier case', () => {
    const seen = new Set<string>()
    for (const c of CASES) {
      expect(seen.has(c.name)).toBe(false)
      seen.add(c.name)
      for (const goal of c.ours.flatMap((o) => o.goals ?? [])) {
        if (goal.kind === 'peer') expect(c.peers).toContain(goal.peer)
        else expect([...seen]).toContain(goal.of)
      }
    }
  })

  test('give the params and tables that their patterns have', () => {
    for (const c of CASES)
      for (const ours of c.ours) {
        const { pattern } = PATTERNS.find((p) => p.pattern.name === ours.pattern)!
        expect(Object.keys(ours.params ?? {}).sort()).toEqual(Object.keys(pattern.params).sort())
        expect(Object.keys(ours.tables ?? {})).toEqual(Object.keys(pattern.tables))
        for (const runs of Object.values(ours.tables ?? {})) expect(expand(runs)).toHaveLength(c.kvLen)
      }
  })

  test('cut documents of random length, none empty', () => {
    const starts = documents(32768, 16)
    expect(starts).toHaveLength(16)
    expect(starts[0]).toBe(0)
    const lengths = starts.map((start, i) => (starts[i + 1] ?? 32768) - start)
    expect(Math.min(...lengths)).toBeGreaterThan(0)
    expect(new Set(lengths).size).toBeGreaterThan(12)
    expect(documents(32768, 16)).toEqual(starts)
  })

  test('are counted for the tiles of the skeleton that runs them', () => {
    const variant = (skeleton: string, headDim: number, q: number, kv: number) => ({
      skeleton,
      headDim,
      valueDim: headDim,
      dtype: 'bf16',
      tile: { q, kv },
    })
    const artifact = {
      variants: [
        variant('hopper', 128, 128, 128),
        variant('hopper', 64, 192, 128),
        variant('ampere', 128, 128, 64),
        variant('decode', 128, 16, 64),
      ],
    } as unknown as CudaArtifact
    const of = (name: string) => CASES.find((c) => c.name === name)!
    const causal = of('causal, N 8k')
    expect(shapesFor(artifact, causal, causal.ours[0]!)).toEqual({
      tiles: [{ q: 128, kv: 128 }],
      byResidue: false,
    })
    expect(shapesFor(artifact, causal, causal.ours[1]!).tiles).toEqual([{ q: 128, kv: 64 }])
    const small = of('causal, d 64, N 16k')
    expect(shapesFor(artifact, small, small.ours[0]!).tiles).toEqual([{ q: 192, kv: 128 }])
    const older = {
      variants: artifact.variants.filter((v) => v.skeleton !== 'hopper'),
    } as unknown as CudaArtifact
    expect(shapesFor(older, causal, causal.ours[0]!).tiles).toEqual([{ q: 128, kv: 64 }])
    const decode = of('decode, dense, B 1, S 128k')
    expect(shapesFor(artifact, decode, decode.ours[0]!).tiles).toEqual([{ q: 16, kv: 64 }])
    const stepped = {
      variants: [variant('residues', 128, 128, 96), ...artifact.variants],
    } as unknown as CudaArtifact
    expect(shapesFor(stepped, causal, causal.ours[0]!)).toEqual({
      tiles: [{ q: 128, kv: 96 }],
      byResidue: true,
    })
    expect(shapesFor(stepped, decode, decode.ours[0]!).byResidue).toBe(false)
  })
})

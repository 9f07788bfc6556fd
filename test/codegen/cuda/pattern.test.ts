/** Pattern sections, compiled for the CPU, against the patterns run as JavaScript: every pair, every tile, random calls. */

import { beforeAll, describe, expect, it } from 'vitest'
import { environmentOf } from '../../../compiler/mask-map.ts'
import { tileClass } from '../../../compiler/tiles.ts'
import type { Pattern } from '../../../dsl/index.ts'
import { PATTERNS } from '../../../patterns/index.ts'
import { drawCase, describeCase, type AttentionCase } from '../../../runtime/testing/cases.ts'
import { drawSeeded, type Draw } from '../../../runtime/testing/draw.ts'
import { resolveTables, tableAt } from '../../../runtime/tables.ts'
import { compiled, DSL, program } from '../../helpers.ts'
import { drawProgram } from '../../programs.ts'
import { NO_TILE, Probe, type Placed } from './probe.ts'

const CASES = Number(process.env.RUNS ?? 24)
const PROGRAMS = 12
/** None a power of two alone: a skeleton's tile may be any multiple of 16. */
const TILES = [16, 48, 64] as const

interface Subject {
  readonly name: string
  readonly pattern: Pattern
  readonly plan: ReturnType<typeof compiled>['plan']
}

const library: Subject[] = PATTERNS.map(({ pattern }) => ({
  name: pattern.name,
  pattern,
  plan: compiled(pattern).plan,
}))
const programs: Subject[] = Array.from({ length: PROGRAMS }, (_, seed) => {
  const made = program(drawSeeded((d: Draw) => drawProgram(d, { dsl: DSL }), seed).value)
  return { name: `random program ${seed}`, pattern: made.pattern, plan: made.compiled.plan }
})
const subjects = [...library, ...programs]

let probe: Probe
beforeAll(async () => {
  probe = await Probe.of(
    'subjects',
    subjects.map((s) => s.plan),
  )
}, 300_000)

type Fields = Record<string, unknown>

/** The record that a pattern's functions read, but for q and kv. */
function recordOf(
  { pattern, plan }: Subject,
  c: AttentionCase,
  placed: Placed,
  batch: number,
  head: number,
): Fields {
  const sizes = sizesOf(c)
  const tables = resolveTables(plan.tables, c.tables, sizes)
  const values = [...placed.params].map(([name, list]) => [name, list[head] ?? list[0]!] as const)
  return {
    ...pattern.consts,
    ...Object.fromEntries(values),
    ...Object.fromEntries(tables.map((t) => [t.info.name, { at: (...i: number[]) => tableAt(t, i) }])),
    batch,
    head,
    kvHead: Math.floor(head / (c.qHeads / c.kvHeads)),
    qHeads: c.qHeads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    qLen: placed.lengths[batch]!.qLen,
    kvLen: placed.lengths[batch]!.kvLen,
  }
}

const sizesOf = ({ batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim }: AttentionCase) => ({
  batch,
  qHeads,
  kvHeads,
  qRows,
  kvRows,
  headDim,
  valueDim,
})

const closeTo = (a: number, b: number): boolean =>
  a === b || (Number.isNaN(a) && Number.isNaN(b)) || Math.abs(a - b) <= 2e-5 * Math.max(1, Math.abs(a))

/** Sizes that reach several tiles in both directions and cost little; lengths of the case's own. */
const caseOf = (pattern: Pattern, seed: number): AttentionCase =>
  drawSeeded(
    (d) =>
      drawCase(d, pattern, { headDim: 4, valueDim: 4, dtype: 'f32', tile: { q: 40, kv: 64 }, keyTiles: 5 }),
    seed,
  ).value

/** Every pair of a head: kept or not; the score and sink of the pattern with them. */
function checkPairs(
  s: Subject,
  n: number,
  c: AttentionCase,
  placed: Placed,
  batch: number,
  head: number,
): Uint8Array[] {
  const { qStart, qLen, kvLen } = placed.lengths[batch]!
  const fields = recordOf(s, c, placed, batch, head)
  const mask = s.pattern.mask as (ix: Fields) => boolean
  const score = s.pattern.score as ((x: number, ix: Fields) => number) | null
  const sinkLogit = s.pattern.sinkLogit as ((ix: Fields) => number) | null
  const logits = Float32Array.from({ length: kvLen }, (_, i) => ((i * 37) % 97) / 8 - 6)
  const at = (what: string) => `${what} of ${s.name} for head ${head} of ${batch} in\n${describeCase(c)}`
  if (sinkLogit) {
    const [want, got] = [sinkLogit(fields), probe.sink(n, placed, batch, head)]
    if (!closeTo(want, got)) throw new Error(at(`sink is ${got}, not ${want},`))
  } else expect(probe.sink(n, placed, batch, head)).toBe(-Infinity)
  return Array.from({ length: qLen }, (_, row) => {
    fields.q = qStart + row
    const { kept, scores } = probe.pairs(n, placed, { batch, head, q: qStart + row }, logits)
    for (let kv = 0; kv < kvLen; kv++) {
      fields.kv = kv
      const want = mask(fields)
      if (want !== (kept[kv] === 1))
        throw new Error(at(`keeps(${qStart + row}, ${kv}) is ${!want}, not ${want},`))
      const changed = score ? score(logits[kv]!, fields) : logits[kv]!
      if (want && !closeTo(changed, scores[kv]!))
        throw new Error(
          at(`score of (${qStart + row}, ${kv}) at ${logits[kv]} is ${scores[kv]}, not ${changed},`),
        )
    }
    return kept
  })
}

const counts = { tiles: 0, reached: 0, needed: 0, full: 0, wholly: 0 }

/** Every tile of some rows: no kept pair is passed over, no dropped one called kept, and no tile is worse than the plan's terms. */
function checkTiles(
  s: Subject,
  n: number,
  c: AttentionCase,
  placed: Placed,
  batch: number,
  head: number,
  rows: readonly Uint8Array[],
  tile: number,
  height: number,
): void {
  const { qStart, qLen, kvLen } = placed.lengths[batch]!
  const count = Math.ceil(kvLen / tile) + 3
  // Tables have rows of the tensors, more than there are tokens where some are padding.
  const { qHeads, kvHeads, headDim, params, tables: data } = c
  const setting = { batch, batches: c.batch, head, qHeads, kvHeads, headDim, params, tables: data }
  const env = environmentOf(s.plan, { ...setting, qLen: c.qRows, kvLen: c.kvRows }, { qLen, kvLen })
  for (let first = 0; first < qLen; first += height) {
    const last = Math.min(qLen, first + height) - 1
    const [qLo, qHi] = [qStart + first, qStart + last]
    const { tiles, last: past } = probe.tiles(n, placed, { batch, head, qLo, qHi }, tile, count)
    const at = (t: number, what: string) =>
      new Error(
        `tile ${t} of ${tile} keys and queries ${qLo} to ${qHi} of ${s.name}, head ${head} of ${batch}, ${what}: ${JSON.stringify(tiles[t])} in\n${describeCase(c)}`,
      )
    if (past !== NO_TILE) throw at(count - 1, `is followed by ${past}`)
    tiles.forEach((answer, t) => {
      const [kvLo, kvEnd] = [t * tile, Math.min(kvLen, (t + 1) * tile)]
      const pairs = rows.slice(first, last + 1).map((r) => r.subarray(kvLo, kvEnd))
      const kept = pairs.some((r) => r.includes(1))
      const all = kvLo < kvLen && (t + 1) * tile <= kvLen && pairs.every((r) => !r.includes(0))
      if (kept && !answer.reached) throw at(t, 'holds a kept pair')
      if (answer.reached && !answer.candidate) throw at(t, 'is reached, and no candidate')
      if (answer.reached && answer.full && !all) throw at(t, 'is not full')
      if (kvLo < kvLen) {
        const bounds: Partial<Record<string, number>> = { qLo, qHi, kvLo, kvHi: kvEnd - 1 }
        const known = tileClass(s.plan.tiles, { ...env, var: (v) => bounds[v] ?? env.var(v) })
        if (answer.reached && known === 'empty') throw at(t, 'is empty by the plan')
        if (known === 'full' && (t + 1) * tile <= kvLen && !answer.full) throw at(t, 'is full by the plan')
        counts.tiles++
        counts.reached += Number(answer.reached)
        counts.needed += Number(kept)
        counts.full += Number(answer.reached && answer.full)
        counts.wholly += Number(all)
      } else if (answer.candidate) throw at(t, 'lies beyond the keys')
      // A candidate's run ends where the next tile is none; a tile that is none knows the next that is.
      const run = tiles.slice(t).findIndex((a) => a.candidate !== answer.candidate)
      const end = answer.candidate ? (run < 0 ? count : t + run) - 1 : run < 0 ? NO_TILE : t + run
      if (answer.end !== end) throw at(t, `leads to ${end}`)
    })
  }
}

describe('the CUDA section of', () => {
  it.each(subjects.map((s, n) => [s.name, s, n] as const))('%s is as its TypeScript', (_, s, n) => {
    for (let seed = 0; seed < CASES; seed++) {
      const c = caseOf(s.pattern, seed)
      const placed = probe.place(n, {
        sizes: sizesOf(c),
        params: c.params,
        tables: c.tables,
        lengths: c.lengths,
      })
      for (let batch = 0; batch < c.batch; batch++) {
        for (let head = 0; head < c.qHeads; head++) {
          const rows = checkPairs(s, n, c, placed, batch, head)
          checkTiles(s, n, c, placed, batch, head, rows, TILES[seed % 3]!, [16, 64, 1, 128][seed % 4]!)
        }
      }
    }
    expect(probe.wrongs(), 'integers that left their range').toBe(0)
  })

  it('patterns finds nearly the tiles that are needed, and many full ones', () => {
    expect(counts.tiles).toBeGreaterThan(10_000)
    expect(counts.reached).toBeLessThan(1.25 * counts.needed)
    expect(counts.full).toBeGreaterThan(0.75 * counts.wholly)
  })
})

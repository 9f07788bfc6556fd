/** The library in; what suites that run kernels need of it as plain JSON out: artefacts, tiles to visit, pairs kept. */

import { fileURLToPath } from 'node:url'
import type { Artifact } from '../codegen/artifact.ts'
import { CAPABILITY_NAMES, DEFAULT_CAPABILITIES, emit } from '../codegen/index.ts'
import { createCompiler } from '../compiler/index.ts'
import { evaluate, type Environment } from '../compiler/ir.ts'
import { environmentOf, type Setting } from '../compiler/mask-map.ts'
import type { KernelPlan } from '../compiler/plan.ts'
import { tileClass } from '../compiler/tiles.ts'
import { PATTERNS } from '../patterns/index.ts'
import {
  countsKey,
  HEAD_DIMS,
  ON_GPU,
  SKIPPING,
  type Counts,
  type Prepared,
  type TimedCase,
} from './cases.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Those of a default build come first, so that the runtime chooses as it would there; the others are measured beside them. */
const capabilities = [...new Set([...DEFAULT_CAPABILITIES, ...CAPABILITY_NAMES])]

/** Compiles the patterns named, all of them if none is; the compiler is not needed afterwards. */
export function prepare(
  names: readonly string[] = PATTERNS.map((p) => p.pattern.name),
  cases: readonly TimedCase[] = [...SKIPPING, ...ON_GPU],
): Prepared {
  const entries = PATTERNS.filter(({ pattern }) => names.includes(pattern.name))
  const compiled = createCompiler().compileAll(entries.map(({ file }) => ROOT + file))
  const plans = new Map<string, KernelPlan>()
  const artifacts: Record<string, Artifact> = {}
  const timed = new Set(cases.map((c) => c.pattern))
  for (const [i, { pattern, file }] of entries.entries()) {
    const found = compiled[i]!.patterns.find((p) => p.name === pattern.name)
    if (!found) throw new Error(`${file}: ${compiled[i]!.diagnostics[0]?.text ?? 'the pattern is missing'}`)
    plans.set(pattern.name, found.plan)
    const headDims = timed.has(pattern.name) ? [HEAD_DIMS.check, HEAD_DIMS.gpu] : [HEAD_DIMS.check]
    artifacts[pattern.name] = emit(found, { target: 'wgsl', headDims, dtypes: ['f32', 'f16'], capabilities })
  }
  const counts: Record<string, Counts> = {}
  for (const c of cases) {
    const [plan, artifact] = [plans.get(c.pattern), artifacts[c.pattern]]
    if (!plan || !artifact) continue
    const tiles = distinct(artifact.variants.map((v) => v.tile))
    const { keptPairs, needed } = countPairs(plan, c, tiles)
    for (const [i, tile] of tiles.entries()) {
      counts[countsKey(c, tile)] = {
        needed: needed[i]!,
        visited: countVisited(plan, settingOf(c), tile),
        keptPairs,
      }
    }
  }
  return { artifacts, counts }
}

const settingOf = ({ length, params }: TimedCase): Setting => ({
  batch: 0,
  batches: 1,
  head: 0,
  qHeads: 1,
  kvHeads: 1,
  qLen: length,
  kvLen: length,
  headDim: 64,
  params,
  tables: {},
})

type Tile = Artifact['variants'][number]['tile']

const distinct = (tiles: readonly Tile[]): Tile[] => [
  ...new Map(tiles.map((t) => [`${t.q}x${t.kv}`, t])).values(),
]

/** The pattern itself, asked of the pairs that the plan holds for possible: pairs kept, and tiles of each size that keep one. */
function countPairs(
  plan: KernelPlan,
  c: TimedCase,
  tiles: readonly Tile[],
): { keptPairs: number; needed: number[] } {
  const { pattern } = PATTERNS.find((p) => p.pattern.name === c.pattern)!
  const { length } = c
  const ix = {
    batch: 0,
    head: 0,
    kvHead: 0,
    q: 0,
    kv: 0,
    qLen: length,
    kvLen: length,
    qHeads: 1,
    kvHeads: 1,
    headDim: 64,
    ...c.params,
  }
  const rangesOf = walker(plan, settingOf(c))
  const marks = tiles.map((tile) => new Int32Array(Math.ceil(length / tile.kv)).fill(-1))
  const needed = tiles.map(() => 0)
  let keptPairs = 0
  for (let q = 0; q < length; q++) {
    ix.q = q
    let next = 0
    for (const [lo, hi] of rangesOf(q, q)) {
      for (let kv = Math.max(lo, next); kv <= hi; kv++) {
        ix.kv = kv
        if (!pattern.mask(ix)) continue
        keptPairs++
        for (let t = 0; t < tiles.length; t++) {
          const row = Math.floor(q / tiles[t]!.q)
          const column = Math.floor(kv / tiles[t]!.kv)
          if (marks[t]![column] === row) continue
          marks[t]![column] = row
          needed[t]!++
        }
      }
      next = Math.max(next, hi + 1)
    }
  }
  return { keptPairs, needed }
}

/** The keys that each kept term reaches from a range of queries, by its first key. */
function walker(
  plan: KernelPlan,
  at: Setting,
): (qLo: number, qHi: number) => (readonly [lo: number, hi: number])[] {
  const env = environmentOf(plan, at)
  return (qLo, qHi) => {
    const here: Environment = {
      ...env,
      var: (name) => (name === 'qLo' ? qLo : name === 'qHi' ? qHi : env.var(name)),
    }
    return plan.tiles.kept
      .filter((term) => evaluate(term.when, here) === true)
      .map(
        (term) =>
          [
            Math.max(0, Number(evaluate(term.lo, here))),
            Math.min(at.kvLen - 1, Number(evaluate(term.hi, here))),
          ] as const,
      )
      .filter(([lo, hi]) => lo <= hi)
      .sort((a, b) => a[0] - b[0])
  }
}

/** As the kernel walks: per query tile the union of its ranges, and the tiles' class inside them. */
function countVisited(plan: KernelPlan, at: Setting, tile: Tile): number {
  const rangesOf = walker(plan, at)
  const env = environmentOf(plan, at)
  let visited = 0
  for (let qLo = 0; qLo < at.qLen; qLo += tile.q) {
    const qHi = Math.min(at.qLen, qLo + tile.q) - 1
    let next = 0
    for (const [lo, hi] of rangesOf(qLo, qHi)) {
      for (let j = Math.max(next, Math.floor(lo / tile.kv)); j * tile.kv <= hi; j++) {
        const place: Partial<Record<string, number>> = {
          qLo,
          qHi,
          kvLo: j * tile.kv,
          kvHi: Math.min(at.kvLen, (j + 1) * tile.kv) - 1,
        }
        if (tileClass(plan.tiles, { ...env, var: (name) => place[name] ?? env.var(name) }) !== 'empty')
          visited++
        next = j + 1
      }
    }
  }
  return visited
}

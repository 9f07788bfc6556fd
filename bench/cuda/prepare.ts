/**
 * The folder of built artefacts in; the CUDA suite's cases with exact counts for the tile shapes of those artefacts out, as the
 * one JSON file that run.py reads. What has been counted before is kept: `tsx bench/cuda/prepare.ts out/cuda out/cuda-counts.json`.
 */

import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { CudaArtifact, Skeleton } from '../../codegen/cuda/manifest.ts'
import { createCompiler } from '../../compiler/index.ts'
import { printExpr } from '../../compiler/ir.ts'
import type { Setting } from '../../compiler/mask-map.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { hash } from '../../dsl/index.ts'
import { PATTERNS } from '../../patterns/index.ts'
import { versionsHere } from '../versions.ts'
import { CASES, expand, type CudaCase, type Ours } from './cases.ts'
import { countHead, headsAlike, sampleRows, type RowSample, type Tile, type TileCounts } from './counts.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SAMPLED_ROWS = 48

/** What is counted of one kernel of a case, over all batch entries and heads. */
export interface Counts {
  readonly kept: number
  /** Keys that some query keeps, summed over the query heads. */
  readonly keys: number
  readonly tiles: Readonly<Record<string, TileCounts>>
  /** Of one head of each group of heads that share a mask. */
  readonly samples: readonly ({ readonly head: number } & RowSample)[]
}

export const settingOf = (c: CudaCase, ours: Ours): Setting => ({
  batch: 0,
  batches: 1,
  head: 0,
  qHeads: c.qHeads,
  kvHeads: c.kvHeads,
  qLen: c.qLen,
  kvLen: c.kvLen,
  headDim: c.headDim,
  params: ours.params ?? {},
  tables: Object.fromEntries(Object.entries(ours.tables ?? {}).map(([name, runs]) => [name, expand(runs)])),
})

/** Both ends, tiles' edges, and rows between. */
function sampledRows(qLen: number): number[] {
  const wanted = [0, 1, 127, 128, qLen - 129, qLen - 128, qLen - 1]
  for (let i = 0; wanted.length < SAMPLED_ROWS; i++) wanted.push(hash(qLen, i) % qLen)
  return [...new Set(wanted.filter((row) => row >= 0 && row < qLen))].sort((a, b) => a - b)
}

export function countCase(
  plan: KernelPlan,
  c: CudaCase,
  ours: Ours,
  shapes: readonly [Tile, ...Tile[]],
  byResidue = false,
): Counts {
  const at = settingOf(c, ours)
  const sums = shapes.map(() => ({ needed: 0, visited: 0 }))
  let [kept, keys] = [0, 0]
  const rows = sampledRows(c.qLen)
  const samples = headsAlike(plan, at).map((heads) => {
    const one = { ...at, head: heads[0]! }
    const counted = countHead(plan, one, shapes, byResidue)
    const times = heads.length * c.batch
    kept += counted.kept * times
    keys += counted.keys * times
    for (const [i, tile] of counted.tiles.entries()) {
      sums[i]!.needed += tile.needed * times
      sums[i]!.visited += tile.visited * times
    }
    return { head: one.head, ...sampleRows(plan, one, rows) }
  })
  const tiles = Object.fromEntries(shapes.map((shape, i) => [`${shape.q}x${shape.kv}`, sums[i]!]))
  return { kept, keys, tiles, samples }
}

/** The shapes that the loader may choose for a case, and by which walk: of the skeleton forced, else of the best one there is. */
export function shapesFor(
  artifact: CudaArtifact,
  c: CudaCase,
  ours: Ours,
): { readonly tiles: readonly Tile[]; readonly byResidue: boolean } {
  const wanted: readonly Skeleton[] =
    ours.skeleton !== undefined
      ? [ours.skeleton]
      : c.qLen <= 16
        ? ['decode']
        : ['residues', 'hopper', 'ampere']
  const fitting = artifact.variants.filter(
    (v) => v.headDim === c.headDim && v.valueDim === c.headDim && v.dtype === 'bf16',
  )
  const skeleton = wanted.find((name) => fitting.some((v) => v.skeleton === name))
  const tiles = fitting.filter((v) => v.skeleton === skeleton).map((v) => v.tile)
  const distinct = new Map(tiles.map((tile) => [`${tile.q}x${tile.kv}`, tile]))
  return { tiles: [...distinct.values()], byResidue: skeleton === 'residues' }
}

function main([artifacts, target]: readonly (string | undefined)[]): void {
  if (!artifacts || !target) {
    console.error('tsx bench/cuda/prepare.ts <folder of artefacts> <file for the counts>')
    process.exitCode = 2
    return
  }
  const names = [...new Set(CASES.flatMap((c) => c.ours.map((o) => o.pattern)))]
  const plans = plansOf(names)
  const known = new Map<string, Counts>()
  if (existsSync(target)) {
    const before = JSON.parse(readFileSync(target, 'utf8')) as { cases: { ours: Counted[] }[] }
    for (const { ours } of before.cases) for (const o of ours) known.set(o.key, o.counts)
  }
  const began = performance.now()
  const countedOurs = (c: CudaCase, ours: Ours): Counted[] => {
    const file = `${artifacts}/${ours.pattern}.cuda.json`
    // A kernel that was not built is a row less, and said so.
    if (!existsSync(file)) {
      console.error(`${c.name}: left out, there is no ${file}`)
      return []
    }
    const plan = plans.get(ours.pattern)!
    const { tiles, byResidue } = shapesFor(JSON.parse(readFileSync(file, 'utf8')) as CudaArtifact, c, ours)
    const [first, ...rest] = tiles
    if (!first) throw new Error(`${file} has no kernel for ${c.name}`)
    const key = keyOf(plan, c, ours, tiles, byResidue)
    const started = performance.now()
    const counts = known.get(key) ?? countCase(plan, c, ours, [first, ...rest], byResidue)
    console.error(`${c.name}, ${ours.pattern}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
    return [{ ...ours, key, counts }]
  }
  const cases = CASES.map((c) => ({ ...c, ours: c.ours.flatMap((ours) => countedOurs(c, ours)) })).filter(
    (c) => c.ours.length > 0,
  )
  writeFileSync(`${target}.part`, JSON.stringify({ version: 1, versions: versionsHere(), cases }))
  renameSync(`${target}.part`, target)
  console.error(`${target}: ${cases.length} cases, ${((performance.now() - began) / 1000).toFixed(0)} s`)
}

type Counted = Ours & { readonly key: string; readonly counts: Counts }

function plansOf(names: readonly string[]): Map<string, KernelPlan> {
  const entries = PATTERNS.filter(({ pattern }) => names.includes(pattern.name))
  const compiled = createCompiler().compileAll(entries.map(({ file }) => ROOT + file))
  return new Map(
    entries.map(({ pattern, file }, i) => {
      const found = compiled[i]!.patterns.find((p) => p.name === pattern.name)
      if (!found) throw new Error(`${file}: ${compiled[i]!.diagnostics[0]?.text ?? 'the pattern is missing'}`)
      return [pattern.name, found.plan]
    }),
  )
}

/** Everything that the counts depend on. */
function keyOf(
  plan: KernelPlan,
  c: CudaCase,
  ours: Ours,
  shapes: readonly Tile[],
  byResidue: boolean,
): string {
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim } = c
  const { params, tables } = ours
  const terms = [...plan.tiles.kept, ...plan.tiles.dropped].map((t) =>
    [t.when, t.lo, t.hi, t.test, t.pieces.q, t.pieces.kv].map((e) => e && printExpr(e)),
  )
  const sizes = {
    batch,
    qHeads,
    kvHeads,
    qLen,
    kvLen,
    headDim,
    params,
    tables,
    shapes,
    byResidue,
    SAMPLED_ROWS,
  }
  const parts = [printExpr(plan.mask), plan.tiles.how, terms, sizes]
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2))

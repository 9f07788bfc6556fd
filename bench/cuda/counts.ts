/**
 * A plan and one of its settings in; pairs kept, keys read, tiles needed and tiles visited out, exactly. Tiles that the plan's
 * own terms call full or empty are taken at their word; of all others every pair is asked of the mask.
 */

import { evaluate, nodesOf, readsVar } from '../../compiler/ir.ts'
import { passesOf, type Pass } from '../../codegen/cuda/pattern.ts'
import { environmentOf, firstPosition, type Setting } from '../../compiler/mask-map.ts'
import { readsHead, type KernelPlan } from '../../compiler/plan.ts'
import { mod } from '../../dsl/index.ts'
import { maskProgram, type Spot } from './mask-program.ts'
import { tileProgram } from './tile-program.ts'

export interface Tile {
  readonly q: number
  readonly kv: number
}

export interface TileCounts {
  readonly needed: number
  readonly visited: number
}

export interface HeadCounts {
  readonly kept: number
  /** Keys that some query keeps. */
  readonly keys: number
  /** In the order of the tile shapes asked for. */
  readonly tiles: readonly TileCounts[]
}

/** One head: the first shape counts pairs and keys too. `byResidue`: as the kernels walk that take rows by remainder. */
export function countHead(
  plan: KernelPlan,
  at: Setting,
  shapes: readonly [Tile, ...Tile[]],
  byResidue = false,
): HeadCounts {
  const passes = passesOf(plan, byResidue).map((pass) => ({ pass, program: maskProgram(pass.plan, at) }))
  const marks = new Uint8Array(at.kvLen)
  let kept = 0
  const tiles = shapes.map((shape, i): TileCounts => {
    let [needed, visited] = [0, 0]
    for (const { pass, program } of passes)
      forTiles(pass, at, shape, (spot, full) => {
        visited++
        if (i > 0) {
          if (full || program.keepsAny(spot)) needed++
          return
        }
        const count = full ? wholeTile(spot, marks) : program.count(spot, marks)
        kept += count
        if (count > 0) needed++
      })
    // A list is made of the tiles that keep a pair.
    return { needed, visited: plan.tiles.how === 'list' ? needed : visited }
  })
  return { kept, keys: marks.reduce((a, b) => a + b, 0), tiles }
}

const countOf = (lo: number, hi: number, step: number): number => Math.floor((hi - lo) / step) + 1

function wholeTile({ qLo, qHi, kvLo, kvHi, step }: Spot, marks: Uint8Array): number {
  for (let kv = kvLo; kv <= kvHi; kv += step) marks[kv] = 1
  return countOf(qLo, qHi, step) * countOf(kvLo, kvHi, step)
}

/** As a kernel walks: per query tile the union of its ranges, and the class that the terms give to the tiles in them. */
function forTiles(
  { plan, step: stepExpr }: Pass,
  at: Setting,
  shape: Tile,
  visit: (spot: Spot, full: boolean) => void,
): void {
  const program = tileProgram(plan, at)
  const step = stepExpr === null ? 1 : (evaluate(stepExpr, environmentOf(plan, at)) as number)
  const spot = { qLo: 0, qHi: 0, kvLo: 0, kvHi: 0, step }
  const start = firstPosition(at)
  for (let residue = 0; residue < Math.min(step, at.qLen); residue++) {
    // The class's i-th key stands at first + i * step.
    const first = mod(start + residue, step)
    const [rows, keys] = [countOf(residue, at.qLen - 1, step), countOf(first, at.kvLen - 1, step)]
    for (let row = 0; row < rows; row += shape.q) {
      spot.qLo = start + residue + row * step
      spot.qHi = start + residue + (Math.min(rows, row + shape.q) - 1) * step
      let next = 0
      for (const [lo, hi] of program.enter(spot.qLo, spot.qHi)) {
        const last = Math.min(keys - 1, Math.floor((hi - first) / step))
        const least = Math.ceil((Math.max(0, lo) - first) / step)
        for (let j = Math.max(next, Math.floor(Math.max(0, least) / shape.kv)); j * shape.kv <= last; j++) {
          next = j + 1
          spot.kvLo = first + j * shape.kv * step
          spot.kvHi = first + (Math.min(keys, (j + 1) * shape.kv) - 1) * step
          const found = program.classOf(spot)
          if (found !== 'empty') visit(spot, found === 'full')
        }
      }
    }
  }
}

/** Heads in groups of the same mask: what the mask reads of a head, beside positions, has the same values. */
export function headsAlike(plan: KernelPlan, at: Setting): number[][] {
  const all = Array.from({ length: at.qHeads }, (_, head) => head)
  if (!readsHead(plan)) return [all]
  const nodes = nodesOf(plan.mask)
  const reads = nodes.some((n) => n.op === 'load' && n.src.some((s) => readsVar(s, 'head', 'kvHead')))
  if (reads) return all.map((head) => [head])
  const fixed = nodes.filter((n) => !readsVar(n, 'q', 'kv') && n.op !== 'load')
  const held = new Set(nodes.filter((n) => readsVar(n, 'q', 'kv') || n.op === 'load').flatMap((n) => n.src))
  const roots = fixed.filter((n) => held.has(n) || n === plan.mask)
  const groups = new Map<string, number[]>()
  for (const head of all) {
    const env = environmentOf(plan, { ...at, head })
    const key = roots.map((n) => String(evaluate(n, env))).join(' ')
    const group = groups.get(key)
    if (group) group.push(head)
    else groups.set(key, [head])
  }
  return [...groups.values()]
}

export interface RowSample {
  readonly rows: readonly number[]
  /** Of each row in turn: how many keys it keeps, and the sum of their positions. */
  readonly kept: readonly number[]
  readonly sums: readonly number[]
}

/** What some rows keep: enough to tell another program's mask from the pattern's. */
export function sampleRows(plan: KernelPlan, at: Setting, rows: readonly number[]): RowSample {
  const program = maskProgram(plan, at)
  const start = firstPosition(at)
  const marks = new Uint8Array(at.kvLen)
  const spots = rows.map((row) => ({
    qLo: start + row,
    qHi: start + row,
    kvLo: 0,
    kvHi: at.kvLen - 1,
    step: 1,
  }))
  return {
    rows,
    kept: spots.map((spot) => program.count(spot, marks)),
    sums: spots.map((spot) => program.sum(spot)),
  }
}

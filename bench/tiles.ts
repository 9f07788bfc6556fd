/** The library's plans in; tiles that they visit beside the tiles that keep a pair, by brute force over random settings, out. */

import { fileURLToPath } from 'node:url'
import { createCompiler } from '../compiler/index.ts'
import { mapMask, mapPlan, type MaskMap, type Setting } from '../compiler/mask-map.ts'
import type { KernelPlan, ParamInfo } from '../compiler/plan.ts'
import { hash } from '../dsl/index.ts'
import { EXAMPLES, PATTERNS, exampleTables } from '../patterns/index.ts'
import type { Row } from './results.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SETTINGS = 60
const LONGEST = 400
const HEADS = 4

/** What the project promises of visited / needed: exact by closed form, exact in any way, or at most a tenth more. */
const PROMISES: Readonly<Record<string, { readonly most: number; readonly how?: 'ranges' }>> = {
  ...Object.fromEntries(
    [
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
    ].map((name) => [name, { most: 1, how: 'ranges' }] as const),
  ),
  ...Object.fromEntries(['fixed', 's2-shard', 'strided', 'power'].map((name) => [name, { most: 1 }])),
  ...Object.fromEntries(
    ['dilated-window', 'grid', 'neighborhood-2d', 'sliding-tile-3d'].map((name) => [name, { most: 1.1 }]),
  ),
}

export function tilesSuite(): Row[] {
  const compiled = createCompiler().compileAll(PATTERNS.map(({ file }) => ROOT + file))
  return PATTERNS.map(({ pattern }, i) => {
    const found = compiled[i]?.patterns.find((p) => p.name === pattern.name)
    if (!found) throw new Error(`${pattern.name} does not compile`)
    return tilesRow(found.plan, i)
  })
}

/** The seed is the pattern's place in the registry: the same settings each time. */
function tilesRow(plan: KernelPlan, seed: number): Row {
  const random = randomFrom(seed)
  const began = performance.now()
  const sum = { needed: 0, visited: 0, full: 0, foundFull: 0 }
  let worst = 1
  for (let i = 0; i < SETTINGS; i++) {
    const at = settingOf(plan, random)
    const tile = { q: [16, 32, 64][Math.floor(random() * 3)]!, kv: [16, 32, 64][Math.floor(random() * 3)]! }
    const truth = mapMask(plan, at, tile)
    const needed = truth.counts.partial + truth.counts.full
    const full = wholeFull(truth, at.kvLen)
    const { counts } = mapPlan(plan, at, tile)
    // A list is made by looking at every pair of its candidates.
    const visited = plan.tiles.how === 'list' ? needed : counts.partial + counts.full
    if (visited < needed) throw new Error(`${plan.name} leaves out tiles that keep pairs`)
    sum.needed += needed
    sum.visited += visited
    sum.full += full
    sum.foundFull += plan.tiles.how === 'list' ? full : counts.full
    worst = Math.max(worst, needed === 0 ? (visited === 0 ? 1 : Infinity) : visited / needed)
  }
  const promise = PROMISES[plan.name]
  const mean = sum.visited / Math.max(1, sum.needed)
  const { density, bidirectional } = exampleMap(plan)
  return {
    case: plan.name,
    target: 'plan',
    ours: { ms: performance.now() - began },
    tiles: { needed: sum.needed, visited: sum.visited },
    ...(promise
      ? {
          limit: `${promise.how ? 'closed form, ' : ''}mean at most ${promise.most}`,
          ok: mean <= promise.most && (promise.how ?? plan.tiles.how) === plan.tiles.how,
        }
      : {}),
    more: {
      how: plan.tiles.how,
      mean: Number(mean.toFixed(3)),
      worst: Number(worst.toFixed(3)),
      'full found': sum.full === 0 ? 'none' : Number((sum.foundFull / sum.full).toFixed(3)),
      density: Number(density.toFixed(3)),
      of: bidirectional ? 'all' : 'causal',
    },
  }
}

/** A tile cut by the end of the keys is never walked as a full one: its mask is the length. */
function wholeFull({ rows, columns, tile, classOf }: MaskMap, kvLen: number): number {
  let full = 0
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) if ((j + 1) * tile.kv <= kvLen && classOf(i, j) === 'full') full++
  }
  return full
}

function exampleMap(plan: KernelPlan) {
  const { qLen, kvLen, heads, kvHeads, params } = EXAMPLES[plan.name]!
  const sizes = { batch: 1, qHeads: heads, kvHeads, qLen, kvLen, headDim: 64 }
  const at: Setting = {
    ...sizes,
    batch: 0,
    batches: 1,
    head: 0,
    params,
    tables: exampleTables(plan.name, sizes, 1),
  }
  return mapMask(plan, at, { q: 32, kv: 32 })
}

/** Up to twice the example's params, one head of four, and often fewer queries than keys. */
function settingOf(plan: KernelPlan, random: () => number): Setting {
  const kvLen = 1 + Math.floor(random() * LONGEST)
  const qLen = random() < 0.5 ? kvLen : 1 + Math.floor(random() * kvLen)
  const sizes = { batch: 2, qHeads: HEADS, kvHeads: 2, qLen, kvLen, headDim: 64 }
  const example = EXAMPLES[plan.name]!.params
  const params = Object.fromEntries(
    plan.params.map((p) => [p.name, valueOf(p, example[p.name] ?? p.default, random)]),
  )
  const seed = Math.floor(random() * 2 ** 20)
  return {
    ...sizes,
    batch: Math.floor(random() * 2),
    batches: 2,
    head: Math.floor(random() * HEADS),
    params,
    tables: exampleTables(plan.name, sizes, seed),
  }
}

function valueOf(p: ParamInfo, about: number | readonly number[], random: () => number): number | number[] {
  if (p.perHead)
    return Array.from({ length: HEADS }, (_, h) =>
      one(p, typeof about === 'number' ? about : about[h]!, random),
    )
  return one(p, typeof about === 'number' ? about : about[0]!, random)
}

function one(p: ParamInfo, about: number, random: () => number): number {
  const value = random() * 2 * about
  return Math.min(p.max, Math.max(p.min, p.type === 'i32' ? Math.round(value) : Math.fround(value)))
}

function randomFrom(seed: number): () => number {
  let calls = 0
  return () => hash(seed, calls++) / 2 ** 31
}

/** A seed in; a random program, compiled and run, and everything about it that is not as its TypeScript says, out. */

import { environmentOf, type Setting } from '../compiler/mask-map.ts'
import { evaluate, type VarName } from '../compiler/ir.ts'
import type { CompiledPattern } from '../compiler/index.ts'
import { tileClass } from '../compiler/tiles.ts'
import type { Pattern, PairIndex } from '../dsl/index.ts'
import { drawCase, describeCase, type AttentionCase } from '../runtime/testing/cases.ts'
import { runCase } from '../runtime/testing/check.ts'
import { drawSeeded, shrink, type Draw } from '../runtime/testing/draw.ts'
import { CheckError } from '../runtime/testing/messages.ts'
import { RUNS_PER_VARIANT } from '../runtime/testing/runner.ts'
import { Subject } from '../runtime/testing/subject.ts'
import { variantOf, webgpuRunner } from '../runtime/testing/webgpu.ts'
import { DSL, program, type Program } from './helpers.ts'
import { drawProgram } from './programs.ts'

export interface ProgramReport {
  readonly seed: number
  /** Calls of the compiled kernel. */
  readonly cases: number
  /** The greatest error as a part of what is allowed. */
  readonly maxErrorRatio: number
  /** What is wrong, with the simplest program that has it; null if nothing is. */
  readonly failure: string | null
}

interface Outcome {
  readonly ratio: number
  readonly failure: string | null
}

const generate = (d: Draw): string => drawProgram(d, { dsl: DSL })
/** Programs that a failing one is replaced by while it is made simpler: each costs a compilation and a pipeline. */
const ATTEMPTS = 80

/** Checks the program of one seed: its expressions, its tiles, and `cases` calls of its kernel. */
export async function checkProgram(device: GPUDevice, seed: number, cases: number): Promise<ProgramReport> {
  const found = drawSeeded(generate, seed)
  const { ratio, failure } = await outcomeOf(device, found.value, seed, cases)
  if (failure === null) return { seed, cases, maxErrorRatio: ratio, failure: null }
  const fails = async (text: string) => (await outcomeOf(device, text, seed, cases)).failure !== null
  const { value } = await shrink(generate, found, fails, ATTEMPTS)
  const simplest = await outcomeOf(device, value, seed, cases)
  const said = `program of seed ${seed}: ${simplest.failure ?? failure}\n${simplest.failure === null ? found.value : value}`
  return { seed, cases, maxErrorRatio: ratio, failure: said }
}

/** Checks one program's text: null if it compiles and equals its TypeScript. */
export const checkText = async (
  device: GPUDevice,
  text: string,
  seed: number,
  cases: number,
): Promise<string | null> => (await outcomeOf(device, text, seed, cases)).failure

async function outcomeOf(device: GPUDevice, text: string, seed: number, cases: number): Promise<Outcome> {
  let made: Program
  try {
    made = program(text)
  } catch (error) {
    const said =
      error instanceof CheckError ? error.message : `it does not run as TypeScript: ${String(error)}`
    return { ratio: 0, failure: said }
  }
  const { pattern, compiled } = made
  const wrong = differenceOfStages(pattern, compiled, seed)
  if (wrong !== null) return { ratio: 0, failure: wrong }
  const subject = new Subject(compiled, webgpuRunner(device, ['portable']))
  try {
    const built = await subject.build(variantOf(seed * RUNS_PER_VARIANT))
    let ratio = 0
    for (let n = 0; n < cases; n++) {
      const c = drawSeeded((d) => drawCase(d, pattern, built.variant), seed * 1000 + n).value
      const got = await runCase(built, pattern, c)
      if (got.difference !== null)
        return { ratio: got.ratio, failure: `${got.difference}\n${describeCase(c)}` }
      ratio = Math.max(ratio, got.ratio)
    }
    return { ratio, failure: null }
  } finally {
    subject.release()
  }
}

const POINTS = 60
const TILES = 12
const VARIANT = { headDim: 8, valueDim: 8, dtype: 'f32', tile: { q: 32, kv: 32 } } as const

/** The pattern run as TypeScript against its lowered and simplified expressions, and its tiles against every pair. */
export function differenceOfStages(
  pattern: Pattern,
  { lowered, simplified, plan }: CompiledPattern,
  seed: number,
): string | null {
  const { value: c } = drawSeeded((d) => drawCase(d, pattern, VARIANT), seed)
  const { value: points } = drawSeeded((d) => d.list(POINTS, () => pointOf(d, c)), seed + 1)
  for (const { setting, q, kv } of points) {
    const env = environmentOf(lowered, setting, { q, kv, logit: 0.75 })
    const ix = indexRecord(
      pattern,
      c,
      setting,
      (name) => env.param(name),
      (name, at) => env.load(name, at),
      q,
      kv,
    )
    const where = `at q ${q}, kv ${kv}, head ${setting.head} of ${describeCase(c)}`
    const mask = pattern.mask(ix)
    for (const [stage, form] of Object.entries({ lowered, simplified, plan })) {
      const at = environmentOf(form, setting, { q, kv, logit: 0.75 })
      if (evaluate(form.mask, at) !== mask) return `the ${stage} mask is not ${mask} ${where}`
      if (form.score) {
        const [got, want] = [evaluate(form.score, at) as number, pattern.score!(0.75, ix)]
        if (!(Math.abs(got - want) <= 1e-9 * Math.max(1, Math.abs(want))))
          return `the ${stage} score is ${got}, not ${want} ${where}`
      }
    }
  }
  const { value: tiles } = drawSeeded((d) => d.list(TILES, () => tileOf(d, c)), seed + 2)
  for (const { setting, ...tile } of tiles) {
    const kind = tileClass(plan.tiles, environmentOf(plan, setting, tile))
    if (kind === 'partial') continue
    for (let q = tile.qLo; q <= tile.qHi; q++) {
      for (let kv = tile.kvLo; kv <= tile.kvHi; kv++) {
        if (evaluate(lowered.mask, environmentOf(lowered, setting, { q, kv })) !== (kind === 'full')) {
          return `the tile q ${tile.qLo}..${tile.qHi}, kv ${tile.kvLo}..${tile.kvHi} is ${kind}, but not at q ${q}, kv ${kv} of ${describeCase(c)}`
        }
      }
    }
  }
  return null
}

function settingOf(d: Draw, c: AttentionCase): Setting {
  return {
    batch: d.int(0, c.batch - 1),
    batches: c.batch,
    head: d.int(0, c.qHeads - 1),
    qHeads: c.qHeads,
    kvHeads: c.kvHeads,
    qLen: c.qRows,
    kvLen: Math.max(1, c.kvRows),
    headDim: c.headDim,
    params: c.params,
    tables: c.tables,
  }
}

function pointOf(d: Draw, c: AttentionCase) {
  const setting = settingOf(d, c)
  return { setting, q: d.int(-3, setting.kvLen + 40), kv: d.int(0, setting.kvLen - 1) }
}

function tileOf(d: Draw, c: AttentionCase) {
  const setting = settingOf(d, c)
  const kvLo = d.int(0, setting.kvLen - 1)
  const qLo = d.int(-5, setting.kvLen + 40)
  return {
    setting,
    qLo,
    qHi: qLo + d.int(0, 15),
    kvLo,
    kvHi: Math.min(setting.kvLen - 1, kvLo + d.int(0, 15)),
  } satisfies Partial<Record<VarName, number>> & { setting: Setting }
}

/** What the pattern's functions are called with. */
function indexRecord(
  pattern: Pattern,
  c: AttentionCase,
  at: Setting,
  param: (name: string) => number,
  load: (name: string, indices: readonly number[]) => number,
  q: number,
  kv: number,
): PairIndex {
  const { batch, head, qHeads, kvHeads, qLen, kvLen, headDim } = at
  const kvHead = Math.floor(head / (c.qHeads / c.kvHeads))
  const own = [
    ...Object.entries(pattern.consts),
    ...Object.keys(pattern.params).map((name) => [name, param(name)] as const),
    ...Object.keys(pattern.tables).map(
      (name) => [name, { at: (...indices: number[]) => load(name, indices) }] as const,
    ),
  ]
  return {
    ...Object.fromEntries(own),
    batch,
    head,
    kvHead,
    q,
    kv,
    qLen,
    kvLen,
    qHeads,
    kvHeads,
    headDim,
  } as PairIndex
}

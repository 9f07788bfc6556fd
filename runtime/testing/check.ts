/** A pattern in; random calls of its compiled kernel against the pattern run as TypeScript, and the simplest difference, out. */

import type { CapabilityName } from '../../codegen/index.ts'
import type { Pattern } from '../../dsl/index.ts'
import { openDevice } from '../device-node.ts'
import { reference, type ReferenceResult } from '../reference.ts'
import type { StorageDtype } from '../tensor.ts'
import { drawCase, describeCase, tensorsOf, type AttentionCase } from './cases.ts'
import { compareWithOracle } from './compare.ts'
import { drawSeeded, shrink, type Draw, type Drawn, type Generator } from './draw.ts'
import { judge, type Judgement } from './judge.ts'
import { CheckError } from './messages.ts'
import type { Built, Runner, VariantChoice } from './runner.ts'
import { compilePattern, Subject, type Source } from './subject.ts'
import { webgpuRunner } from './webgpu.ts'

/** A device that the caller opened; checks do not close it. */
export interface CheckDevice {
  readonly device: GPUDevice
}

export interface CheckOptions extends Source {
  /** Random calls; 100 by default. */
  readonly runs?: number
  /** The first run's seed; run n has seed + n, so any run can be repeated alone. By default another one each time. */
  readonly seed?: number
  /** By default the adapter that openDevice() finds: a GPU, else a software adapter. */
  readonly adapter?: CheckDevice
  /** Where kernels run instead: `cudaRunner(driver)` for CUDA's; the caller's to close. */
  readonly runner?: Runner
  /** By default runs of both that the runner has: f32 and f16 in WGSL, bf16 and f16 in CUDA. */
  readonly dtype?: StorageDtype
  /** Capabilities of the target to build, in order of preference; by default those that `heddle build` takes. */
  readonly capabilities?: readonly CapabilityName[]
  /** Called after each run. */
  readonly onRun?: (done: number, runs: number) => void
}

export interface CounterExample {
  /** Of the run that found it: `checkPattern(pattern, { seed, runs: 1 })` finds it again. */
  readonly seed: number
  /** The simplest call that still differs. */
  readonly call: AttentionCase
  /** What differs, or what went wrong. */
  readonly difference: string
  /** The call and the difference, to be printed. */
  readonly text: string
}

export interface CheckResult {
  readonly pattern: string
  readonly target: Runner['target']
  readonly runs: number
  readonly failures: number
  /** The greatest error of a kernel as a part of the error allowed to it; above 1 is a failure. */
  readonly maxErrorRatio: number
  /** Of a program: rows that were left out, since a rounding decides what they choose. */
  readonly undecidedRows: number
  readonly seed: number
  readonly counterExample?: CounterExample
}

const SHRINKING = { attempts: 300 } as const

/** Runs the check and reports; a pattern that differs is no exception here. */
export async function examinePattern(pattern: Pattern, options: CheckOptions = {}): Promise<CheckResult> {
  const { runs = 100, seed = Math.floor(Math.random() * 2 ** 31) } = options
  if (!Number.isInteger(runs) || runs < 1) throw new CheckError('runs', { got: runs })
  if (!Number.isSafeInteger(seed)) throw new CheckError('seed', { got: seed })
  const compiled = compilePattern(pattern, options)
  const opened = (options.runner ?? options.adapter) ? null : await openDevice()
  const runner = options.runner ?? webgpuRunner((options.adapter ?? opened!).device, options.capabilities)
  const subject = new Subject(compiled, runner)
  const asBuilt = { ...pattern, consts: { ...pattern.consts, ...options.consts } }
  try {
    return await examine(subject, runner, asBuilt, { ...options, runs, seed })
  } finally {
    subject.release()
    opened?.close()
  }
}

/**
 * Compares a pattern's kernel with attention in f64 under the same pattern run as TypeScript, on random lengths,
 * heads, layouts, params, tables and rows. Of a pattern with a `forward` calls are as long as several of its consts, up to 600
 * tokens: small consts show more. Rejects with the simplest call that differs, so one line is a test:
 *
 * @example await checkPattern(mine, { file: new URL('./mine.ts', import.meta.url) })
 * @throws CheckError `check-failed`, `refuses`, `no-source`, `not-in-file`, `not-compiled`, `runs`, `seed`
 */
export async function checkPattern(pattern: Pattern, options: CheckOptions = {}): Promise<CheckResult> {
  const result = await examinePattern(pattern, options)
  const { failures, runs, seed, counterExample } = result
  if (counterExample) {
    throw new CheckError('check-failed', {
      pattern: pattern.name,
      failures,
      runs,
      seed,
      example: counterExample.text,
    })
  }
  return result
}

type Settled = CheckOptions & { readonly runs: number; readonly seed: number }

async function examine(
  subject: Subject,
  { target, choose }: Runner,
  pattern: Pattern,
  { runs, seed, dtype, onRun }: Settled,
): Promise<CheckResult> {
  let failures = 0
  let maxErrorRatio = 0
  let undecidedRows = 0
  let counterExample: CounterExample | undefined
  for (let run = 0; run < runs; run++) {
    const built = await subject.build(choiceFor(pattern, choose(seed + run, dtype)))
    const generate = (d: Draw) => drawCase(d, pattern, built.variant)
    const found = drawSeeded(generate, seed + run)
    const outcome = await runCase(built, pattern, found.value)
    if (outcome.refused) {
      const { call, difference } = await simplest(built, pattern, seed + run, generate, found, outcome)
      throw new CheckError('refuses', {
        pattern: pattern.name,
        seed: seed + run,
        call: describeCase(call),
        why: difference,
      })
    }
    undecidedRows += outcome.undecided
    if (Number.isFinite(outcome.ratio)) maxErrorRatio = Math.max(maxErrorRatio, outcome.ratio)
    if (outcome.difference !== null) {
      failures++
      maxErrorRatio = Math.max(maxErrorRatio, outcome.ratio)
      counterExample ??= await simplest(built, pattern, seed + run, generate, found, outcome)
    }
    onRun?.(run + 1, runs)
  }
  const result = { pattern: pattern.name, target, runs, failures, maxErrorRatio, undecidedRows, seed }
  return counterExample ? { ...result, counterExample } : result
}

/** A program may give keys and values to one map, so they are as wide as each other. */
const choiceFor = ({ forward }: Pattern, choice: VariantChoice): VariantChoice =>
  forward ? { ...choice, valueDim: choice.headDim } : choice

async function simplest(
  built: Built,
  pattern: Pattern,
  seed: number,
  generate: Generator<AttentionCase>,
  found: Drawn<AttentionCase>,
  { refused }: Outcome,
): Promise<CounterExample> {
  const differs = async (c: AttentionCase) => {
    const outcome = await runCase(built, pattern, c)
    return outcome.difference !== null && outcome.refused === refused
  }
  const { value: call } = await shrink(generate, found, differs, SHRINKING.attempts)
  const { difference } = await runCase(built, pattern, call)
  const said = difference ?? 'differs in some runs and not in others'
  return {
    seed,
    call,
    difference: said,
    text: `${describeCase(call)}\n${said} (variant ${built.variant.id})\nrepeat it with seed ${seed} and runs 1`,
  }
}

export interface Outcome extends Judgement {
  /** The pattern itself, run as TypeScript, does not take the call: no kernel was asked. */
  readonly refused: boolean
}

const unanswered = (refused: boolean, difference: string): Outcome => ({
  ratio: Infinity,
  difference,
  undecided: 0,
  refused,
})

/** One call through the oracle and the kernel; what the runtime refuses of a valid call is a difference too. */
export async function runCase(built: Built, pattern: Pattern, c: AttentionCase): Promise<Outcome> {
  const { q, k, v, rows } = tensorsOf(c)
  const call = {
    q,
    k,
    v,
    params: c.params,
    tables: c.tables,
    layout: c.layout,
    ...(c.scale === undefined ? {} : { scale: c.scale }),
    ...(c.lengths === undefined ? {} : { lengths: c.lengths }),
    ...(pattern.forward ? { rows } : {}),
  }
  let oracle: ReferenceResult
  try {
    oracle = reference(pattern, call)
  } catch (error) {
    return unanswered(true, error instanceof Error ? error.message : String(error))
  }
  try {
    const got = await built.answer(call)
    const plain = built.plain(pattern, call)
    if (pattern.forward) return { ...judge(pattern, call, got, oracle, plain), refused: false }
    return { ...compareWithOracle(pattern, call, got, oracle, plain), undecided: 0, refused: false }
  } catch (error) {
    const said = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return unanswered(false, `the call was not answered: ${said}`)
  }
}

/** Patterns with a `forward` on CUDA at lengths of use in; time of the whole, of each kernel by itself, and dense causal's, out. */

import type { CudaArtifact } from '../codegen/cuda/manifest.ts'
import { loadCudaKernel, type Address, type CudaDriver, type CudaKernel } from '../runtime/cuda.ts'
import type { DeviceRows } from '../runtime/cuda/stages.ts'
import { rowsShape } from '../runtime/stage-sizes.ts'
import { countOf, tableSizes } from '../runtime/tables.ts'
import type { Shape } from '../runtime/tensor.ts'
import { DeviceMemory } from './device-memory.ts'
import { tooLong } from './growth.ts'
import { keptShare } from './kept.ts'
import { median, type Row } from './results.ts'
import { DENSE_LENGTHS, TIMED_SETTINGS, type TimedSetting } from './selection-settings.ts'
import { described, traced, type KernelTime, type Traced } from './traced.ts'

export interface SelectionTimePlan {
  /** By pattern; of others, and of dense attention, those of `lengths`. */
  readonly settings: Readonly<Record<string, readonly TimedSetting[]>>
  readonly lengths: readonly number[]
  /** The least length that rows are of, unless all are shorter. */
  readonly shown: number
  readonly heads: { readonly qHeads: number; readonly kvHeads: number }
  readonly headDim: number
  readonly indexer: { readonly heads: number; readonly channels: number }
  readonly limits: { readonly kernelMs: number; readonly wholeMs: number }
  /** Of one case: timed runs, and milliseconds after which no other is begun. */
  readonly runs: number
  readonly budgetMs: number
  /** Stages run by their texts for every device. */
  readonly plain: boolean
  /** A word in the pattern's name. */
  readonly only: string
  readonly minutes: number
}

export const SELECTION_TIMES: SelectionTimePlan = {
  settings: TIMED_SETTINGS,
  lengths: DENSE_LENGTHS,
  shown: 8192,
  heads: { qHeads: 32, kvHeads: 8 },
  headDim: 128,
  // DeepSeek-V3.2's indexer.
  indexer: { heads: 64, channels: 128 },
  limits: { kernelMs: 2000, wholeMs: 6000 },
  runs: 9,
  budgetMs: 1500,
  plain: false,
  only: '',
  minutes: Infinity,
}

const WARM_UP = 3
const DENSE = 'causal'

interface Timing {
  readonly ms: number
  readonly kernels: readonly KernelTime[]
  /** Of the pairs that the mask keeps; null: it is not known. */
  readonly kept: number | null
}

/** One length on one artefact; memory lives no longer than that. */
async function timed(
  { driver, trace, lists }: Traced,
  kernel: CudaKernel,
  setting: TimedSetting,
  kvLen: number,
  plan: SelectionTimePlan,
): Promise<Timing> {
  const { artifact } = kernel
  const { headDim, indexer } = plan
  const { qHeads, kvHeads } = setting.heads ?? plan.heads
  const qLen = setting.decodes ? 1 : kvLen
  const memory = new DeviceMemory(driver)
  try {
    const halves = (shape: Shape, seed: number) => ({
      address: seed === 0 ? memory.blank(2 * countOf(shape)) : memory.bell16(countOf(shape), seed),
      shape,
      dtype: 'bf16' as const,
    })
    const sizes = { batch: 1, qHeads, kvHeads, qRows: qLen, kvRows: kvLen, headDim, valueDim: headDim }
    const rows = artifact.stages?.rows.map((info, i): [string, DeviceRows] => {
      const shape = rowsShape(info, sizes, indexer.heads, indexer.channels)
      return [info.name, { address: memory.bell32(countOf(shape), 1, 11 + i), shape }]
    })
    const tables = artifact.tables.map((info, i): [string, Address] => {
      const count = countOf(tableSizes(info, { ...sizes, indexHeads: indexer.heads }))
      return [info.name, memory.bell32(count, 1 / 64, 21 + i)]
    })
    const prepared = await kernel.prepare({
      q: halves([1, qHeads, qLen, headDim], 1),
      k: halves([1, kvHeads, kvLen, headDim], 2),
      v: halves([1, kvHeads, kvLen, headDim], 3),
      out: halves([1, qHeads, qLen, headDim], 0),
      lse: memory.blank(4 * qHeads * qLen),
      params: setting.params,
      tables: Object.fromEntries(tables),
      ...(rows && rows.length > 0 ? { rows: Object.fromEntries(rows) } : {}),
    })
    const began = performance.now()
    const goes = () => performance.now() - began < plan.budgetMs
    for (let i = 0; i < WARM_UP && (i === 0 || goes()); i++) prepared.run()
    driver.synchronize()
    const kernels = trace(() => prepared.run())
    const events = [driver.createEvent(), driver.createEvent()] as const
    const times: number[] = []
    while (times.length < plan.runs && (times.length === 0 || goes())) {
      events[0].record()
      prepared.run()
      events[1].record()
      times.push(driver.elapsed(...events))
    }
    for (const event of events) event.release()
    const walked = fasterOf(artifact).find((f) => lists.has(f.variant.hash))
    const block = walked && lists.get(walked.variant.hash)!
    const kept =
      walked && qLen === kvLen
        ? keptShare(driver, artifact, { block: block!, faster: walked, heads: qHeads, length: kvLen })
        : null
    return { ms: median(times), kernels, kept }
  } finally {
    memory.free()
  }
}

/** Dense attention is of the setting's lengths too. */
const withAll = (plan: SelectionTimePlan, { lengths }: TimedSetting): readonly number[] =>
  [...new Set([...plan.lengths, ...lengths])].toSorted((a, b) => a - b)

const lengthOf = (n: number): string => (n % 1024 === 0 ? `${n / 1024}k` : String(n))
const fasterOf = ({ stages }: CudaArtifact) =>
  (stages?.variants ?? []).flatMap((v) =>
    v.steps.flatMap((step) => (step.kind === 'once' ? [step.kernel] : step.kernels)).flatMap((k) => k.faster),
  )

/** @param tell is told each length as it is measured; `keep` has the rows so far, so that a run that is cut off leaves them */
export async function timeSelections(
  driver: CudaDriver,
  artifacts: Readonly<Record<string, CudaArtifact>>,
  plan: SelectionTimePlan = SELECTION_TIMES,
  tell: (text: string) => void = () => {},
  keep: (rows: readonly Row[]) => void = () => {},
): Promise<Row[]> {
  const end = performance.now() + 60_000 * plan.minutes
  const own: TimedSetting = { about: '', params: {}, lengths: plan.lengths }
  const rows: Row[] = []
  /** Dense attention of the run, by the heads, rows and length. */
  const dense = new Map<string, number>()
  const timeAll = async (name: string, setting: TimedSetting): Promise<void> => {
    const { heads = plan.heads, decodes = false } = setting
    const key = (length: number) => JSON.stringify([heads, decodes, length])
    const about = (length: number) =>
      [name, `N ${lengthOf(length)}`, ...(setting.about === '' ? [] : [setting.about])].join(', ')
    const run = async (of: Traced, kernel: CudaKernel, length: number): Promise<Timing> => {
      const timing = await timed(of, kernel, setting, length, plan)
      const kept = timing.kept === null ? '' : ` (${(100 * timing.kept).toFixed(1)} % kept)`
      tell(`${about(length)}${kept}: ${timing.ms.toPrecision(4)} ms; ${described(timing.kernels)}`)
      return timing
    }
    const { timings, ended } = await timedLengths(driver, artifacts[name]!, setting, plan, end, run)
    if (ended !== null) tell(`${name}: ${ended}`)
    if (name === DENSE) for (const { length, ms } of timings) dense.set(key(length), ms)
    const shown = timings.filter(({ length }, i) => length >= plan.shown || i === timings.length - 1)
    rows.push(
      ...shown.map((timing, i) => {
        const peer = name === DENSE ? undefined : dense.get(key(timing.length))
        return rowOf(about(timing.length), plan, timing, peer, i === shown.length - 1 ? ended : null)
      }),
    )
    if (shown.length === 0 && performance.now() < end) rows.push(failedRow(name, plan, ended!))
    keep(rows)
  }
  const peers = new Set<string>()
  for (const name of Object.keys(artifacts).filter((n) => n !== DENSE && n.includes(plan.only)))
    for (const setting of plan.settings[name] ?? [own]) {
      const { heads, decodes } = setting
      const peer = JSON.stringify([heads ?? plan.heads, decodes ?? false])
      const words = [
        ...(heads ? [`${heads.qHeads}/${heads.kvHeads} heads`] : []),
        ...(decodes ? ['one query row'] : []),
      ]
      if (!peers.has(peer))
        await timeAll(DENSE, {
          ...setting,
          about: words.join(', '),
          params: {},
          lengths: withAll(plan, setting),
        })
      peers.add(peer)
      await timeAll(name, setting)
    }
  return rows
}

type LengthTiming = Timing & { readonly length: number }

/** Length after length, until one would take too long, fails, or there is no time: then `ended` says why. */
async function timedLengths(
  driver: CudaDriver,
  artifact: CudaArtifact,
  { lengths }: TimedSetting,
  { limits, plain }: SelectionTimePlan,
  end: number,
  run: (of: Traced, kernel: CudaKernel, length: number) => Promise<Timing>,
): Promise<{ timings: LengthTiming[]; ended: string | null }> {
  const of = traced(driver)
  const kernel = loadCudaKernel(artifact, of.driver, { plain })
  const timings: LengthTiming[] = []
  let ended: string | null = null
  try {
    for (const length of lengths) {
      ended =
        performance.now() < end
          ? tooLong(timings, length, limits)
          : `N ${length} is not run: no time was left`
      if (ended !== null) break
      timings.push({ length, ...(await run(of, kernel, length)) })
    }
  } catch (error) {
    ended = error instanceof Error ? error.message : String(error)
  }
  kernel.release()
  return { timings, ended }
}

function rowOf(
  about: string,
  { headDim }: SelectionTimePlan,
  { ms, kernels, kept }: Timing,
  dense: number | undefined,
  note: string | null,
): Row {
  return {
    case: about,
    target: `cuda d${headDim}-bf16`,
    ours: { ms },
    ...(dense === undefined ? {} : { peer: { name: 'dense causal, ours', ms: dense }, ratio: dense / ms }),
    more: {
      ...(kept === null ? {} : { 'kept %': Number((100 * kept).toPrecision(3)) }),
      'sum of kernels ms': kernels.reduce((sum, k) => sum + k.ms, 0),
      'kernels alone, ms': described(kernels),
    },
    ...(note === null ? {} : { note }),
  }
}

const failedRow = (name: string, { headDim }: SelectionTimePlan, note: string): Row => ({
  case: name,
  target: `cuda d${headDim}-bf16`,
  ours: { ms: 0 },
  limit: 'runs',
  ok: false,
  note,
})

/** Units of patterns with a `forward` and a device of either kind in; random calls against the oracle, and a suite's rows, out. */

import type { Artifact } from '../codegen/artifact.ts'
import type { CudaArtifact } from '../codegen/cuda/manifest.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver } from '../runtime/cuda.ts'
import { attention, loadKernel } from '../runtime/index.ts'
import type { KernelResult } from '../runtime/testing/compare.ts'
import { powersOf, unmetNeed } from '../runtime/variant.ts'
import { groupsOf } from './check-cuda.ts'
import { isFatal, type UnitReport } from './check-cuda-cases.ts'
import type { Row } from './results.ts'
import {
  attempt,
  attemptSets,
  hasOneSet,
  type AnyUnit,
  type SelectionCall,
  type SelectionUnit,
} from './selection-cases.ts'

export interface Counts {
  /** Random calls of each kernel, and calls that ask for exact sets of keys. */
  readonly cases: number
  readonly sets: number
  readonly seed: number
}

const MOST_TOLD = 3
const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** @param goes whether there is time for another call */
async function checked(
  unit: AnyUnit,
  { cases, sets, seed }: Counts,
  answer: (call: SelectionCall) => Promise<KernelResult>,
  goes: () => boolean = () => true,
): Promise<UnitReport> {
  const began = performance.now()
  const failures: string[] = []
  let [ran, asked, worst, undecided, dead] = [0, 0, 0, 0, false]
  /** False where the device is lost to the unit. */
  const run = async (what: string, make: () => ReturnType<typeof attempt>): Promise<boolean> => {
    try {
      const { ratio, difference, about, undecided: rows } = await make()
      undecided += rows
      if (Number.isFinite(ratio)) worst = Math.max(worst, ratio)
      if (difference !== null) failures.push(`${what}: ${difference}; ${about}`)
    } catch (error) {
      failures.push(`${unit.pattern} ${unit.grain} ${unit.dtype}, ${what}: ${textOf(error)}`)
      dead = isFatal(error)
    }
    return !dead && goes()
  }
  let alive = goes()
  while (alive && ran < cases) {
    const own = seed + ran++
    alive = await run(`seed ${own}`, () => attempt(unit, own, answer))
  }
  while (alive && hasOneSet(unit) && asked < sets) {
    const own = seed + asked++
    alive = await run(`sets, seed ${own}`, () => attemptSets(unit, own, answer))
  }
  const more = failures.length - MOST_TOLD
  return {
    ...{ cases: ran, sets: asked, extra: 0, worst, undecided, dead, loadMs: 0 },
    failures: [...failures.slice(0, MOST_TOLD), ...(more > 0 ? [`and ${more} more`] : [])],
    ms: performance.now() - began,
  }
}

export async function checkCudaSelection(
  driver: CudaDriver,
  unit: SelectionUnit<CudaArtifact>,
  counts: Counts,
): Promise<UnitReport> {
  const kernel = loadCudaKernel(unit.artifact, driver)
  const report = await checked(unit, counts, (call) => cudaAttention(kernel, call))
  if (!report.dead) kernel.release()
  return report
}

/** Every kernel of the unit that the device runs. */
export async function checkGpuSelection(
  device: GPUDevice,
  unit: SelectionUnit<Artifact>,
  counts: Counts,
  goes: () => boolean = () => true,
): Promise<UnitReport[]> {
  const kernel = loadKernel(unit.artifact, device)
  const variants = unit.artifact.stages!.variants.filter((v) => unmetNeed(v, powersOf(device)) === null)
  const reports: UnitReport[] = []
  for (const { id } of variants) {
    if (!goes()) break
    reports.push(await checked(unit, counts, (call) => attention(kernel, { ...call, variant: id }), goes))
  }
  kernel.release()
  return reports
}

/** A row for each pattern and type. */
export function selectionRows(
  target: 'wgsl' | 'cuda',
  units: readonly (AnyUnit & { readonly artifact: Artifact | CudaArtifact })[],
  reports: readonly (UnitReport | null)[],
  seed: number,
): Row[] {
  return groupsOf(units, reports, (unit) => `${unit.pattern} ${unit.dtype}`).map((group) => {
    const sum = (f: (r: UnitReport) => number) => group.reduce((total, { report }) => total + f(report), 0)
    const failures = group.flatMap(({ report }) => report.failures)
    const { pattern, dtype } = group[0]!.unit
    return {
      case: `${pattern} ${dtype}`,
      target: `${target} ${[...new Set(group.map(({ unit }) => `${unit.grain} d${unit.headDim}`))].join(', ')}`,
      ours: { ms: sum((r) => r.ms) },
      limit: 'no failure',
      ok: failures.length === 0 && sum((r) => r.cases) > 0,
      more: {
        runs: sum((r) => r.cases),
        sets: sum((r) => r.sets),
        failures: failures.length,
        'error ratio': Math.max(...group.map(({ report }) => report.worst)),
        'undecided rows': sum((r) => r.undecided ?? 0),
        seed,
      },
      ...(failures.length > 0 ? { note: failures.slice(0, 4).join('\n') } : {}),
    }
  })
}

export interface GpuCheckPlan extends Counts {
  /** A word in the pattern's name and type. */
  readonly only: string
  readonly minutes: number
}

export const GPU_CHECK: GpuCheckPlan = { cases: 14, sets: 2, seed: 0, only: '', minutes: Infinity }

export async function checkGpuSelections(
  device: GPUDevice,
  all: readonly SelectionUnit<Artifact>[],
  plan: GpuCheckPlan = GPU_CHECK,
): Promise<Row[]> {
  const end = performance.now() + 60_000 * plan.minutes
  const goes = () => performance.now() < end
  const done: { readonly unit: SelectionUnit<Artifact>; readonly report: UnitReport }[] = []
  for (const unit of all.filter((u) => `${u.pattern} ${u.dtype}`.includes(plan.only))) {
    if (!goes()) break
    for (const report of await checkGpuSelection(device, unit, plan, goes)) done.push({ unit, report })
  }
  return selectionRows(
    'wgsl',
    done.map((d) => d.unit),
    done.map((d) => d.report),
    plan.seed,
  )
}

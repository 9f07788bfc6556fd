/**
 * Units of random calls in (every pattern through every CUDA skeleton, thousands of them against the pattern run in f64),
 * rows of a suite out. Processes share the GPU, each with a compiler of its own; one whose kernel faults or hangs is replaced.
 */

import { fork, type ChildProcess } from 'node:child_process'
import { availableParallelism } from 'node:os'
import type { CudaDriver } from '../runtime/cuda.ts'
import { PATTERNS } from '../patterns/index.ts'
import { checkUnit, type UnitReport } from './check-cuda-cases.ts'
import type { Unit } from './check-cuda-units.ts'
import type { Row } from './results.ts'

export interface CheckPlan {
  /** Random calls of each unit, and calls that ask for exact sets of keys. */
  readonly cases: number
  readonly sets: number
  readonly workers: number
  /** Milliseconds that one unit may take. */
  readonly patience: number
  /** No unit is begun after so many. */
  readonly minutes: number
}

export const DEFAULT_PLAN: CheckPlan = {
  cases: 16,
  sets: 2,
  workers: Math.max(1, availableParallelism() - 1),
  patience: 150_000,
  minutes: Infinity,
}

interface Task {
  readonly index: number
  readonly cases: number
  readonly sets: number
}

type Answer = { readonly ready: true } | { readonly index: number; readonly report: UnitReport }

const lost = (detail: string): UnitReport => ({
  ...{ cases: 0, sets: 0, extra: 0, worst: 0, loadMs: 0, ms: 0, dead: true },
  failures: [detail],
})

/**
 * @param script what a worker process runs; it calls serve()
 * @returns for each unit its report, or null where there was no time for it
 */
export async function checkCuda(
  units: readonly { readonly extra: readonly unknown[] }[],
  script: string,
  args: readonly string[],
  plan: CheckPlan,
  progress: (done: number, failures: readonly string[]) => void,
): Promise<(UnitReport | null)[]> {
  const reports = Array.from<UnitReport | null>({ length: units.length }).fill(null)
  const end = performance.now() + 60_000 * plan.minutes
  // The longest first: those with calls beyond the random ones.
  const order = units.map((_, i) => i).toSorted((a, b) => units[b]!.extra.length - units[a]!.extra.length)
  let [next, done] = [0, 0]
  const more = (): boolean => next < order.length && performance.now() < end
  const work = async (): Promise<void> => {
    while (more()) {
      // One process for as many units as it lives for.
      await withWorker(script, args, async (ask) => {
        while (more()) {
          const index = order[next++]!
          const report = await ask({ index, cases: plan.cases, sets: plan.sets }, plan.patience)
          reports[index] = report
          progress(++done, report.failures)
          if (report.dead) return
        }
      })
    }
  }
  await Promise.all(Array.from({ length: Math.min(plan.workers, units.length) }, work))
  return reports
}

type Ask = (task: Task, patience: number) => Promise<UnitReport>

async function withWorker(
  script: string,
  args: readonly string[],
  use: (ask: Ask) => Promise<void>,
): Promise<void> {
  const child = fork(script, [...args, '--worker'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  try {
    await use((task, patience) => answerOf(child, task, patience))
  } finally {
    child.kill('SIGKILL')
  }
}

const answerOf = (child: ChildProcess, task: Task, patience: number): Promise<UnitReport> =>
  new Promise((resolve) => {
    const settle = (report: UnitReport): void => {
      clearTimeout(timer)
      child.off('message', onMessage)
      child.off('exit', onExit)
      resolve(report)
    }
    const onMessage = (answer: Answer): void => {
      if ('ready' in answer) child.send(task)
      else if (answer.index === task.index) settle(answer.report)
    }
    const onExit = (code: number | null, signal: string | null): void =>
      settle(lost(`the process ended with ${code ?? signal}`))
    const timer = setTimeout(() => settle(lost(`no answer in ${patience / 1000} s`)), patience)
    child.on('message', onMessage)
    child.on('exit', onExit)
    // A process that just started asks for its first task; one that has answered before takes the next at once.
    if (started.has(child)) child.send(task)
    started.add(child)
  })

const started = new WeakSet<ChildProcess>()

/** The other side: answers tasks until its parent ends it. */
export function serve<U>(
  units: readonly U[],
  check: (
    unit: U,
    counts: { readonly cases: number; readonly sets: number; readonly seed: number },
  ) => Promise<UnitReport>,
): void {
  process.on('message', async ({ index, cases, sets }: Task) => {
    const report = await check(units[index]!, { cases, sets, seed: 1000 * index })
    process.send!({ index, report } satisfies Answer)
  })
  process.send!({ ready: true } satisfies Answer)
}

export const serveUnits = (units: readonly Unit[], driver: CudaDriver): void =>
  serve(units, (unit, counts) => {
    const { pattern } = PATTERNS.find((p) => p.pattern.name === unit.pattern)!
    return checkUnit(driver, pattern, unit, counts)
  })

/** A row for each pattern and skeleton. */
export function rowsOf(units: readonly Unit[], reports: readonly (UnitReport | null)[]): Row[] {
  return groupsOf(units, reports, (unit) => `${unit.pattern} ${unit.skeleton}`).map((group) => {
    const sum = (f: (r: UnitReport) => number) => group.reduce((total, { report }) => total + f(report), 0)
    const failures = group.flatMap(({ report }) => report.failures)
    return {
      case: group[0]!.unit.pattern,
      target: `cuda ${group[0]!.unit.skeleton}`,
      ours: { ms: sum((r) => r.ms) },
      limit: 'no failure',
      ok: failures.length === 0,
      more: {
        runs: sum((r) => r.cases),
        sets: sum((r) => r.sets),
        'long or far': sum((r) => r.extra),
        failures: failures.length,
        'error ratio': Math.max(...group.map(({ report }) => report.worst)),
        variants: group.map(({ unit }) => unit.artifact.variants[0]!.id).join(' '),
        'compile ms': sum((r) => r.loadMs),
      },
      ...(failures.length > 0 ? { note: failures.slice(0, 4).join('\n') } : {}),
    }
  })
}

/** Units that were checked, by what they have in common. */
export function groupsOf<U>(
  units: readonly U[],
  reports: readonly (UnitReport | null)[],
  keyOf: (unit: U) => string,
): { readonly unit: U; readonly report: UnitReport }[][] {
  const groups = new Map<string, { readonly unit: U; readonly report: UnitReport }[]>()
  units.forEach((unit, i) => {
    const report = reports[i]
    if (report) groups.set(keyOf(unit), [...(groups.get(keyOf(unit)) ?? []), { unit, report }])
  })
  return [...groups.values()]
}

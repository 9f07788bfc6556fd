/** Patterns that choose key blocks on WebGPU, sparser and sparser, in; time against dense causal beside tiles against dense out. */

import type { Artifact } from '../codegen/artifact.ts'
import { loadKernel, type Kernel } from '../runtime/index.ts'
import { GpuCall } from './gpu-call.ts'
import { tooLong, type Measured } from './growth.ts'
import { median, type Row } from './results.ts'
import { described, type KernelTime } from './traced.ts'

export interface GpuSelectionPlan {
  /** Rising; rows are of those from `shown` on. */
  readonly lengths: readonly number[]
  readonly shown: number
  readonly heads: { readonly qHeads: number; readonly kvHeads: number }
  readonly headDim: number
  readonly runs: number
  readonly limits: { readonly kernelMs: number; readonly wholeMs: number }
  /** A word in a case's name. */
  readonly only: string
  readonly minutes: number
}

export const GPU_SELECTIONS: GpuSelectionPlan = {
  lengths: [1024, 4096, 8192, 32768],
  shown: 8192,
  heads: { qHeads: 32, kvHeads: 8 },
  headDim: 128,
  runs: 5,
  limits: { kernelMs: 4000, wholeMs: 4000 },
  only: '',
  minutes: Infinity,
}

interface Case {
  readonly name: string
  readonly pattern: string
  readonly params: Readonly<Record<string, number>>
  /** Tokens of the blocks that `visited` counts. */
  readonly block: number
  /** Blocks of keys that a query block attends, whatever the data; by its number. */
  readonly visited: (row: number) => number
}

/** AnchorAttention's own consts: the first block and the group of 16 blocks. */
const GROUP = 2048 / 128

/** What is chosen hangs on the data; how much is not, in these. */
const CASES: readonly Case[] = [
  ...[1000, 100, 16].map((k) => ({
    name: `minference-block, k ${k}`,
    pattern: 'minference-block',
    params: { k },
    block: 64,
    visited: (row: number) => Math.min(row + 1, k),
  })),
  {
    name: 'anchor, theta 1000: every key',
    pattern: 'anchor',
    params: { theta: 1000 },
    block: 128,
    visited: (row) => row + 1,
  },
  {
    name: 'anchor, theta -1000: no stripe',
    pattern: 'anchor',
    params: { theta: -1000 },
    block: 128,
    visited: (row) => (row % GROUP) + 1 + (row >= GROUP ? 1 : 0),
  },
]

export async function gpuSelections(
  device: GPUDevice,
  artifacts: Readonly<Record<string, Artifact>>,
  plan: GpuSelectionPlan = GPU_SELECTIONS,
  tell: (text: string) => void = () => {},
): Promise<Row[]> {
  const end = performance.now() + 60_000 * plan.minutes
  const dense = new Map<number, number>()
  const rows: Row[] = []
  const causal: Case = { name: 'causal', pattern: 'causal', params: {}, block: 64, visited: (row) => row + 1 }
  for (const c of [causal, ...CASES.filter(({ name }) => name.includes(plan.only))]) {
    const kernel = loadKernel(artifacts[c.pattern]!, device)
    const measured: Measured[] = []
    let ended: string | null = null
    const own: Row[] = []
    for (const length of plan.lengths) {
      ended =
        performance.now() < end
          ? tooLong(measured, length, plan.limits)
          : `N ${length} is not run: no time was left`
      if (ended !== null) break
      const timing = await time(kernel, c, length, plan)
      const { ms, variant } = timing
      tell(`${c.name}, N ${length}: ${ms.toPrecision(4)} ms, ${variant}; ${described(timing.kernels)}`)
      measured.push({ length, kernels: [{ name: c.name, ms, launches: 1 }] })
      if (c === causal) dense.set(length, ms)
      if (length >= plan.shown) own.push(rowOf(c, length, timing, dense.get(length)))
    }
    const last = own.pop()
    rows.push(...own)
    if (last) rows.push(ended === null ? last : { ...last, note: ended })
    kernel.release()
  }
  return rows
}

interface Timing {
  readonly ms: number
  readonly variant: string
  readonly kernels: readonly KernelTime[]
}

/** The whole program by the device's clock; the first runs raise the clock. */
async function time(
  kernel: Kernel,
  { params }: Case,
  length: number,
  { heads, headDim, runs }: GpuSelectionPlan,
): Promise<Timing> {
  await kernel.prepare({ headDim, valueDim: headDim, dtype: 'f16' })
  using call = new GpuCall(kernel, params, { ...heads, length, headDim })
  const times: number[] = []
  let variant = ''
  for (let i = 0; i < runs + 2; i++) {
    const got = await call.run()
    times.push(got.ms)
    variant = got.variant
  }
  return { ms: median(times.slice(2)), variant, kernels: await call.kernels() }
}

function rowOf(c: Case, length: number, { ms, variant, kernels }: Timing, dense: number | undefined): Row {
  const rows = Math.ceil(length / c.block)
  const sum = (of: (row: number) => number) =>
    Array.from({ length: rows }, (_, row) => of(row)).reduce((a, b) => a + b, 0)
  const share = sum((row) => c.visited(row)) / sum((row) => row + 1)
  const beside = dense !== undefined && c.pattern !== 'causal'
  return {
    case: `${c.name}, N ${length}`,
    target: `wgsl ${variant}`,
    ours: { ms },
    ...(beside ? { peer: { name: 'dense causal, ours', ms: dense }, ratio: dense / ms } : {}),
    more: {
      'blocks of the causal ones': share,
      ...(beside ? { 'time / causal': ms / dense } : {}),
      'kernels alone, ms': described(kernels),
    },
  }
}

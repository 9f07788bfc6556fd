/** emitStages(): the plan of a `forward` program in; for one pair of head dims, a type and a capability its kernels out. */

import { substitute, type Expr } from '../../compiler/ir.ts'
import type { StageBuffer, StageKernel, StagePlan } from '../../compiler/stages/plan.ts'
import { setOf } from '../../compiler/stages/typing.ts'
import {
  LIST_HEADER,
  stateVectors,
  type JsonExpr,
  type StageAttend,
  type StageModule,
  type StageStep,
  type StageVariant,
  type StoredValue,
} from '../artifact.ts'
import { jsonOf } from '../record.ts'
import { attendKernel } from './attend.ts'
import { stageModule, type StagesOptions } from './module.ts'
import { Unsupported } from './units.ts'

/** @throws Unsupported for what no kernel computes yet, in words */
export function emitStages(options: StagesOptions): StageVariant | null {
  const { plan } = options
  const attends: StageAttend[] = []
  const one = (kernel: StageKernel): StageModule | StageAttend | null => {
    if (kernel.keep) throw new Unsupported('a value that is kept from call to call')
    const when = kernel.when === null ? {} : { when: jsonOf(kernel.when) }
    if (kernel.kind !== 'attend') return { ...stageModule(options, kernel), ...when }
    const made = attendKernel(options, kernel)
    if (made) attends.push(made)
    return made && { ...made, ...when }
  }
  const steps: StageStep[] = []
  for (const step of plan.steps) {
    if (step.kind === 'once') {
      const kernel = one(step.kernel)
      if (kernel === null) return null
      steps.push({ kind: 'once', kernel })
      continue
    }
    const kernels = step.kernels.map(one)
    if (kernels.some((k) => k === null)) return null
    steps.push({
      kind: 'chunks',
      rows: jsonOf(step.rows),
      count: jsonOf(step.count),
      units: jsonOf(options.sizes.units(step.axis)),
      kernels: kernels as (StageModule | StageAttend)[],
    })
  }
  const [first] = attends
  if (!first) throw new Unsupported('a program without attention')
  const { headDim, valueDim, dtype, align } = first.variant
  const limits = attends.flatMap((a) => [a, ...(a.forms ?? [])].map((f) => f.variant.capability.limits))
  const most = (pick: (l: (typeof limits)[number]) => number, least: number) =>
    Math.max(least, ...limits.map(pick))
  const modules = steps
    .flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
    .filter((k) => k.kind === 'stage')
  const texts = modules.flatMap((m) => [m, ...(m.forms ?? [])])
  const threads = texts.map((m) => m.workgroup)
  return {
    id: first.variant.id,
    headDim,
    valueDim,
    dtype,
    align,
    workgroup: Math.max(...threads, ...attends.map((a) => a.variant.workgroup)),
    capability: {
      ...first.variant.capability,
      limits: {
        workgroupBytes: most((l) => l.workgroupBytes, Math.max(0, ...texts.map((m) => m.sharedBytes))),
        invocations: most((l) => l.invocations, Math.max(0, ...threads)),
        storageBuffers: most(
          (l) => l.storageBuffers,
          Math.max(0, ...modules.map((m) => m.bindings.length - 1)),
        ),
      },
    },
    stored: plan.buffers
      .filter((b) => b.holds !== 'counts')
      .map((b) => storedValue(options, b, chunkRows(plan, b))),
    steps,
  }
}

/** Rows of the chunks that a buffer serves; null: it is there for the whole call. */
const chunkRows = (plan: StagePlan, buffer: StageBuffer): Expr | null =>
  plan.steps.flatMap((s) =>
    s.kind === 'chunks' && s.kernels.some((k) => k.writes.includes(buffer)) ? [s.rows] : [],
  )[0] ?? null

/** How a buffer of the plan lies in memory: sets as lists with their header, states in vectors, the rest as planned. */
function storedValue(
  { sizes, valueDim }: StagesOptions,
  buffer: StageBuffer,
  chunk: Expr | null,
): StoredValue {
  const { name, holds, node, shape } = buffer
  const times = (...factors: readonly JsonExpr[]): JsonExpr =>
    factors.reduce((a, b) => ({ op: 'mul', src: [a, b] }))
  const plus = (...terms: readonly JsonExpr[]): JsonExpr =>
    terms.reduce((a, b) => ({ op: 'add', src: [a, b] }))
  const whole = (e: Expr) =>
    substitute(sizes.ir, e, (n) => (n.op === 'var' && n.arg === 'chunk' ? chunk! : undefined))
  const all = shape.map((e) => jsonOf(whole(e)))
  const units = () => jsonOf(sizes.units(setOf(node).q))
  const records = times(...all.slice(0, 3))
  switch (holds) {
    case 'ids':
    case 'spans': {
      const most = times(...all.slice(3))
      return { name, words: plus(LIST_HEADER, times(2, records), times(records, most)), units: units() }
    }
    case 'bits':
      return { name, words: plus(LIST_HEADER, times(...all)), units: units() }
    case 'state':
      return { name, words: times(...all.slice(0, 3), 4 * stateVectors(valueDim)), units: null }
    default:
      return { name, words: times(...all), units: null }
  }
}

/** What `heddle explain` says of a `forward`: a stage plan and lengths in; its kernels with shapes and costs as lines out. */

import type { CompiledPattern } from '../../compiler/index.ts'
import { environmentOf, type Setting } from '../../compiler/mask-map.ts'
import { substitute, type Expr, type Ir } from '../../compiler/ir.ts'
import { readable } from '../../compiler/print.ts'
import type { StagePlan } from '../../compiler/stages/plan.ts'
import { costOf, type PlanCost } from '../../compiler/stages/print-plan.ts'

/** What is not a flag: heads of a learnt scorer, and channels of declared rows, which are the caller's. */
const INDEX_HEADS = 4

export function stageCost(p: CompiledPattern, stages: StagePlan, at: Setting): PlanCost {
  const sizes = {
    batches: at.batches,
    indexHeads: INDEX_HEADS,
    valueDim: at.headDim,
    scale: at.headDim ** -0.5,
  }
  const env = environmentOf(p.plan, at, sizes)
  const channels = new Set(stages.graph.inputs.map(({ name }) => `${name}.channels`))
  return costOf(stages, {
    ...env,
    param: (name) => {
      if (channels.has(name)) return at.headDim
      const given = at.params[name]
      return Array.isArray(given) ? Math.max(...(given as readonly number[])) : env.param(name)
    },
  })
}

export function stageLines(ir: Ir, stages: StagePlan, cost: PlanCost): string[] {
  const lines = ['kernels of forward, in order']
  const width = Math.max(...cost.kernels.map((k) => k.name.length))
  for (const k of cost.kernels) {
    const made =
      k.writes.length === 0
        ? 'the output'
        : k.writes.map((w) => `${w.name} [${w.shape.join(', ')}]`).join(', ')
    lines.push(`  ${k.name.padEnd(width)}  ${k.makes}: ${made}`)
    lines.push(`  ${''.padEnd(width)}  ${count(k.flops, 'FLOP')}, ${bytes(k.bytes)} moved`)
  }
  lines.push(`workspace ${bytes(cost.workspace)}`, ...sizeLines(ir, stages, stages.workspace))
  if (cost.kept > 0)
    lines.push(`kept between calls ${bytes(cost.kept)}`, ...sizeLines(ir, stages, stages.keptBytes))
  return lines
}

/** A size as its summands, one a line, and behind them the rows of a chunk, which stand in most of them. */
function sizeLines(ir: Ir, { steps }: StagePlan, size: Expr): string[] {
  const chunks = [...new Set(steps.flatMap((s) => (s.kind === 'chunks' ? [s.rows] : [])))]
  const names = chunks.map((_, i) => (chunks.length === 1 ? 'chunk' : `chunk${i + 1}`))
  const named = substitute(ir, size, (e) => {
    const i = chunks.indexOf(e)
    return i < 0 ? undefined : ir.param(names[i]!, 'i32')
  })
  const used = names.flatMap((name, i) => {
    const text = `${name} = ${readable(chunks[i]!)}`
    return readable(named).includes(name) ? [`  ${text}`] : []
  })
  return [...summands(named).map((e, i) => `  ${i === 0 ? '' : '+ '}${readable(e)}`), ...used]
}

const summands = (e: Expr): readonly Expr[] => (e.op === 'add' ? e.src.flatMap(summands) : [e])

const STEPS = ['', 'k', 'M', 'G', 'T', 'P'] as const

function count(n: number, unit: string): string {
  let [value, step] = [n, 0]
  while (value >= 1000 && step < STEPS.length - 1) [value, step] = [value / 1000, step + 1]
  return `${step === 0 ? value : value.toPrecision(3)} ${STEPS[step]}${unit}`
}

export function bytes(n: number): string {
  let [value, step] = [n, 0]
  while (value >= 1024 && step < STEPS.length - 1) [value, step] = [value / 1024, step + 1]
  return step === 0 ? `${value} B` : `${value.toPrecision(3)} ${STEPS[step]!.toUpperCase()}iB`
}

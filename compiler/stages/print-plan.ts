/** The kernels of a stage plan as text: what each computes, reads and writes; and what they cost at given lengths. */

import { evaluate, type Environment, type Expr } from '../ir.ts'
import { printExpr } from '../ir.ts'
import { readable } from '../print.ts'
import { axisText } from './print-graph.ts'
import type { StageNode } from './graph.ts'
import type { PairTerm, Part, StageBuffer, StageKernel, StagePlan, Step } from './plan.ts'

type Name = (node: StageNode) => string

/** Nodes by their place in the graph's text. */
const namesIn = ({ graph }: StagePlan): Name => {
  const number = new Map(graph.nodes.map((node, i) => [node, i]))
  return (node) => `#${number.get(node) ?? '?'}`
}

/** Every kernel with the formulas of its buffers, and the workspace. */
export function printStagePlan(plan: StagePlan): string {
  const name = namesIn(plan)
  const lines = plan.steps.flatMap((step) => stepLines(step, name))
  lines.push(`workspace ${readable(plan.workspace)} bytes`)
  if (plan.buffers.some((b) => b.life === 'kept'))
    lines.push(`kept between calls ${readable(plan.keptBytes)} bytes`)
  return lines.join('\n')
}

function stepLines(step: Step, name: Name): string[] {
  if (step.kind === 'once') return kernelLines(step.kernel, name)
  const head = `for each chunk of ${axisText(step.axis, name)}, chunk = ${readable(step.rows)}`
  return [head, ...step.kernels.flatMap((k) => kernelLines(k, name)).map((line) => `  ${line}`)]
}

function kernelLines(kernel: StageKernel, name: Name): string[] {
  const all = [kernel.node, ...(kernel.kind === 'rows' ? kernel.also : [])]
  const lines = [`${kernel.name} makes ${all.map((n) => `${name(n)} ${n.word}`).join(', ')}`]
  lines.push(`  grid    ${kernel.grid.share} x ${readable(kernel.grid.units)}`)
  if (kernel.when) lines.push(`  when    ${readable(kernel.when)}`)
  if (kernel.keep) lines.push(`  keep    ${kernel.keep.name}, ${kernel.keep.until.kind}`)
  if (kernel.streams.length > 0) lines.push(`  streams ${kernel.streams.map(name).join(' ')}`)
  if (kernel.reads.length > 0) lines.push(`  reads   ${kernel.reads.map((b) => b.name).join(' ')}`)
  for (const b of kernel.writes) lines.push(`  writes  ${bufferText(b)}`)
  if (kernel.kind === 'attend') {
    const { parts, layout } = kernel.kept
    for (const [side, order] of Object.entries(layout))
      if (order) lines.push(`  layout  ${side} by ${name(order)}`)
    lines.push(...parts.map((part) => `  part    ${partText(part, name)}`))
  }
  if (kernel.kind === 'attend' || kernel.kind === 'combine') lines.push(`  makes   ${kernel.makes}`)
  if (kernel.kind === 'filter' && kernel.votes.length > 0)
    lines.push(`  votes   ${kernel.votes.map((v) => `${v.arg.how} into ${name(v)}`).join(', ')}`)
  if (kernel.kind === 'select' && kernel.scope !== 'row') lines.push(`  scope   ${kernel.scope}`)
  return lines
}

export const bufferText = ({ name, dtype, shape, life }: StageBuffer): string =>
  `${name} ${dtype}[${shape.map(readable).join(', ')}]${life === 'call' ? '' : ` ${life}`}`

function partText(part: Part, name: Name): string {
  switch (part.kind) {
    case 'ranges':
      return [`ranges ${printExpr(part.keep)}`, ...withoutText(part.without, name)].join(' ')
    case 'units':
      return `every unit, visible ${part.visible}`
    default: {
      const form = part.kind === 'list' ? part.form : 'test'
      const grain = `${axisText(part.q, name)} x ${axisText(part.kv, name)}`
      const more = termText(part.within, name)
      return [
        `${form} of ${name(part.set)}: ${grain}`,
        ...(more === '' ? [] : [`and ${more}`]),
        ...withoutText(part.without, name),
      ].join(' ')
    }
  }
}

const withoutText = (terms: readonly PairTerm[], name: Name): string[] =>
  terms.map((term) => `without (${termText(term, name)})`)

const termText = ({ keep, sets, minus }: PairTerm, name: Name): string =>
  [
    ...(keep ? [printExpr(keep)] : []),
    ...sets.map((s) => `in ${name(s)}`),
    ...minus.map((s) => `not in ${name(s)}`),
  ].join(' and ')

/** A kernel's cost at given lengths. */
export interface KernelCost {
  readonly name: string
  readonly makes: string
  readonly writes: readonly {
    readonly name: string
    readonly shape: readonly number[]
    readonly bytes: number
  }[]
  readonly flops: number
  readonly bytes: number
}

export interface PlanCost {
  readonly kernels: readonly KernelCost[]
  readonly workspace: number
  readonly kept: number
}

/** `env` answers lengths and params; a perHead param by its greatest value. */
export function costOf(plan: StagePlan, env: Environment): PlanCost {
  const value = (e: Expr) => evaluate(e, env) as number
  const name = namesIn(plan)
  const cost = (k: StageKernel, size: (e: Expr) => number): KernelCost => ({
    name: k.name,
    makes: `${name(k.node)} ${k.node.word}`,
    writes: k.writes.map((b) => ({ name: b.name, shape: b.shape.map(size), bytes: size(b.bytes) })),
    flops: value(k.flops),
    bytes: value(k.bytes),
  })
  return {
    kernels: plan.steps.flatMap((step) => {
      if (step.kind === 'once') return [cost(step.kernel, value)]
      const rows = value(step.rows)
      const inside: Environment = { ...env, var: (v) => (v === 'chunk' ? rows : env.var(v)) }
      return step.kernels.map((k) => cost(k, (e) => evaluate(e, inside) as number))
    }),
    workspace: value(plan.workspace),
    kept: value(plan.keptBytes),
  }
}

/** A planned `forward` and the dims of its queries and values in; where vectors of other lengths meet there, as a diagnostic, out. */

import { Session, type Diagnostic } from './diagnostics.ts'
import { substitute, type Expr } from './ir.ts'
import { StageInterner, type StageNode } from './stages/graph.ts'
import type { StagePlan } from './stages/plan.ts'
import { Sizes } from './stages/sizes.ts'
import { stageRow } from './stages/table.ts'
import { Misfit, type Typing } from './stages/typing.ts'

export interface Dims {
  readonly headDim: number
  readonly valueDim: number
}

/**
 * The compiler takes a program whose vectors fit each other at some head dim. Which one is known when kernels are made: then each
 * word's rule is asked again. Null: all fit.
 */
export function misfitAt({ graph, typing }: StagePlan, dims: Dims): Diagnostic | null {
  const at = typingAt(typing, dims)
  const made = new Map<StageNode, StageNode>()
  const session = new Session()
  for (const node of graph.nodes) {
    const src = node.src.map((s) => made.get(s)!)
    try {
      const type = stageRow(node.word).type(at, src, node.arg)
      made.set(node, at.stages.node(node.word, src, node.arg, type, node.span))
    } catch (error) {
      if (!(error instanceof Misfit)) throw error
      error.report((code, args) => session.report(code, node.span, args))
      break
    }
  }
  return session.diagnostics.find((d) => d.code === 'stage-channels') ?? null
}

/** Nodes of its own, so that asking changes the number of none. */
function typingAt(typing: Typing, dims: Dims): Typing {
  const { ir } = typing.sizes
  const stages = new StageInterner()
  const isDim = (name: unknown): name is keyof Dims => name === 'headDim' || name === 'valueDim'
  const known = (size: Expr) =>
    substitute(ir, size, (e) => (e.op === 'var' && isDim(e.arg) ? ir.int(dims[e.arg]) : undefined))
  const tables = typing.tables.map((t) => ({ ...t, dims: t.dims.map((d) => (isDim(d) ? dims[d] : d)) }))
  const inputs = [...typing.inputs].map(([name, { axis, channels, ...rest }]) => {
    const own = stages.axis(axis.side, axis.units, axis.order)
    return [name, { ...rest, axis: own, channels: known(channels) }] as const
  })
  return { ...typing, stages, tables, sizes: new Sizes(ir, tables), inputs: new Map(inputs) }
}

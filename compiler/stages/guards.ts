/** Which nodes of a graph are needed when: under a choice of params, or only when a kept value is made anew. */

import type { Expr, Ir } from '../ir.ts'
import { isWord, type StageGraph, type StageNode, type Until } from './graph.ts'

export interface Guard {
  /** Null: always. */
  readonly when: Expr | null
  readonly keep: { readonly name: string; readonly until: Until } | null
}

/** What one user says of an operand. */
interface Need {
  readonly when: Expr | null
  readonly keep: StageNode<'reuse'> | null
}

export function guardsOf(ir: Ir, graph: StageGraph): (node: StageNode) => Guard {
  const needs = new Map<StageNode, Need>([[graph.result, { when: null, keep: null }]])
  const tell = (node: StageNode, need: Need): void => {
    const known = needs.get(node)
    needs.set(node, known ? either(ir, known, need) : need)
  }
  for (const node of graph.nodes.toReversed()) {
    const own = needs.get(node)
    if (!own) continue
    for (const [i, operand] of node.src.entries()) {
      if (node.word === 'choose') {
        const { when } = node.arg
        tell(operand, { ...own, when: both(ir, own.when, i === 0 ? when : ir.make('not', [when])) })
      } else if (node.word === 'reuse' && i === 0) tell(operand, { ...own, keep: node })
      else tell(operand, own)
    }
  }
  return (node) => {
    const { when, keep } = needs.get(node) ?? { when: null, keep: null }
    return { when, keep: keep && { name: keep.arg.name, until: keep.arg.until } }
  }
}

const both = (ir: Ir, a: Expr | null, b: Expr): Expr => (a === null ? b : ir.make('and', [a, b]))

/** Two users: a value that one of them needs in every call is made in every call. */
function either(ir: Ir, a: Need, b: Need): Need {
  const when =
    a.when === null || b.when === null ? null : a.when === b.when ? a.when : ir.make('or', [a.when, b.when])
  return { when: isOpposite(a.when, b.when) ? null : when, keep: a.keep === b.keep ? a.keep : null }
}

const isOpposite = (a: Expr | null, b: Expr | null): boolean =>
  (a?.op === 'not' && a.src[0] === b) || (b?.op === 'not' && b.src[0] === a)

/** The lists and orders that kept values are made of: what is under their algebra. */
export function keptNodes(graph: StageGraph): ReadonlySet<StageNode> {
  const kept = new Set<StageNode>()
  const go = (node: StageNode): void => {
    if (isWord(node, 'union', 'intersect', 'difference', 'choose', 'reuse')) node.src.forEach(go)
    else kept.add(node)
    // A pool may only repeat the list of its operand.
    if (isWord(node, 'poolSet')) go(node.src[0]!)
  }
  for (const node of graph.nodes) if (isWord(node, 'reuse')) go(node.src[0]!)
  return kept
}

/** rewriteGraph(): a stage graph and what stands for some of its nodes in; the graph of the same meaning that has those out. */

import { nodesUnder, type StageGraph, type StageNode } from './graph.ts'
import type { Typing } from './typing.ts'

/**
 * @param stand what stands for a node, made of its operands as they are now; null: itself. Types stay as they are
 * @returns null where nothing is replaced, or where a type speaks of what is: that would have to be made anew, too
 */
export function rewriteGraph(
  { stages }: Typing,
  graph: StageGraph,
  stand: (node: StageNode, src: readonly StageNode[]) => StageNode | null,
): StageGraph | null {
  const known = new Map<StageNode, StageNode>()
  const replaced = new Set<StageNode>()
  for (const node of graph.nodes) {
    const src = node.src.map((n) => known.get(n)!)
    const other = stand(node, src)
    if (other) replaced.add(node)
    const isSame = src.every((n, i) => n === node.src[i])
    const same = () => (isSame ? node : stages.node(node.word, src, node.arg as never, node.type, node.span))
    known.set(node, other ?? same())
  }
  if (replaced.size === 0 || graph.nodes.some((n) => mentions([n.arg, n.type], replaced))) return null
  const result = known.get(graph.result)!
  return { ...graph, result, nodes: nodesUnder(result) }
}

function mentions(x: unknown, nodes: ReadonlySet<StageNode>): boolean {
  if (typeof x !== 'object' || x === null || 'op' in x) return false
  if ('word' in x) return nodesUnder(x as StageNode).some((n) => nodes.has(n))
  return Object.values(x).some((value) => mentions(value, nodes))
}

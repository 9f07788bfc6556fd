/** States: attends with what they keep, and what joins them, as kernels. */

import { isWord, type StageNode } from './graph.ts'
import { keptOf, orderFor } from './kept.ts'
import type { StageBuffer } from './plan.ts'
import type { Planner } from './planner.ts'

/** Sees to it that a state is stored: maximum, sum and weighted values of every row. */
export function prepareState(p: Planner, node: StageNode): Set<StageBuffer> {
  const known = p.stored.get(node)
  if (known) return new Set(known)
  const { sizes } = p
  const after = node.word === 'attend' ? node.src[4] : undefined
  return state(p, node, 'state', () => {
    // A state that nobody else reads is gone on with where it lies.
    const same = after && p.isOnlyFor(after, node) ? p.stored.get(after) : undefined
    if (same) p.stored.set(node, same)
    return (
      same ?? [
        p.buffer(node, 'state', 'head', [sizes.var('qLen'), sizes.sum(sizes.var('valueDim'), sizes.num(2))]),
      ]
    )
  })
}

/** The call's output and LSE. */
export function planResult(p: Planner, node: StageNode): void {
  // The sides of a choice of params each make the output; a guard runs one of them.
  if (isWord(node, 'choose')) node.src.forEach((s) => planResult(p, s))
  else state(p, node, 'output', () => [])
}

function state(
  p: Planner,
  node: StageNode,
  makes: 'state' | 'output',
  write: () => readonly StageBuffer[],
): Set<StageBuffer> {
  const grid = { share: 'head', units: p.sizes.var('qLen') } as const
  if (isWord(node, 'attend')) {
    const reads = p.prepare(...node.src, ...orderFor(node))
    const kept = keptOf(p, node)
    const writes = write()
    p.kernel({ kind: 'attend', node, grid, reads, writes, streams: [], kept, makes, computes: [node] })
    return new Set(writes)
  }
  if (!isWord(node, 'merge', 'gated', 'choose')) throw new Error(`${node.word} makes no state`)
  const reads = p.prepare(...node.src)
  const writes = write()
  const streams = node.src.filter((s) => s.type.kind === 'scores')
  p.kernel({ kind: 'combine', node, grid, reads, writes, streams, makes, computes: [node] })
  return new Set(writes)
}

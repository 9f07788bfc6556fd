/** What a well-formed stage graph is: a graph in, what is wrong with it out; run after lowering in tests. */

import type { StageGraph, StageNode } from './graph.ts'
import { stageRow } from './table.ts'
import type { Typing } from './typing.ts'

export function verifyGraph({ nodes, result }: StageGraph, typing: Typing): string[] {
  const seen = new Set<StageNode>()
  const wrong: string[] = []
  for (const node of nodes) {
    const say = (what: string) => wrong.push(`${node.word} #${node.id}: ${what}`)
    if (node.src.some((s) => !seen.has(s))) say('an operand stands behind its user')
    seen.add(node)
    if (!operandsFit(node)) {
      say(`operands of kinds ${node.src.map((s) => s.type.kind).join(', ')}`)
      continue
    }
    const type = stageRow(node.word).type(typing, node.src, node.arg)
    const again = typing.stages.node(node.word, node.src, node.arg, type)
    if (again !== node) say('its type does not follow from its operands')
  }
  if (nodes.at(-1) !== result) wrong.push('the result is not the last node')
  return wrong
}

/** Kinds as the table's row says: the last may be missing (`?`) or all may come again and again (`..`). */
function operandsFit({ word, src }: StageNode): boolean {
  const { operands, more } = stageRow(word)
  const least = more === '?' ? optionalFrom(operands) : operands.length
  const enough = src.length >= least && (more === '..' || src.length <= operands.length)
  return (
    enough &&
    src.every((s, i) => {
      const kind = operands[more === '..' ? i % operands.length : i]
      return kind === 'any' || kind === s.type.kind
    })
  )
}

/** Of operands of one kind, the first is always there; else all but the last. */
const optionalFrom = (operands: readonly string[]): number =>
  new Set(operands).size === 1 ? 1 : operands.length - 1

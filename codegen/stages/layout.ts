/** Layout: where stored sets have their words, as artifact.ts lays lists out. */

import type { StageNode } from '../../compiler/stages/graph.ts'
import { setOf } from '../../compiler/stages/typing.ts'
import { LIST_HEADER } from '../artifact.ts'
import { add, at, i32, mul, quotient, type Code } from '../kernel.ts'
import type { Sharer, StageText } from './text.ts'
import { countOf, Unsupported } from './units.ts'

/** The record of a (sharer, q unit), among all of a set's. */
export function recordOf(t: StageText, node: StageNode, of: Sharer, row: Code): Code {
  const type = setOf(node)
  return add(mul(add(mul(of.batch, t.sharers(type.share)), of.at), countOf(t, type.q)), row)
}

/** Records of a set in all. */
export const recordsOf = (t: StageText, node: StageNode): Code =>
  mul(mul(t.uniform('batches'), t.sharers(setOf(node).share)), countOf(t, setOf(node).q))

/** Where a list's counts, starts and ids begin, as artifact.ts lays them out. */
export const countIndex = (record: Code): Code => add(record, i32(LIST_HEADER))
export const startIndex = (t: StageText, node: StageNode, record: Code): Code =>
  add(add(record, i32(LIST_HEADER)), recordsOf(t, node))
export const idsIndex = (t: StageText, node: StageNode): Code =>
  add(mul(recordsOf(t, node), i32(2)), i32(LIST_HEADER))
/** The most ids that a record has. */
export const mostOf = (t: StageText, node: StageNode): Code => t.size(setOf(node).most)

/** How many units a row of a set has. */
export function setCount(
  t: StageText,
  node: StageNode,
  { of, q }: { readonly of: Sharer; readonly q: Code },
): Code {
  const ids = t.find(node, 'ids', 'spans')
  if (!ids) throw new Unsupported('the count of a set that is no list')
  return at(t.stored(ids), countIndex(recordOf(t, node, of, q)))
}

/** Words of a row of bits. */
export const wordsOf = (t: StageText, node: StageNode): Code =>
  quotient(add(countOf(t, setOf(node).kv), i32(31)), i32(32))

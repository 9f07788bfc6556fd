/** Linear maps: a channel of a mapped vector in; what it is the sum of, and the sum, as code out. */

import type { Dim } from '../../compiler/plan.ts'
import type { StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { f32, i32, op, quotient, remainder, type Code } from '../kernel.ts'
import type { Sharer, StageText } from './text.ts'

type From = (n: StageNode, p?: Code, c?: Code) => Code
type Linear = StageNode<'linear'>

const SHARED: readonly unknown[] = ['head', 'kvHead', 'indexHead']

/** The index that a table's leading dim takes for a sharer. */
export function sharerIndex(t: StageText, of: Sharer, dim: unknown): Code {
  if (dim === 'head' || dim === 'indexHead') return of.at
  return dim === 'kvHead' ? t.coarser(of, 'kvHead') : i32(0)
}

const dimsOf = (t: StageText, name: string): readonly Dim[] =>
  t.problem.pattern.tables.find((i) => i.name === name)!.dims

const ownIndex = (t: StageText, of: Sharer, name: string): readonly Code[] => {
  const [first] = dimsOf(t, name)
  return SHARED.includes(first) ? [sharerIndex(t, of, first)] : []
}

/** What the sum of a channel begins with. */
export const biasAt = (t: StageText, { arg: { bias } }: Linear, of: Sharer, channel: Code): Code =>
  bias === null ? f32(0) : t.load(bias, [...ownIndex(t, of, bias), channel])

/** By what channel `i` of what comes in goes into a channel of what comes out. */
export function weightAt(
  t: StageText,
  { arg: { weight } }: Linear,
  of: Sharer,
  i: Code,
  channel: Code,
): Code {
  const own = ownIndex(t, of, weight)
  // What comes in may have several dims, as the vectors that a pool concatenates do.
  const into = dimsOf(t, weight).slice(own.length, -1)
  let rest = i
  const places = into.toReversed().map((dim, n): Code => {
    const place = n === into.length - 1 ? rest : remainder(rest, t.extent(dim))
    rest = n === into.length - 1 ? rest : quotient(rest, t.extent(dim))
    return place
  })
  return t.load(weight, [...own, ...places.toReversed(), channel])
}

/** A thread that works alone goes over the vector. */
export function linear(t: StageText, b: Block, node: Linear, from: From, of: Sharer, channel: Code): Code {
  const [x] = node.src as [StageNode]
  const sum = b.var('sum', biasAt(t, node, of, channel))
  b.for('i', i32(0), t.size(rowsOf(x).channels), 1, (c, i) =>
    c.set(sum, op('f32', 'mad', from(x, undefined, i), weightAt(t, node, of, i, channel), sum)),
  )
  return sum
}

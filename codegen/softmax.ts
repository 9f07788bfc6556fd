/** The online softmax in base 2: a tile's scores in; the rows' maxima and sums moved on, and the weights of its keys left, out. */

import type { Block } from './block.ts'
import { add, at, f32, lt, max, mul, op, quotient, remainder, select, sub, u32, type Code } from './kernel.ts'
import { HIDDEN } from './pairs.ts'
import { range, rowOf, type Attend } from './shapes.ts'

/** One value per row, combined over the threads that share the row: shuffles within subgroups, then workgroup memory. */
export function reduceRows(
  a: Attend,
  block: Block,
  values: readonly Code[],
  combine: (x: Code, y: Code) => Code,
): Code[] {
  const { threads, shuffle, unroll } = a.frame.problem.schedule
  const near = values.map((v, r) => {
    let x = v
    for (let step = 1; step < Math.min(shuffle, threads.kv); step *= 2) {
      x = block.let(`near${r}`, combine(x, op('f32', 'shuffleXor', x, u32(step))))
    }
    return x
  })
  const shared = a.shared
  if (!shared) return near
  const parts = threads.kv / shuffle
  const put = (b: Block) =>
    near.forEach((x, r) => b.set(at(shared, rowOf(a, r), quotient(a.j, u32(shuffle))), x))
  if (shuffle === 1) put(block)
  else block.if(op('bool', 'eq', remainder(a.j, u32(shuffle)), u32(0)), put)
  block.barrier()
  if (unroll) {
    return near.map((_, r) => {
      const row = rowOf(a, r)
      return block.let(
        `row${r}`,
        range(parts)
          .map((p) => at(shared, row, u32(p)))
          .reduce(combine),
      )
    })
  }
  const totals = near.map((_, r) => block.var(`row${r}`, at(shared, rowOf(a, r), u32(0))))
  block.for('part', u32(1), u32(parts), 1, (b, part) => {
    totals.forEach((t, r) => b.set(t, combine(t, at(shared, rowOf(a, r), part))))
  })
  return totals
}

export function softmaxStep(
  a: Attend,
  block: Block,
  scores: readonly (readonly Code[])[],
  best: readonly Code[],
  full: boolean,
): void {
  const { rowMax, rowSum, out } = a.state
  scores.forEach((line, r) => {
    const top = block.let(`top${r}`, max(rowMax[r]!, best[r]!))
    const shrink = block.let(`shrink${r}`, op('f32', 'exp2', sub(rowMax[r]!, top)))
    block.set(rowMax[r]!, top)
    const weights = line.map((s, c) => {
      const weight = op('f32', 'exp2', sub(s, top))
      // A power that underflows is not zero everywhere, so what is masked is set to zero by choice.
      return block.let(`p${r}_${c}`, full ? weight : select(lt(s, f32(HIDDEN)), f32(0), weight))
    })
    block.set(rowSum[r]!, op('f32', 'mad', rowSum[r]!, shrink, weights.reduce(add)))
    if (a.weights.type === 'f32x4')
      block.set(at(a.weights, rowOf(a, r), a.j), op('f32x4', 'vector4', ...weights))
    else weights.forEach((w, c) => block.set(at(a.weights, rowOf(a, r), add(mul(a.j, u32(4)), u32(c))), w))
    for (const o of out[r]!) block.set(o, op('f32x4', 'mul4', o, shrink))
  })
}

/** The greatest score of each row. */
export const bestOf = (a: Attend, block: Block, scores: readonly (readonly Code[])[]): Code[] =>
  reduceRows(
    a,
    block,
    scores.map((line, r) => block.let(`best${r}`, line.reduce(max))),
    max,
  )

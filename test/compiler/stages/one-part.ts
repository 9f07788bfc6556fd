/** The law of an attend's parts: every pair that it is to meet is in exactly one, and no other pair in any. */

import { evaluate } from '../../../compiler/ir.ts'
import { evaluateNodes, type GraphInputs } from '../../../compiler/stages/evaluate.ts'
import { isEverything, type StageNode } from '../../../compiler/stages/graph.ts'
import type { AttendKernel, PairTerm, Part } from '../../../compiler/stages/plan.ts'
import { membership, type AnySet } from '../../../dsl/stages/sets.ts'
import type { Rows, State } from '../../../dsl/index.ts'
import type { Run } from './methods.ts'

interface Pair {
  readonly head: number
  readonly q: number
  readonly kv: number
}
type Test = (pair: Pair) => boolean

/** The parts of every attend of a run, as tests of pairs of tokens. */
function attendsOf({ compiled, graph }: Run) {
  const values = evaluateNodes(compiled.stages!.graph, graph)
  const kvHeadOf = (head: number) => Math.floor((head * graph.call.kvHeads) / graph.call.qHeads)
  const kernels = compiled.stages!.steps.flatMap((s) => (s.kind === 'once' ? [s.kernel] : s.kernels))
  const setTests = new Map<StageNode, Test>()
  const inSet = (node: StageNode): Test => {
    const known = setTests.get(node) ?? memberOf(values.get(node) as AnySet, graph)
    setTests.set(node, known)
    return known
  }
  const keeps = (keep: PairTerm['keep']): Test =>
    keep === null
      ? () => true
      : ({ head, q, kv }) =>
          evaluate(keep, graph.environment(head, { head, kvHead: kvHeadOf(head), q, kv })) === true
  return kernels
    .filter((k): k is AttendKernel => k.kind === 'attend')
    .map(({ node, kept }) => {
      const [, kRows, , set, after] = node.src.map((n) => values.get(n))
      const holds = ({ keep, sets, minus }: PairTerm): Test => {
        const [own, ins, outs] = [keeps(keep), sets.map((s) => inSet(s)), minus.map((s) => inSet(s))]
        return (pair) => own(pair) && ins.every((t) => t(pair)) && !outs.some((t) => t(pair))
      }
      const inPart = (part: Part): Test => {
        if (part.kind === 'units') return () => true
        const without = part.without.map(holds)
        const base =
          part.kind === 'ranges'
            ? keeps(part.keep)
            : holds({ ...part.within, sets: [part.set, ...part.within.sets] })
        return (pair) => base(pair) && !without.some((t) => t(pair))
      }
      const wanted = isEverything(node.src[3]!) ? () => true : memberOf(set as AnySet, graph)
      return {
        parts: kept.parts.map(inPart),
        wanted,
        before: (after as State | undefined) ?? null,
        k: kRows as Rows,
      }
    })
}

const memberOf = (set: AnySet, { call }: GraphInputs): Test => {
  const member = membership(set, call)
  return ({ head, q, kv }) => member({ call, share: 'head', at: head }, q, kv)
}

/** The first pair that is not in the one part that it should be in, in words; null if there is none. */
export function strayPair(run: Run): string | null {
  const { call } = run.graph
  for (const { parts, wanted, before, k } of attendsOf(run)) {
    // Keys that are not tokens have no pairs of tokens.
    if (k.units.grain !== 'token') continue
    const held = (before?.held ?? []).filter(({ units }) => units === null)
    for (let head = 0; head < call.qHeads; head++)
      for (let q = call.qStart; q < call.kvLen; q++)
        for (let kv = 0; kv < call.kvLen; kv++) {
          if (!call.keeps(head, q, kv)) continue
          const pair = { head, q, kv }
          const taken = held.some((h) => h.keys[head]![q - call.qStart]![kv] === 1)
          const times = parts.filter((part) => part(pair)).length
          const due = wanted(pair) && !taken ? 1 : 0
          if (times !== due)
            return `head ${head}, q ${q}, kv ${kv}: in ${times} parts of ${parts.length}, due in ${due}`
        }
  }
  return null
}

/** A set as a union of terms: pairs that pass a predicate, lie in all of some stored sets and in none of others. */

import type { Ir } from '../ir.ts'
import type { PatternIr } from '../plan.ts'
import { simplifier } from '../simplify.ts'
import { termsOf } from '../terms.ts'
import type { StageNode } from './graph.ts'
import type { PairTerm } from './plan.ts'
import { listOf } from './plan-sets.ts'

const ALL: PairTerm = { keep: null, sets: [], minus: [] }

/** More than an author writes; a difference of differences multiplies. */
const MOST_TERMS = 64

/** The union of the terms is the set; a set that is no algebra is a term of its own. */
export function pairTerms(ir: Ir, set: StageNode): readonly PairTerm[] {
  switch (set.word) {
    case 'pairs':
      return [{ ...ALL, keep: set.arg.keep }]
    case 'union':
      return set.src.flatMap((s) => pairTerms(ir, s))
    case 'intersect':
      return set.src.map((s) => pairTerms(ir, s)).reduce((a, b) => both(ir, a, b))
    case 'difference': {
      const [first, ...rest] = set.src.map((s) => pairTerms(ir, s)) as [
        readonly PairTerm[],
        ...(readonly PairTerm[])[],
      ]
      return rest.map((terms) => negated(ir, terms)).reduce((a, b) => both(ir, a, b), first)
    }
    case 'reuse':
      return pairTerms(ir, set.src[0]!)
    case 'choose': {
      const [a, b] = set.src.map((s) => pairTerms(ir, s)) as [readonly PairTerm[], readonly PairTerm[]]
      const { when } = set.arg
      const otherwise = ir.make('not', [when])
      return [...both(ir, [{ ...ALL, keep: when }], a), ...both(ir, [{ ...ALL, keep: otherwise }], b)]
    }
    default:
      return [{ ...ALL, sets: [listOf(set)] }]
  }
}

function both(ir: Ir, a: readonly PairTerm[], b: readonly PairTerm[]): readonly PairTerm[] {
  const terms = a.flatMap((x) => b.map((y) => conjunction(ir, x, y)))
  if (terms.length > MOST_TERMS) throw new Error(`a set is a union of ${terms.length} terms`)
  return terms
}

const conjunction = (ir: Ir, a: PairTerm, b: PairTerm): PairTerm => ({
  keep: a.keep && b.keep ? ir.make('and', [a.keep, b.keep]) : (a.keep ?? b.keep),
  sets: [...new Set([...a.sets, ...b.sets])],
  minus: [...new Set([...a.minus, ...b.minus])],
})

/** Pairs of no term: each term fails in one of its conditions. */
function negated(ir: Ir, terms: readonly PairTerm[]): readonly PairTerm[] {
  const failures = ({ keep, sets, minus }: PairTerm): PairTerm[] => [
    ...(keep ? [{ ...ALL, keep: ir.make('not', [keep]) }] : []),
    ...sets.map((s) => ({ ...ALL, minus: [s] })),
    ...minus.map((s) => ({ ...ALL, sets: [s] })),
  ]
  return terms.map(failures).reduce<readonly PairTerm[]>((a, b) => both(ir, a, b), [ALL])
}

/** True if it can be shown that no pair of the mask is in both. */
export function areDisjoint(ir: Ir, pattern: PatternIr, a: PairTerm, b: PairTerm): boolean {
  const apart = (x: PairTerm, y: PairTerm) => x.sets.some((s) => y.minus.includes(s))
  if (apart(a, b) || apart(b, a)) return true
  const keeps = [a.keep, b.keep].filter((e) => e !== null)
  if (keeps.length < 2) return false
  const simplify = simplifier(ir, pattern)
  const together = simplify([pattern.mask, ...keeps].reduce((x, y) => ir.make('and', [x, y])))
  return termsOf(ir, together, () => true)?.length === 0
}

/** True of a set of one flag for each sharer: it switches the others on and off. */
export const isGate = (set: StageNode): boolean =>
  set.type.kind === 'set' && set.type.q.units.kind === 'whole' && set.type.kv.units.kind === 'whole'

export const isStatic = ({ sets, minus }: PairTerm): boolean => sets.length === 0 && minus.length === 0

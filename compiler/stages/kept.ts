/** What an attend keeps: its set in; parts in the order that owns pairs, and the layout of its operands, out. */

import type { Expr } from '../ir.ts'
import { simplifier } from '../simplify.ts'
import { findTiles } from '../tiles.ts'
import { LONGEST } from '../vars.ts'
import { isEverything, type StageNode } from './graph.ts'
import { areDisjoint, isGate, isStatic, pairTerms } from './pair-terms.ts'
import type { Kept, PairTerm, Part, SetPart } from './plan.ts'
import { formOf, isTest } from './plan-sets.ts'
import { tokensOf } from './axes.ts'
import type { Planner } from './planner.ts'
import { rowsOf, setOf } from './typing.ts'

export function keptOf(p: Planner, node: StageNode<'attend'>): Kept {
  const [q, k, , set, after] = node.src as readonly StageNode[]
  const layout = { q: rowsOf(q!).axis.order, kv: rowsOf(k!).axis.order }
  if (isEverything(set!) && rowsOf(k!).axis.units.kind !== 'token')
    return { parts: [{ kind: 'units', visible: node.arg.visible }], layout }
  const { ir } = p.sizes
  const taken = after ? [...termsHeld(p, after, k!)] : []
  const parts: Part[] = []
  const add = (term: PairTerm): void => {
    parts.push(term.sets.length === 0 ? rangesPart(p, term, taken) : setPart(term, [...taken]))
    taken.push(term)
  }
  const terms = pairTerms(ir, set!)
  // Predicates alone are one predicate.
  const ranges = terms.filter(isStatic).map((t) => t.keep ?? ir.bool(true))
  if (ranges.length > 0) add({ keep: any(p, ranges), sets: [], minus: [] })
  for (const term of terms.filter((t) => !isStatic(t)).toSorted((a, b) => rank(a) - rank(b))) add(term)
  return { parts, layout }
}

const any = (p: Planner, keeps: readonly Expr[]): Expr =>
  keeps.reduce((a, b) => p.sizes.ir.make('or', [a, b]))

/** Pairs of a predicate: what earlier terms take by a predicate is taken off it, sets are asked. */
function rangesPart(p: Planner, term: PairTerm, taken: readonly PairTerm[]): Part {
  const { ir } = p.sizes
  const simplify = simplifier(ir, p.pattern)
  const off = taken.filter(isStatic).map((t) => ir.make('not', [t.keep ?? ir.bool(true)]))
  const keep = simplify([term.keep ?? ir.bool(true), ...off].reduce((a, b) => ir.make('and', [a, b])))
  const mask = simplify(ir.make('and', [p.pattern.mask, keep]))
  const without = [
    ...taken.filter((t) => !isStatic(t)),
    ...term.minus.map((s): PairTerm => ({ keep: null, sets: [s], minus: [] })),
  ]
  return { kind: 'ranges', keep, tiles: findTiles(ir, { ...p.pattern, mask }).tiles, without }
}

/** The list that a term is read from, and what else a pair of it must pass. */
function setPart(term: PairTerm, without: readonly PairTerm[]): Part {
  const base = baseOf(term)
  const { share, q, kv, most } = setOf(base)
  const within = { ...term, sets: term.sets.filter((s) => s !== base) }
  const part: SetPart = { set: base, share, q, kv, most, within, without }
  return isTest(base) ? { ...part, kind: 'test' } : { ...part, kind: 'list', form: formOf(base) }
}

/** A switch is no list to go through, unless there is nothing else. */
const baseOf = ({ sets }: PairTerm): StageNode => sets.find((s) => !isGate(s)) ?? sets[0]!

/** Predicates first, then spans, then blocks by falling size, then tokens. */
function rank(term: PairTerm): number {
  if (term.sets.length === 0) return -4 * LONGEST
  const { units } = setOf(baseOf(term)).kv
  return units.kind === 'span' || units.kind === 'units' ? -2 * LONGEST : -tokensOf(units)
}

/** The orders that an attend lays its operands out by. */
export const orderFor = (node: StageNode<'attend'>): readonly StageNode<'argsort'>[] =>
  [node.src[0]!, node.src[1]!].map((x) => rowsOf(x).axis.order).filter((order) => order !== null)

/** The pairs that a state holds of an operand's keys. */
export function termsHeld(p: Planner, state: StageNode, k: StageNode): readonly PairTerm[] {
  if (state.word === 'merge' || state.word === 'choose') return state.src.flatMap((s) => termsHeld(p, s, k))
  if (state.word !== 'attend') return []
  const [, keys, , set, after] = state.src as readonly StageNode[]
  const inner = after ? termsHeld(p, after, k) : []
  // Keys of other units are others, whatever tokens went into them.
  return rowsOf(keys!).axis.units === rowsOf(k).axis.units
    ? [...inner, ...pairTerms(p.sizes.ir, set!)]
    : inner
}

/** Refuses a merge of states that may hold a pair twice. */
export function checkMerge(p: Planner, node: StageNode<'merge'>): void {
  const attends = node.src.map((s) => attendsIn(s))
  for (const [i, a] of attends.entries())
    for (const b of attends.slice(i + 1)) {
      const overlap = a.some((x) => b.some((y) => mayShare(p, x, y)))
      if (overlap) return p.report('merge-overlap', node, {})
    }
}

function attendsIn(state: StageNode): readonly StageNode<'attend'>[] {
  if (state.word === 'attend') return [state, ...(state.src[4] ? attendsIn(state.src[4]) : [])]
  return state.src.flatMap((s) => (s.type.kind === 'state' ? attendsIn(s) : []))
}

function mayShare(p: Planner, a: StageNode<'attend'>, b: StageNode<'attend'>): boolean {
  const [x, y] = [rowsOf(a.src[1]!).axis, rowsOf(b.src[1]!).axis]
  if (x.units !== y.units) return false
  const { ir } = p.sizes
  const [first, second] = [pairTerms(ir, a.src[3]!), pairTerms(ir, b.src[3]!)]
  return first.some((s) => second.some((t) => !areDisjoint(ir, p.pattern, s, t)))
}

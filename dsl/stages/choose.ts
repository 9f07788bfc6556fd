/** The words that choose: scores in, the set of the greatest, or of those that a function takes, out. */

import type { IndexRecord } from '../record.ts'
import { describe, patternError } from '../messages.ts'
import { isCoarser, sharerAt, type Join, type Share } from './call.ts'
import { checkCall, checkKind, checkUnits, isKind } from './check.ts'
import { cutUnits, type Grouping } from './groupings.ts'
import { axisFor } from './rows.ts'
import { unitPair, VISIBLE, type Scores, type UnitPair } from './scores.ts'
import { zip, type Like } from './score-words.ts'
import { chosenFrom, chosenUnits, type AnySet, type Sel } from './sets.ts'
import { record } from './trace.ts'
import { unitsAt, type Units } from './units.ts'

/** A number, or one for each sharer, or for each sharer and query unit: a param per head, a count. */
export type Amount = number | Scores<Share, Units, Units<'kv', 'whole'>>

export interface ForceOptions {
  /** Units that are taken first, if they are visible. They are never dropped. */
  readonly force?: (ix: UnitPair) => boolean
  /**
   * Whether forced units cost of the budget ('counted', the default: k units in all, or a mass that counts
   * theirs), or come on top of it ('extra': k units, or the mass, of the others).
   */
  readonly forced?: 'counted' | 'extra'
  /**
   * What shares one budget: a sharer's query unit (unless given), each group of key units of one, or all
   * cells of a sharer ('head').
   */
  readonly per?: Grouping | AnySet | 'head'
}
export interface TopKOptions extends ForceOptions {
  /** In which order attend() visits the units: by index (unless given), or by falling score. */
  readonly sorted?: 'index' | 'score'
}
export interface TopPOptions extends ForceOptions {
  /** Whether the unit that reaches the mass is taken ('keep', the default) or not ('drop'). */
  readonly cross?: 'keep' | 'drop'
}

interface Candidate {
  readonly row: number
  readonly column: number
  readonly value: number
  readonly forced: boolean
}

/**
 * The `k` greatest visible cells of each sharer's query unit, the lower index first among equals. With fewer
 * visible cells, all of them. Forced cells come first and cost of k, but are never dropped: a unit gets
 * max(k, forced). A cell of -Infinity or NaN is taken by force alone, an invisible one never.
 *
 * @param k a whole number from 0, or Infinity; or one for each sharer
 * @throws PatternError `bad-amount`, `shares-differ`, `units-nest`
 */
export function topK<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  k: Amount,
  options: TopKOptions = {},
): Sel<H, Q, K> {
  checkKind('topK', s, 'scores')
  const most = amountOf('topK', s, k, (x) => x === Infinity || (Number.isInteger(x) && x >= 0))
  const taken = choose('topK', s, options, (ranked, spent, at) =>
    ranked.slice(0, Math.max(0, most(at.sharer, at.row) - (options.forced === 'extra' ? 0 : spent.count))),
  )
  const ranks = options.sorted === 'score' ? ranksOf(s, taken) : null
  const set = chosenFrom(s, (sharer, row, column) => taken[sharer]!.has(cellKey(row, column)), ranks)
  record(s.call, { word: 'topK', scores: s, set })
  return set
}

/**
 * The least set of visible cells of each sharer's query unit whose mass reaches `p` of the total: forced
 * cells first, whose mass counts, then by falling weight while the mass is below p times the total. The
 * total is that of the visible cells, so weights need not sum to 1. p of 1 or more takes every visible
 * cell, whatever sums round to.
 *
 * @param s weights, such as softmax() gives; none negative
 * @throws PatternError `bad-amount`, `negative-mass`, `shares-differ`, `units-nest`
 */
export function topP<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  p: Amount,
  options: TopPOptions = {},
): Sel<H, Q, K> {
  checkKind('topP', s, 'scores')
  const part = amountOf('topP', s, p, (x) => x >= 0)
  const taken = choose('topP', s, options, (ranked, spent, at) => {
    for (const { value } of ranked) if (value < 0) throw patternError('negative-mass', { got: value })
    const wanted = part(at.sharer, at.row)
    if (wanted >= 1) return ranked
    const before = options.forced === 'extra' ? 0 : spent.mass
    const goal = wanted * ranked.reduce((sum, c) => sum + massOf(c), before)
    let mass = before
    return ranked.filter((c) => {
      const crosses = options.cross === 'drop' ? mass + massOf(c) > goal : mass >= goal
      if (!crosses) mass += massOf(c)
      // Past the crossing cell no lighter one may slip in.
      else mass = Infinity
      return !crosses
    })
  })
  const set = chosenFrom(s, (sharer, row, column) => taken[sharer]!.has(cellKey(row, column)))
  record(s.call, { word: 'topP', scores: s, set })
  return set
}

/** What a cell weighs; one that is forced may be -Infinity or NaN, which is nothing. */
const massOf = ({ value }: Candidate): number => (value > 0 ? value : 0)

/** Greatest first; infinities compare, where their difference would be NaN. */
const falling = (a: number, b: number): number => Number(a < b) - Number(a > b)

const cellKey = (row: number, column: number): string => `${row},${column}`

/** For each sharer, the cells that are forced and those of each budget's ranking that `pick` takes. */
function choose(
  word: string,
  s: Scores,
  { force = () => false, per }: ForceOptions,
  pick: (
    ranked: readonly Candidate[],
    spent: { readonly count: number; readonly mass: number },
    at: { readonly sharer: number; readonly row: number },
  ) => readonly Candidate[],
): readonly ReadonlySet<string>[] {
  const budgetOf = budgets(word, s, per)
  return s.values.map((rows, at) => {
    const groups = new Map<string, Candidate[]>()
    rows.forEach((line, row) => {
      const [qUnit, units] = [unitsAt(s.q, at)[row]!, unitsAt(s.kv, at, row)]
      line.forEach((value, column) => {
        if (s.visible[at]![row]![column] !== VISIBLE) return
        const sharer = { call: s.call, share: s.share, at }
        const forced = force(unitPair({ sharer, q: qUnit, kv: units[column]! }))
        const budget = budgetOf(at, row, column)
        if (budget === null) return
        const group = groups.get(budget)
        const candidate = { row, column, value, forced }
        if (group) group.push(candidate)
        else groups.set(budget, [candidate])
      })
    })
    const taken = [...groups.values()].flatMap((group) => {
      const forced = group.filter((c) => c.forced)
      // Candidates stand in index order and the sort is stable, so the lower index is first among equals.
      const ranked = group
        .filter((c) => !c.forced && c.value > -Infinity)
        .toSorted((a, b) => falling(a.value, b.value))
      const mass = forced.reduce((sum, c) => sum + massOf(c), 0)
      return [...forced, ...pick(ranked, { count: forced.length, mass }, { sharer: at, row: group[0]!.row })]
    })
    return new Set(taken.map((c) => cellKey(c.row, c.column)))
  })
}

/** Which budget a cell is chosen from; null for a cell that is in no group. */
function budgets(
  word: string,
  s: Scores,
  per: ForceOptions['per'],
): (sharer: number, row: number, column: number) => string | null {
  if (per === undefined) return (_, row) => String(row)
  if (per === 'head') return () => 'all'
  const groups: Units = isKind(per, 'grouping')
    ? cutUnits(per as Grouping, s.kv as Units<'kv'>, s.call, s.share)
    : chosenUnits(word, per as AnySet, s.q, s.share, s.call)
  return (sharer, row, column) => {
    const unit = unitsAt(s.kv, sharer, row)[column]!
    const holding = unitsAt(groups, sharer, row).filter((g) => unit.places.some((p) => g.places.includes(p)))
    if (holding.length === 0) return null
    const [group] = holding
    if (holding.length > 1 || !unit.places.every((p) => group!.places.includes(p))) {
      throw patternError('units-nest', { word, unit: s.kv.grain, group: groups.grain })
    }
    return `${row},${group!.index}`
  }
}

/** A number for each sharer and query unit of scores. */
function amountOf(
  word: string,
  s: Scores,
  amount: Amount,
  good: (x: number) => boolean,
): (sharer: number, row: number) => number {
  const checked = (x: number): number => {
    if (typeof x !== 'number' || !good(x)) throw patternError('bad-amount', { word, got: describe(x) })
    return x
  }
  if (typeof amount === 'number') {
    const value = checked(amount)
    return () => value
  }
  checkKind(word, amount, 'scores')
  checkCall(word, s.call, amount.call)
  if (!isCoarser(amount.share, s.share)) {
    throw patternError('shares-differ', { word, first: s.share, second: amount.share })
  }
  const spread = amount.q.grain === 'whole'
  if (!spread) checkUnits(word, s.q, axisFor(amount.q, amount.share, s.share, s.call))
  return (sharer, row) =>
    checked(amount.values[sharerAt(amount.share, s.share, sharer, s.call)]![spread ? 0 : row]![0]!)
}

/** The chosen cells' places in the order of falling score. */
const ranksOf = (s: Scores, taken: readonly ReadonlySet<string>[]): readonly (readonly Int32Array[])[] =>
  s.values.map((rows, at) =>
    rows.map((line, row) => {
      const ranks = new Int32Array(line.length).fill(-1)
      const order = [...line.keys()].filter((column) => taken[at]!.has(cellKey(row, column)))
      const scored = order.toSorted((a, b) => falling(line[a]!, line[b]!))
      scored.forEach((column, rank) => (ranks[column] = rank))
      return ranks
    }),
  )

type SharedBy<S> = S extends Scores<infer H, Units, Units> ? H : never
/** Tokens in whatever order they are attended: a rule on positions holds in each. */
type Anyhow<S extends 'q' | 'kv'> = Units<S, 'token', never>

/**
 * A set by a function: of positions alone (static: the compiler derives ranges from it), or of visible cells,
 * with second and third operands broadcast as in map(). A comparison with NaN is false.
 *
 * @throws PatternError `units-differ`, `shares-differ`
 * @example where(({ q, kv }) => q - kv < 64)
 * @example where(scores, threshold, (s, t) => s >= t)
 */
export function where(f: (ix: IndexRecord) => boolean): Sel<'request', Anyhow<'q'>, Anyhow<'kv'>>
export function where<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  f: (s: number, ix: UnitPair) => boolean,
): Sel<H, Q, K>
export function where<
  H extends Share,
  Q extends Units,
  K extends Units,
  T extends Like<NoInfer<Q>, NoInfer<K>>,
>(
  s: Scores<H, Q, K>,
  t: T,
  f: (s: number, t: number, ix: UnitPair) => boolean,
): Sel<Join<H, SharedBy<T>>, Q, K>
export function where<
  H extends Share,
  Q extends Units,
  K extends Units,
  T extends Like<NoInfer<Q>, NoInfer<K>>,
  U extends Like<NoInfer<Q>, NoInfer<K>>,
>(
  s: Scores<H, Q, K>,
  t: T,
  u: U,
  f: (s: number, t: number, u: number, ix: UnitPair) => boolean,
): Sel<Join<Join<H, SharedBy<T>>, SharedBy<U>>, Q, K>
export function where(...args: readonly unknown[]): AnySet {
  const f = args.at(-1)
  if (typeof f !== 'function')
    throw patternError('bad-value', { word: 'where', due: 'a function', got: describe(f) })
  const operands = args.slice(0, -1)
  if (operands.length === 0) return ruleSet(f as (ix: IndexRecord) => boolean)
  for (const x of operands) checkKind('where', x, 'scores')
  const test = f as (...xs: readonly (number | UnitPair)[]) => boolean
  const hits = zip('where', operands as Scores[], (xs, ix) => Number(test(...xs, ix())))
  const set = chosenFrom(hits, (at, row, column) => hits.values[at]![row]![column] === 1)
  // The first operand as the set sees it: with the finer share of all.
  const scores = hits.call.trace ? zip('where', operands as Scores[], ([first]) => first!) : null
  record(hits.call, { word: 'where', scores, set })
  return set
}

const anyhow = <S extends 'q' | 'kv'>(side: S): Units<S, 'token', never> =>
  ({ side, grain: 'token', order: 'natural', lists: [[[]]], line: [[]] }) as Units as Units<S, 'token', never>

const ruleSet = (holds: (ix: IndexRecord) => boolean): Sel<'request', Anyhow<'q'>, Anyhow<'kv'>> => ({
  kind: 'set',
  share: 'request',
  q: anyhow('q'),
  kv: anyhow('kv'),
  body: { form: 'rule', holds },
})

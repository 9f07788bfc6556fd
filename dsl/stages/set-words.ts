/** Set algebra: sets of pairs in, sets of pairs out, whatever units they were chosen in. */

import { checkKind } from './check.ts'
import { type Coarser, type Share } from './call.ts'
import { OUTSIDE, scoresOf, VISIBLE, type Scores, type Visibility } from './scores.ts'
import { wholeOf } from './score-words.ts'
import { cellForm, cellsOf, meets, membership, sameCells, type AnySet, type Sel } from './sets.ts'
import type { Units, WholeOf } from './units.ts'

type ShareOfSet<S> = S extends Sel<infer H, Units, Units> ? H : never
type QOf<S> = S extends Sel<Share, infer Q, Units> ? Q : never
type KvOf<S> = S extends Sel<Share, Units, infer K> ? K : never

/** Sets over the same units stay so; others are kept as they are and asked pair by pair. */
function combine(form: 'union' | 'intersect' | 'difference', sets: readonly AnySet[]): AnySet {
  for (const set of sets) checkKind(form, set, 'set')
  const [first, ...rest] = sets
  if (!first || rest.length === 0) return first!
  if (!sameCells(sets)) return { ...first, body: { form, sets } }
  const has = sets.map((s) => s.body.has)
  const test = {
    union: (flags: readonly number[]) => flags.some((f) => f === 1),
    intersect: (flags: readonly number[]) => flags.every((f) => f === 1),
    difference: ([a, ...others]: readonly number[]) => a === 1 && others.every((f) => f === 0),
  }[form]
  const { call, visible } = sets[0]!.body
  return cellsOf(
    call,
    first.share,
    first.q,
    first.kv,
    ({ at }, row, column) => test(has.map((h) => h[at]![row]![column]!)),
    ({ at }, row, column) => visible[at]![row]![column]! as Visibility,
  )
}

/** The pairs that some set holds. Sets of different units and orders meet as sets of pairs of tokens. */
export function union<const S extends readonly [AnySet, ...AnySet[]]>(
  ...sets: S
): Sel<ShareOfSet<S[number]>, QOf<S[number]>, KvOf<S[number]>> {
  return combine('union', sets) as Sel<ShareOfSet<S[number]>, QOf<S[number]>, KvOf<S[number]>>
}

/**
 * The pairs of the first set that all others hold. A set whose axis is `whole` is all or nothing there, so a
 * set of one number switches the other on and off.
 */
export function intersect<H extends Share, Q extends Units, K extends Units>(
  set: Sel<H, Q, K>,
  ...others: readonly AnySet[]
): Sel<H, Q, K> {
  return combine('intersect', [set, ...others]) as Sel<H, Q, K>
}

/** The pairs of the first set that no other holds. */
export function difference<H extends Share, Q extends Units, K extends Units>(
  set: Sel<H, Q, K>,
  ...others: readonly AnySet[]
): Sel<H, Q, K> {
  return combine('difference', [set, ...others]) as Sel<H, Q, K>
}

/**
 * How many key units a set has for each sharer and query unit.
 *
 * @throws PatternError `no-units` for where() of positions, and for algebra over different units
 */
export function count<H extends Share, Q extends Units, K extends Units>(
  set: Sel<H, Q, K>,
): Scores<H, Q, WholeOf<K>> {
  checkKind('count', set, 'set')
  const { call, has } = cellForm('count', set, null).body
  return scoresOf(call, set.share, set.q, wholeOf(set.kv), ({ sharer, row }) => ({
    value: has[sharer.at]![row]!.reduce((a, b) => a + b, 0),
    visible: VISIBLE,
  }))
}

/**
 * The scores with every cell outside a set made invisible, and left out of all that is pooled from them: the
 * next level of a cascade. A cell is outside if the set holds none of its pairs of tokens.
 */
export function within<H extends Share, Q extends Units, K extends Units>(
  s: Scores<H, Q, K>,
  set: Sel<H | Coarser<H>, Units, Units>,
): Scores<H, Q, K> {
  checkKind('within', s, 'scores')
  checkKind('within', set, 'set')
  const member = membership(set, s.call)
  return scoresOf(s.call, s.share, s.q, s.kv, ({ sharer, row, column, q, kv }) => {
    const visible = s.visible[sharer.at]![row]![column]!
    const value = s.values[sharer.at]![row]![column]!
    if (visible !== VISIBLE) return { value, visible: visible as Visibility }
    return { value, visible: meets(member, sharer, q, kv) ? VISIBLE : OUTSIDE }
  })
}

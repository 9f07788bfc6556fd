/** Visibility: a pair of units in; whether the mask keeps some, or all, of their pairs of tokens, as code out. */

import type { KvTiles, TileTerm } from '../../compiler/plan.ts'
import type { Visible } from '../../compiler/stages/graph.ts'
import type { VarName } from '../../compiler/vars.ts'
import type { Block } from '../block.ts'
import { and, bool, le, not, or, type Code } from '../kernel.ts'
import type { Sharer, StageText } from './text.ts'
import { fieldOf, Unsupported, type Unit } from './units.ts'

/** Bounds of a pair of units, as positions. */
export interface Bounds {
  readonly qLo: Code
  readonly qHi: Code
  readonly kvLo: Code
  readonly kvHi: Code
}

const PARAMETERS = ['batch', 'at', 'qLo', 'qHi', 'kvLo', 'kvHi'] as const

/** True if a cell may be seen by the mask's rule. */
export function maskSees(t: StageText, tiles: KvTiles, rule: Visible, of: Sharer, q: Unit, kv: Unit): Code {
  if (rule === 'off') return bool(true)
  return maskSeesWithin(t, tiles, rule, of, {
    qLo: fieldOf(t, q, 'first'),
    qHi: fieldOf(t, q, 'last'),
    kvLo: fieldOf(t, kv, 'first'),
    kvHi: fieldOf(t, kv, 'last'),
  })
}

/** True if the mask keeps some pair, or all pairs, of tokens within bounds. */
export function maskSeesWithin(
  t: StageText,
  tiles: KvTiles,
  rule: 'any' | 'all',
  of: Sharer,
  { qLo: q0, qHi: q1, kvLo: kv0, kvHi: kv1 }: Bounds,
): Code {
  if (tiles.how === 'list') throw new Unsupported('units seen through a mask that has no closed form')
  const terms = rule === 'any' ? tiles.kept : tiles.dropped
  return t.call(
    `${rule === 'any' ? 'seesSome' : 'seesAll'}_${of.share}`,
    'bool',
    PARAMETERS,
    [of.batch, of.at, q0, q1, kv0, kv1],
    (b, args) => {
      const [batch, at, qLo, qHi, kvLo, kvHi] = args as [Code, Code, Code, Code, Code, Code]
      const mine: Sharer = { batch, share: of.share, at }
      const reached = b.let('reached', reaches(t, b, terms, mine, { qLo, qHi, kvLo, kvHi }))
      b.return(rule === 'any' ? reached : not(reached))
    },
  )
}

/** True if some term may hold for a pair of tokens within the bounds. */
function reaches(t: StageText, b: Block, terms: readonly TileTerm[], of: Sharer, bounds: Bounds): Code {
  const answers = terms.map((term) => {
    const asked = (e: TileTerm['when'], vars: Partial<Record<VarName, Code>>) =>
      t.write(b, e, { ...of, vars })
    const lo = asked(term.lo, { ...bounds })
    const hi = asked(term.hi, { ...bounds })
    const when = asked(term.when, { ...bounds })
    const within = and(when, le(lo, bounds.kvHi), le(bounds.kvLo, hi), le(lo, hi))
    return and(within, term.test ? asked(term.test, { ...bounds }) : bool(true))
  })
  return or(...answers)
}

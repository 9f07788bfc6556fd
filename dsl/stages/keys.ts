/** What a set says of an operand's keys: by position if they are tokens, by unit if they are pooled. */

import { patternError } from '../messages.ts'
import { sharerAt, type Call, type Share, type Sharer } from './call.ts'
import { nameOf } from './check.ts'
import { axisFor, type Rows } from './rows.ts'
import { combined, indexesOf, isOffsets, membership, type AnySet, type Member } from './sets.ts'
import { sameUnits, unitsAt, type Units } from './units.ts'

/** Whether a set holds a query and a key: a token's position, or the number of the operand's unit. */
export function keyMembership(set: AnySet, q: Rows, k: Rows): Member {
  checkHeads(set)
  for (const part of listed(set)) {
    checkOrder(part.q, part.share, q)
    checkOrder(part.kv, part.share, k)
  }
  return k.units.grain === 'token' ? membership(set, q.call) : unitMembership(set, k)
}

/** No part of a set speaks of an indexer's heads. */
function checkHeads({ share, body }: AnySet): void {
  if (share === 'indexHead') {
    throw patternError('shares-differ', { word: 'attend', first: 'head', second: share })
  }
  if ('sets' in body) for (const part of body.sets) checkHeads(part)
}

/** The sets whose pairs are visited; what only narrows them may be in any order, as it is asked pair by pair. */
function listed({ body, ...set }: AnySet): readonly AnySet[] {
  if (body.form === 'union') return body.sets.flatMap(listed)
  return 'sets' in body ? listed(body.sets[0]!) : [{ ...set, body }]
}

/** Sorted units must be those of the operand's own order. */
function checkOrder(axis: Units, share: Share, operand: Rows): void {
  const inOrder = (units: Units, from: Share): Units => {
    const { line, ...rest } = axisFor(units, from, 'head', operand.call)
    return { ...rest, grain: 'token', line, lists: line.map((tokens) => [tokens]) }
  }
  if (axis.order === 'natural') return
  if (!sameUnits(inOrder(axis, share), inOrder(operand.units, operand.share))) {
    throw patternError('orders-differ', { word: 'attend', side: axis.side })
  }
}

function unitMembership(set: AnySet, k: Rows): Member {
  const { body, share, q, kv } = set
  if ('sets' in body) {
    return combined(
      body.form,
      body.sets.map((s) => unitMembership(s, k)),
    )
  }
  const { call } = k
  const whole = kv.grain === 'whole'
  const alike = () => sameUnits(axisFor(kv, share, 'head', call), axisFor(k.units, k.share, 'head', call))
  if (body.form !== 'cells' || isOffsets(kv) || !(whole || alike())) {
    throw patternError('units-differ', {
      word: 'attend',
      side: 'kv',
      first: nameOf(kv),
      second: nameOf(k.units),
    })
  }
  const rowsOf = body.has.map((_, s) => indexesOf(unitsAt(q, s)))
  return (sharer, token, key) => {
    const s = sharerAt(share, sharer.share, sharer.at, call)
    return (rowsOf[s]!.get(token) ?? []).some((row) => body.has[s]![row]![whole ? 0 : key] === 1)
  }
}

/**
 * The place of a key's unit in a list that is visited by falling score; null of a key that is in no such
 * list.
 */
export type Rank = (sharer: Sharer, q: number, kv: number) => number | null

/** A key of a union has the rank of the first set that holds it: ranges and lists by index come first. */
export function keyRank(set: AnySet, call: Call): Rank {
  const { body, share, q, kv } = set
  if (body.form === 'union') {
    const parts = body.sets.map((s) => ({ holds: membership(s, call), rank: keyRank(s, call) }))
    return (...pair) => {
      const ranks = parts.filter(({ holds }) => holds(...pair)).map(({ rank }) => rank(...pair))
      return ranks.includes(null) ? null : (ranks[0] ?? null)
    }
  }
  if ('sets' in body) return keyRank(body.sets[0]!, call)
  if (body.form !== 'cells' || body.ranks === null) return () => null
  const { ranks } = body
  return (sharer, token, key) => {
    const s = sharerAt(share, sharer.share, sharer.at, call)
    const row = unitsAt(q, s).findIndex((unit) => unit.tokens.includes(token))
    const column = row < 0 ? -1 : unitsAt(kv, s, row).findIndex((unit) => unit.tokens.includes(key))
    return column < 0 ? null : ranks[s]![row]![column]!
  }
}

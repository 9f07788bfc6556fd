/** What a set says of an operand's keys: by position if they are tokens, by unit if they are pooled. */

import { patternError } from '../messages.ts'
import { sharerAt, type Call } from './call.ts'
import { nameOf } from './check.ts'
import { combined, indexesOf, isOffsets, membership, type AnySet, type Member } from './sets.ts'
import { sameUnits, unitsAt, type Units } from './units.ts'

/** Whether a set holds a query and a key: a token's position, or the number of the operand's unit. */
export function keyMembership(set: AnySet, q: Units, k: Units, call: Call): Member {
  checkFit(set, q, k)
  return k.grain === 'token' ? membership(set, call) : unitMembership(set, k, call)
}

/** Sets over sorted units speak of the operand's own order, and none of an indexer's heads. */
function checkFit({ share, body, q, kv }: AnySet, ...operands: readonly [q: Units, kv: Units]): void {
  if (share === 'indexHead')
    throw patternError('shares-differ', { word: 'attend', first: 'head', second: share })
  if (body.form === 'cells') {
    ;[q, kv].forEach((axis, i) => {
      const operand = operands[i]!
      if (axis.order === 'natural') return
      const line = (units: Units): Units => ({ ...units, grain: 'token', lists: units.line.map((l) => [l]) })
      if (!sameUnits(line(axis), line(operand))) {
        throw patternError('orders-differ', { word: 'attend', side: axis.side })
      }
    })
  } else if ('sets' in body) for (const set of body.sets) checkFit(set, ...operands)
}

function unitMembership(set: AnySet, k: Units, call: Call): Member {
  const { body, share, q, kv } = set
  if ('sets' in body) {
    return combined(
      body.form,
      body.sets.map((s) => unitMembership(s, k, call)),
    )
  }
  const whole = kv.grain === 'whole'
  if (body.form !== 'cells' || isOffsets(kv) || !(whole || sameUnits(kv, k))) {
    throw patternError('units-differ', { word: 'attend', side: 'kv', first: nameOf(kv), second: nameOf(k) })
  }
  const rowsOf = body.has.map((_, s) => indexesOf(unitsAt(q, s)))
  return (sharer, token, key) => {
    const s = sharerAt(share, sharer.share, sharer.at, call)
    return (rowsOf[s]!.get(token) ?? []).some((row) => body.has[s]![row]![whole ? 0 : key] === 1)
  }
}

/** What a word was given in; a PatternError out where it is no such value, or does not fit the others. */

import { describe, patternError } from '../messages.ts'
import { joined, type Call, type Share } from './call.ts'
import { sameUnits, type Units } from './units.ts'

type Kind = 'rows' | 'scores' | 'set' | 'order' | 'state' | 'output' | 'grouping'
const A_KIND: Readonly<Record<Kind, string>> = {
  rows: 'rows',
  scores: 'scores',
  set: 'a set',
  order: 'a permutation',
  state: 'a state of attend()',
  output: 'what gated() gives',
  grouping: 'a grouping such as blocks(64)',
}

export const isKind = (value: unknown, kind: Kind): boolean =>
  typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind

/** Types say this to TypeScript's authors; others are told here. */
export function checkKind(word: string, value: unknown, kind: Kind): void {
  if (!isKind(value, kind)) throw patternError('bad-value', { word, due: A_KIND[kind], got: describe(value) })
}

export function checkSize(word: string, name: string, value: unknown, least = 1): asserts value is number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least) {
    throw patternError('bad-size', { word, name, least, got: describe(value) })
  }
}

export function checkJoin(word: string, a: Share, b: Share): Share {
  const share = joined(a, b)
  if (share === null) throw patternError('shares-differ', { word, first: a, second: b })
  return share
}

export function checkUnits(word: string, a: Units, b: Units): void {
  if (!sameUnits(a, b))
    throw patternError('units-differ', { word, side: a.side, first: nameOf(a), second: nameOf(b) })
}

export function checkCall(word: string, a: Call, b: Call): void {
  if (a !== b) throw patternError('calls-differ', { word })
}

export function checkWidth(word: string, first: number, second: number): void {
  if (first !== second) throw patternError('widths-differ', { word, first, second })
}

/** An axis in words: `12 blocks`. */
export function nameOf(axis: Units): string {
  const counts = new Set(axis.lists.flatMap((rows) => rows.map((units) => units.length)))
  const count =
    counts.size === 1 ? String([...counts][0]) : `${Math.min(...counts)} to ${Math.max(...counts)}`
  return `${count} ${axis.order === 'sorted' ? 'sorted ' : ''}units of ${axis.grain}`
}

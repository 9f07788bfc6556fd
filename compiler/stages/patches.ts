/**
 * Patches: a pool of inner products in; if each of its cells pairs every token of a block of queries with one of a block of keys,
 * which one, out. Such a cell is one inner product, of the tokens' vectors laid end to end.
 */

import { affineOf } from '../affine.ts'
import type { FilterRange } from './filter-range.ts'
import { isWord, type Axis, type StageNode } from './graph.ts'
import { scoresOf } from './typing.ts'

export interface Patches {
  readonly dot: StageNode<'dot'>
  /** Tokens of a block of either side. */
  readonly step: number
  /** Token a of a query block meets token `first + turn * a` of the key block. */
  readonly first: number
  readonly turn: 1 | -1
}

export function patchesOf(node: StageNode, range: FilterRange | undefined): Patches | null {
  if (!isWord(node, 'poolScores') || node.arg.how !== 'sum' || node.src.length > 1) return null
  const [dot] = node.src as [StageNode]
  if (!isWord(dot, 'dot') || scoresOf(dot).visible !== 'off') return null
  const [from, to] = [scoresOf(dot), scoresOf(node)]
  const [own, other] = [to.q.units, to.kv.units]
  if (from.share !== to.share || !isPlain(from.q) || !isPlain(from.kv)) return null
  if (own.kind !== 'block' || other.kind !== 'block' || own.size !== other.size) return null
  const { size: step } = own
  const always = range?.when.op === 'const' && range.when.arg === true
  if (!range?.lo || range.lo !== range.hi || !always) return null
  const { constant, terms } = affineOf(range.lo)
  const factors = new Map([...terms].map(([e, n]) => [e.op === 'var' ? e.arg : null, n]))
  const turn = factors.get('q.index') ?? factors.get('q.first')
  const isOfBlocks =
    factors.size === 3 &&
    factors.get('into.q.index') === -step * (turn ?? 0) &&
    factors.get('into.kv.index') === step
  if ((turn !== 1 && turn !== -1) || !isOfBlocks) return null
  const ends = [constant, constant + turn * (step - 1)]
  return ends.every((n) => 0 <= n && n < step) ? { dot, step, first: constant, turn } : null
}

const isPlain = ({ units, order }: Axis): boolean => units.kind === 'token' && order === null

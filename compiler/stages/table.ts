/** The stage table: one row a word tells its operands, how its value's type follows from theirs, how it is had, and its work. */

import type { Expr } from '../ir.ts'
import type { Args, StageNode, ValueKind, ValueType, Word } from './graph.ts'
import { ORDER_RULES } from './rules-order.ts'
import { ROWS_RULES } from './rules-rows.ts'
import { SCORES_RULES } from './rules-scores.ts'
import { SETS_RULES } from './rules-sets.ts'
import type { Typing } from './typing.ts'

/**
 * How a kernel comes by a node's value:
 *   input     the caller's tensor, or a number that every kernel has
 *   loader    an element is made of few elements of the operands wherever it is loaded
 *   rows      stored: a kernel of its own
 *   cell      evaluated at a cell wherever it is needed
 *   reduce    evaluated over many cells: stored where at most one axis grows with the length, else inside its user
 *   vector    stored as a side effect of its operand's kernel
 *   closed    a predicate, whose tiles are found at compile time
 *   list      stored, by its own kernel
 *   algebra   part of what an attend keeps
 *   order, state, output, control
 */
export type Had =
  | 'input'
  | 'loader'
  | 'rows'
  | 'cell'
  | 'reduce'
  | 'vector'
  | 'closed'
  | 'list'
  | 'algebra'
  | 'order'
  | 'state'
  | 'output'
  | 'control'

export interface StageRow<W extends Word = Word> {
  /** Kinds of the operands. `?`: the last, or of equal kinds all but the first, may be missing; `..`: all may come again. */
  readonly operands: readonly (ValueKind | 'any')[]
  readonly more?: '?' | '..'
  readonly had: Had
  /** Throws a Misfit where the operands do not go together. */
  readonly type: (t: Typing, src: readonly StageNode[], arg: Args[W]) => ValueType
  /** Floating-point operations for the whole value of one batch entry, without those of its operands. */
  readonly flops: (t: Typing, node: StageNode<W>) => Expr
}

/** Rows of some words. */
export type Rules<W extends Word> = { readonly [V in W]: StageRow<V> }

export const STAGES: Rules<Word> = { ...ROWS_RULES, ...SCORES_RULES, ...SETS_RULES, ...ORDER_RULES }

/** A row where the word is not known beforehand: the rule takes that word's own argument. */
export const stageRow = (word: Word): StageRow => STAGES[word] as unknown as StageRow

/** Taking: a row's keys and the bound of a choice in; the list or the bits of what is taken out, in order of index. */

import type { StageNode } from '../../compiler/stages/graph.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  eq,
  fromU32,
  i32,
  lt,
  max,
  min,
  mul,
  not,
  op,
  or,
  quotient,
  select,
  sub,
  toU32,
  u32,
  WORD,
} from '../kernel.ts'
import type { Code } from '../kernel.ts'
import type { Bound } from './bound.ts'
import { isForced, type Row } from './candidates.ts'
import type { GridUnit } from './grid.ts'
import { countIndex, idsIndex, mostOf, recordOf, startIndex, wordsOf } from './layout.ts'
import type { Cells } from './place.ts'
import { ballotAll, eachBit, scanAll, type Room, type Team } from './team.ts'

/** Counts of two kinds in one word: of cells that are taken for sure, and of those at the bound. */
const SURE = 2 ** 16

const bitOf = (n: Code): Code => op('u32', 'shl', u32(1), toU32(n))
const popcount = (word: Code): Code => op('u32', 'popcount', word)

/** Of a word of cells those that are taken for sure, and those at the bound. */
interface Flags {
  readonly sure: Code
  readonly equal: Code
}

/**
 * Goes over the row by a word of bits for each thread: the cells are told apart side by side, then each thread takes those of
 * its word: all above the bound and all forced ones, and at the bound the first `wanted`.
 * @param room two words for each thread; null: the row is in registers
 */
export function take(
  c: Cells,
  b: Block,
  node: StageNode,
  unit: GridUnit,
  team: Team,
  row: Row,
  { key: bound, wanted }: Bound,
  room: Room | null,
): void {
  const { threads, lane } = team
  const { columns, most } = row
  const { put, end } = (c.text.find(node, 'ids') ? toList : toBits)(c, b, node, unit, team)
  const equals = b.var('equals', i32(0))
  const round = (d: Block, from: Code): void => {
    const { sure, equal } = room ? inMemory(d, row, team, bound, from, room) : byBallots(d, row, team, bound)
    const counts = add(mul(popcount(sure), u32(SURE)), popcount(equal))
    const { before, all } = scanAll(d, team, counts)
    // Of `n` cells at the bound so far the first `wanted` are taken.
    const takenOf = (n: Code) => sub(op('i32', 'min', n, wanted), op('i32', 'min', equals, wanted))
    const part = (which: 'sure' | 'equal', word: Code): Code =>
      fromU32(which === 'sure' ? op('u32', 'shr', word, u32(16)) : op('u32', 'bitAnd', word, u32(SURE - 1)))
    const rank = d.let('rank', add(equals, part('equal', before)))
    const left = d.let('left', max(sub(wanted, rank), i32(0)))
    const taken = d.var('taken', op('u32', 'bitOr', sure, equal))
    d.if(lt(left, fromU32(popcount(equal))), (e) => {
      e.set(taken, sure)
      const rest = e.var('open', equal)
      e.for('n', i32(0), left, 1, (f) => {
        const next = f.let('next', op('u32', 'bitAnd', rest, sub(rest, u32(1))))
        f.set(taken, op('u32', 'bitOr', taken, op('u32', 'bitXor', rest, next)))
        f.set(rest, next)
      })
    })
    const reached = d.let('reached', add(equals, part('equal', all)))
    put(d, {
      word: d.let('word', add(quotient(from, i32(WORD)), lane)),
      taken,
      before: add(part('sure', before), takenOf(rank)),
      all: add(part('sure', all), takenOf(reached)),
    })
    d.set(equals, reached)
  }
  if (room) b.barrier()
  if (most !== null && most <= WORD * threads) round(b, i32(0))
  else b.for('from', i32(0), columns, WORD * threads, round)
  end(b)
}

/** The flags of the thread's word, of the cells from `from` on. */
function inMemory(d: Block, row: Row, { threads, lane }: Team, bound: Code, from: Code, room: Room): Flags {
  const { columns } = row
  const slot = (which: 0 | 1, word: Code): Code => room(add(word, i32(which * threads)))
  d.atomic('store', slot(0, lane), u32(0))
  d.atomic('store', slot(1, lane), u32(0))
  d.barrier()
  row.again(d, from, min(add(from, i32(WORD * threads)), columns), (e, column, key) => {
    const place = e.let('place', sub(column, from))
    const [word, bit] = [quotient(place, i32(WORD)), bitOf(op('i32', 'bitAnd', place, i32(WORD - 1)))]
    const equal = and(eq(key, bound), not(eq(bound, u32(0))))
    e.if(
      or(isForced(key), lt(bound, key)),
      (f) => f.atomic('or', slot(0, word), bit),
      (f) => f.if(equal, (g) => g.atomic('or', slot(1, word), bit)),
    )
  })
  d.barrier()
  const [sure, equal] = ([0, 1] as const).map((which) =>
    d.let('flagged', op('u32', 'atomicLoad', slot(which, lane))),
  ) as [Code, Code]
  return { sure, equal }
}

/** The same of a row in registers, whose slots are told apart by all threads at once; words are no more than threads. */
function byBallots(d: Block, { slots }: Row, team: Team, bound: Code): Flags {
  const { threads, lane } = team
  const each = WORD / threads
  const isSure = (key: Code) => or(isForced(key), lt(bound, key))
  const isEqual = (key: Code) => and(eq(key, bound), not(eq(bound, u32(0))), not(isForced(key)))
  const wordsOf = (is: (key: Code) => Code): Code => {
    const own = d.var('flagged', u32(0))
    for (let word = 0; word * each < slots!.length; word++) {
      const parts = slots!
        .slice(word * each, (word + 1) * each)
        .map((key, i) => op('u32', 'shl', ballotAll(team, is(key)), u32(i * threads)))
      const all = d.let(
        'all',
        parts.reduce((a, b) => op('u32', 'bitOr', a, b)),
      )
      d.set(own, select(eq(lane, i32(word)), all, own))
    }
    return own
  }
  return { sure: wordsOf(isSure), equal: wordsOf(isEqual) }
}

/** A thread's word of cells that are taken, and how many are before it and in all words of this round. */
interface Taken {
  readonly word: Code
  readonly taken: Code
  readonly before: Code
  readonly all: Code
}

interface Taking {
  readonly put: (b: Block, own: Taken) => void
  readonly end: (b: Block) => void
}
type TakingOf = (c: Cells, b: Block, node: StageNode, unit: GridUnit, team: Team) => Taking

const toList: TakingOf = ({ text: t }, b, node, { of, row }, { lane, there }) => {
  const target = t.stored(t.find(node, 'ids')!)
  const record = b.let('record', recordOf(t, node, of, row))
  const most = b.let('most', mostOf(t, node))
  const ids = b.let('ids', add(idsIndex(t, node), mul(record, most)))
  const listed = b.var('listed', i32(0))
  return {
    put: (d, { word, taken, before, all }) => {
      const place = d.var('next', add(listed, before))
      eachBit(d, taken, (e, bit) => {
        e.if(and(there, lt(place, most)), (f) =>
          f.set(at(target, add(ids, place)), add(mul(word, i32(WORD)), bit)),
        )
        e.set(place, add(place, i32(1)))
      })
      d.set(listed, add(listed, all))
    },
    end: (d) =>
      d.if(and(there, eq(lane, i32(0))), (e) => {
        e.set(at(target, countIndex(record)), op('i32', 'min', listed, most))
        e.set(at(target, startIndex(t, node, record)), mul(record, most))
      }),
  }
}

const toBits: TakingOf = ({ text: t }, b, node, { of, row }, { there }) => {
  const target = t.stored(t.find(node, 'bits')!)
  const words = b.let('words', wordsOf(t, node))
  const start = b.let('start', add(mul(recordOf(t, node, of, row), words), i32(LIST_HEADER)))
  return {
    put: (d, { word, taken }) =>
      d.if(and(there, lt(word, words)), (e) => e.set(at(target, add(start, word)), taken)),
    end: () => {},
  }
}

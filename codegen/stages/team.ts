/** Teams: the threads of a workgroup that have a unit of the grid in common; what one of them found in, what all did out. */

import type { Share } from '../../compiler/stages/graph.ts'
import { Block } from '../block.ts'
import { add, at, fromU32, i32, le, lt, mul, op, quotient, remainder, select, sub, u32 } from '../kernel.ts'
import type { Code, Entry, Memory } from '../kernel.ts'
import { groupOf, unitAt, type GridUnit } from './grid.ts'
import type { StageText } from './text.ts'

/** An entry, and the workgroup memory that it declares. */
export interface Made {
  readonly entry: Entry
  readonly memory: readonly Memory[]
}

export interface Team {
  readonly threads: number
  readonly lane: Code
  /** A word of every thread, and one of every group of neighbours. */
  readonly words: Memory
  readonly groups: Memory
  /** Neighbours of a group: the root of the number of threads, so that nobody reads many words. */
  readonly group: number
  /** Neighbours whose numbers a shuffle brings together; 1: none. */
  readonly lanes: number
  /** More workgroup memory. */
  readonly room: (wish: string, words: number, atomic?: boolean) => Memory
}

/** One workgroup for each unit. */
export const together = (
  t: StageText,
  share: Share,
  threads: number,
  body: (block: Block, unit: GridUnit, team: Team) => void,
): Made => frame(t, threads, (block, number, team) => body(block, unitAt(t, block, share, number), team))

/** One workgroup for each stretch of a unit's columns, as many of them as threads; `begin` is its first. */
export const stretchwise = (
  t: StageText,
  share: Share,
  threads: number,
  columns: Code,
  body: (block: Block, unit: GridUnit, begin: Code, team: Team) => void,
): Made =>
  frame(t, threads, (block, number, team) => {
    const stretches = block.let('stretches', quotient(add(columns, i32(threads - 1)), i32(threads)))
    const begin = block.let('begin', mul(remainder(number, stretches), i32(threads)))
    body(block, unitAt(t, block, share, block.let('line', quotient(number, stretches))), begin, team)
  })

function frame(t: StageText, threads: number, body: (block: Block, number: Code, team: Team) => void): Made {
  const memory: Memory[] = []
  const room = (wish: string, words: number, atomic = false): Memory => {
    // Made while the body is: no name of the body's may be the same.
    const made = t.workgroup(`team${wish[0]!.toUpperCase()}${wish.slice(1)}`, 'u32', [words], atomic)
    memory.push(made)
    return made
  }
  const block = new Block(t.names.child())
  const own = block.let('own', groupOf(t))
  block.if(le(t.uniform('groupCount'), own), (b) => b.return())
  const number = block.let('number', fromU32(own))
  const group = 2 ** Math.ceil(Math.log2(threads) / 2)
  const lane = block.let('lane', fromU32(op('u32', 'thread')))
  const meeting: Partial<Record<'words' | 'groups', Memory>> = {}
  // Not every team meets.
  const team: Team = {
    threads,
    lane,
    group,
    lanes: t.problem.lanes,
    room,
    get words() {
      return (meeting.words ??= room('words', threads))
    },
    get groups() {
      return (meeting.groups ??= room('groups', threads / group))
    },
  }
  body(block, number, team)
  return { entry: { name: 'run', threads, body: block.stmts }, memory }
}

const bitsOf = (value: Code): Code => (value.type === 'f32' ? op('u32', 'floatBits', value) : value)
const valueOf = (like: Code, bits: Code): Code => (like.type === 'f32' ? op('f32', 'bitsFloat', bits) : bits)

type Combine = (a: Code, b: Code) => Code

/** A number of each thread, an f32 or a word, into one for all. */
export function reduceAll(block: Block, team: Team, value: Code, combine: Combine, wish: string): Code {
  if (team.lanes > 1) return shuffleAll(block, team, value, combine, wish)
  const { threads, lane, words, groups, group } = team
  const count = threads / group
  const one = (b: Block, from: Memory, first: Code, end: number, step: number): Code => {
    const total = b.var(wish, valueOf(value, at(from, first)))
    b.for('other', add(first, i32(step)), i32(end), step, (c, other) =>
      c.set(total, combine(total, valueOf(value, at(from, other)))),
    )
    return total
  }
  // Nobody reads the words beyond the second barrier, nor the groups beyond the first of the next reduction.
  block.set(at(words, lane), bitsOf(value))
  block.barrier()
  block.if(lt(lane, i32(count)), (b) => b.set(at(groups, lane), bitsOf(one(b, words, lane, threads, count))))
  block.barrier()
  return one(block, groups, i32(0), count, 1)
}

function shuffleAll(
  block: Block,
  { threads, lane, lanes, groups }: Team,
  value: Code,
  combine: Combine,
  wish: string,
): Code {
  const own = block.var('own', value)
  for (let mask = lanes / 2; mask >= 1; mask /= 2)
    block.set(own, combine(own, op(value.type, 'shuffleXor', own, i32(mask))))
  // Those of the last time may still be read.
  block.barrier()
  block.if(op('bool', 'eq', remainder(lane, i32(lanes)), i32(0)), (b) =>
    b.set(at(groups, quotient(lane, i32(lanes))), bitsOf(own)),
  )
  block.barrier()
  const total = block.var(wish, valueOf(value, at(groups, i32(0))))
  block.for('other', i32(1), i32(threads / lanes), 1, (b, other) =>
    b.set(total, combine(total, valueOf(value, at(groups, other)))),
  )
  return total
}

export interface Scanned {
  /** The sum of the numbers of the threads before this one, and of all. */
  readonly before: Code
  readonly all: Code
}

/** Sums of a word of each thread. */
export function scanAll(block: Block, { threads, lane, words, groups, group }: Team, value: Code): Scanned {
  const own = block.let('ownWord', value)
  block.set(at(words, lane), own)
  block.barrier()
  const before = block.var('before', u32(0))
  const mine = block.let('group', quotient(lane, i32(group)))
  block.for('other', mul(mine, i32(group)), lane, 1, (b, other) =>
    b.set(before, add(before, at(words, other))),
  )
  block.if(op('bool', 'eq', remainder(lane, i32(group)), i32(group - 1)), (b) =>
    b.set(at(groups, mine), add(before, own)),
  )
  block.barrier()
  const all = block.var('all', u32(0))
  block.for('other', i32(0), i32(threads / group), 1, (b, other) => {
    const theirs = b.let('theirs', at(groups, other))
    b.set(all, add(all, theirs))
    b.set(before, add(before, select(lt(other, mine), theirs, u32(0))))
  })
  return { before, all }
}

/** Places of the bits of a word that are set, the lowest first. */
export function eachBit(block: Block, word: Code, visit: (b: Block, bit: Code) => void): void {
  const rest = block.var('rest', word)
  block.loop((b) => {
    b.if(op('bool', 'eq', rest, u32(0)), (c) => c.break())
    const low = b.let('low', sub(op('u32', 'bitAnd', rest, add(op('u32', 'bitNot', rest), u32(1))), u32(1)))
    visit(b, b.let('bit', fromU32(op('u32', 'popcount', low))))
    b.set(rest, op('u32', 'bitAnd', rest, sub(rest, u32(1))))
  })
}

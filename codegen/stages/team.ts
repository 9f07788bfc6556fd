/** Teams: the threads that have a unit of the grid in common, a workgroup or a part of one; what one of them found in, what all did out. */

import type { Share } from '../../compiler/stages/graph.ts'
import { Block } from '../block.ts'
import {
  add,
  at,
  bool,
  fromU32,
  i32,
  le,
  lt,
  mul,
  not,
  op,
  quotient,
  remainder,
  select,
  sub,
  toU32,
  u32,
} from '../kernel.ts'
import type { Code, Entry, Memory } from '../kernel.ts'
import type { ShortRows } from '../schedule.ts'
import { groupOf, unitAt, unitOfTeam, type GridUnit } from './grid.ts'
import type { StageText } from './text.ts'

/** An entry, and the workgroup memory that it declares. */
export interface Made {
  readonly entry: Entry
  readonly memory: readonly Memory[]
}

/** Words of a team in workgroup memory, by their index. */
export type Room = (index: Code) => Code

export interface Team {
  readonly threads: number
  readonly lane: Code
  /** False of a team beyond the last unit: it goes along, since all meet, and writes nothing. */
  readonly there: Code
  /** A word of every thread, and one of every group of neighbours. */
  readonly words: Room
  readonly groups: Room
  /** Neighbours of a group: the root of the number of threads, so that nobody reads many words. */
  readonly group: number
  /** Neighbours whose numbers a shuffle brings together; 1: none. With no more threads than these a team needs no memory. */
  readonly lanes: number
  /** More workgroup memory. */
  readonly room: (wish: string, words: number, atomic?: boolean) => Room
}

/** True of teams that meet by shuffles alone. */
export const isShuffled = ({ threads, lanes }: Team): boolean => lanes >= threads

/** One workgroup for each unit. */
export const together = (
  t: StageText,
  share: Share,
  threads: number,
  body: (block: Block, unit: GridUnit, team: Team) => void,
): Made =>
  frame(t, { team: threads, threads }, (block, number, team) =>
    body(block, unitAt(t, block, share, block.let('number', fromU32(number))), team(bool(true))),
  )

/** One team for each unit, several a workgroup. */
export const besides = (
  t: StageText,
  share: Share,
  shape: ShortRows,
  body: (block: Block, unit: GridUnit, team: Team) => void,
): Made =>
  frame(t, shape, (block, number, team, own) => {
    const { there, ...unit } = unitOfTeam(t, block, share, number, own, shape.threads / shape.team)
    body(block, unit, team(there))
  })

/** One workgroup for each stretch of a unit's columns, as many of them as threads; `begin` is its first. */
export const stretchwise = (
  t: StageText,
  share: Share,
  threads: number,
  columns: Code,
  body: (block: Block, unit: GridUnit, begin: Code, team: Team) => void,
): Made =>
  frame(t, { team: threads, threads }, (block, own, team) => {
    const number = block.let('number', fromU32(own))
    const stretches = block.let('stretches', quotient(add(columns, i32(threads - 1)), i32(threads)))
    const begin = block.let('begin', mul(remainder(number, stretches), i32(threads)))
    const unit = unitAt(t, block, share, block.let('line', quotient(number, stretches)))
    body(block, unit, begin, team(bool(true)))
  })

/** `own`: which of the workgroup's teams the thread is in. */
type Framed = (block: Block, group: Code, team: (there: Code) => Team, own: Code) => void

function frame(t: StageText, { team: size, threads }: Omit<ShortRows, 'most'>, body: Framed): Made {
  const memory: Memory[] = []
  const block = new Block(t.names.child())
  const group = block.let('own', groupOf(t))
  block.if(le(t.uniform('groupCount'), group), (b) => b.return())
  const thread = fromU32(op('u32', 'thread'))
  const isOne = size === threads
  const index = isOne ? i32(0) : block.let('team', quotient(thread, i32(size)))
  const lane = block.let('lane', isOne ? thread : remainder(thread, i32(size)))
  const room = (wish: string, words: number, atomic = false): Room => {
    // Teams beside each other begin in banks apart.
    const stride = isOne ? words : words + size
    // Made while the body is: no name of the body's may be the same.
    const name = `team${wish[0]!.toUpperCase()}${wish.slice(1)}`
    const made = t.workgroup(name, 'u32', [(threads / size) * stride], atomic)
    memory.push(made)
    return (word) => at(made, isOne ? word : add(mul(index, i32(stride)), word))
  }
  const each = 2 ** Math.ceil(Math.log2(size) / 2)
  const meeting: Partial<Record<'words' | 'groups', Room>> = {}
  // Not every team meets.
  const team = (there: Code): Team => ({
    threads: size,
    lane,
    there,
    group: each,
    lanes: t.problem.lanes,
    room,
    get words() {
      return (meeting.words ??= room('words', size))
    },
    get groups() {
      return (meeting.groups ??= room('groups', size / each))
    },
  })
  body(block, group, team, index)
  return { entry: { name: 'run', threads, body: block.stmts }, memory }
}

const bitsOf = (value: Code): Code => (value.type === 'f32' ? op('u32', 'floatBits', value) : value)
const valueOf = (like: Code, bits: Code): Code => (like.type === 'f32' ? op('f32', 'bitsFloat', bits) : bits)

type Combine = (a: Code, b: Code) => Code

/** A number of each thread, an f32 or a word, into one for all. */
export function reduceAll(block: Block, team: Team, value: Code, combine: Combine, wish: string): Code {
  if (isShuffled(team)) return shuffled(block, team.threads, value, combine, wish)
  if (team.lanes > 1) return shuffleAll(block, team, value, combine, wish)
  const { threads, lane, words, groups, group } = team
  const count = threads / group
  const one = (b: Block, from: Room, first: Code, end: number, step: number): Code => {
    const total = b.var(wish, valueOf(value, from(first)))
    b.for('other', add(first, i32(step)), i32(end), step, (c, other) =>
      c.set(total, combine(total, valueOf(value, from(other)))),
    )
    return total
  }
  // Nobody reads the words beyond the second barrier, nor the groups beyond the first of the next reduction.
  block.set(words(lane), bitsOf(value))
  block.barrier()
  block.if(lt(lane, i32(count)), (b) => b.set(groups(lane), bitsOf(one(b, words, lane, threads, count))))
  block.barrier()
  return one(block, groups, i32(0), count, 1)
}

/** Among `count` neighbours. */
function shuffled(block: Block, count: number, value: Code, combine: Combine, wish: string): Code {
  const own = block.var(wish, value)
  for (let mask = count / 2; mask >= 1; mask /= 2)
    block.set(own, combine(own, op(value.type, 'shuffleXor', own, i32(mask))))
  return own
}

function shuffleAll(
  block: Block,
  { threads, lane, lanes, groups }: Team,
  value: Code,
  combine: Combine,
  wish: string,
): Code {
  const own = shuffled(block, lanes, value, combine, 'own')
  // Those of the last time may still be read.
  block.barrier()
  block.if(op('bool', 'eq', remainder(lane, i32(lanes)), i32(0)), (b) =>
    b.set(groups(quotient(lane, i32(lanes))), bitsOf(own)),
  )
  block.barrier()
  const total = block.var(wish, valueOf(value, groups(i32(0))))
  block.for('other', i32(1), i32(threads / lanes), 1, (b, other) =>
    b.set(total, combine(total, valueOf(value, groups(other)))),
  )
  return total
}

export interface Scanned {
  /** The sum of the numbers of the threads before this one, and of all. */
  readonly before: Code
  readonly all: Code
}

/** Sums of a word of each thread. */
export function scanAll(block: Block, team: Team, value: Code): Scanned {
  if (isShuffled(team)) return scanShuffled(block, team, value)
  const { threads, lane, words, groups, group } = team
  const own = block.let('ownWord', value)
  block.set(words(lane), own)
  block.barrier()
  const before = block.var('before', u32(0))
  const mine = block.let('group', quotient(lane, i32(group)))
  block.for('other', mul(mine, i32(group)), lane, 1, (b, other) => b.set(before, add(before, words(other))))
  block.if(op('bool', 'eq', remainder(lane, i32(group)), i32(group - 1)), (b) =>
    b.set(groups(mine), add(before, own)),
  )
  block.barrier()
  const all = block.var('all', u32(0))
  block.for('other', i32(0), i32(threads / group), 1, (b, other) => {
    const theirs = b.let('theirs', groups(other))
    b.set(all, add(all, theirs))
    b.set(before, add(before, select(lt(other, mine), theirs, u32(0))))
  })
  return { before, all }
}

/** The sums of twice as many neighbours at each step; those of the lower half are before the upper's. */
function scanShuffled(block: Block, { threads, lane }: Team, value: Code): Scanned {
  const all = block.var('all', value)
  const before = block.var('before', u32(0))
  for (let mask = 1; mask < threads; mask *= 2) {
    const theirs = block.let('theirs', op('u32', 'shuffleXor', all, i32(mask)))
    const isUpper = not(op('bool', 'eq', op('i32', 'bitAnd', lane, i32(mask)), i32(0)))
    block.set(before, add(before, select(isUpper, theirs, u32(0))))
    block.set(all, add(all, theirs))
  }
  return { before, all }
}

/**
 * Sums of some numbers of each of `lanes` neighbours, a power of two of them: a step halves the numbers of a thread, until each part of
 * the neighbours has one number's, in their order.
 */
export function sumOfEach(block: Block, values: readonly Code[], lane: Code, lanes: number): Code {
  let mask = lanes / 2
  let own = values
  for (; own.length > 1; mask /= 2) {
    const half = own.length / 2
    const isUpper = block.let('isUpper', not(op('bool', 'eq', op('i32', 'bitAnd', lane, i32(mask)), i32(0))))
    own = own.slice(0, half).map((low, i) => {
      const high = own[i + half]!
      const theirs = op('f32', 'shuffleXor', block.let('given', select(isUpper, low, high)), i32(mask))
      return block.let('kept', add(select(isUpper, high, low), theirs))
    })
  }
  const sum = block.var('sum', own[0]!)
  for (; mask >= 1; mask /= 2) block.set(sum, add(sum, op('f32', 'shuffleXor', sum, i32(mask))))
  return sum
}

/** A bit of each thread of a shuffled team, the first one's the lowest. */
export function ballotAll({ threads, lane, lanes }: Team, value: Code): Code {
  const bits = op('u32', 'ballot', value)
  if (threads === lanes) return bits
  const first = sub(remainder(fromU32(op('u32', 'thread')), i32(lanes)), lane)
  return op('u32', 'bitAnd', op('u32', 'shr', bits, toU32(first)), u32(2 ** threads - 1))
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

/**
 * Bounds of a choice: a row's keys and an amount in; the key down to which cells are taken, and how many of those at it, out.
 * It is the greatest key at or above which enough weight lies: of topK a cell weighs one, of topP its value.
 */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { Block } from '../block.ts'
import { add, and, eq, f32, i32, le, lt, max, mul, not, op, select, sub, toU32, u32 } from '../kernel.ts'
import type { Code } from '../kernel.ts'
import { isForced, isOpen, isOpenFrom, valueOfKey, type Row } from './candidates.ts'
import { reduceAll, scanAll, type Room, type Team } from './team.ts'

export type Choice = StageNode<'topK'> | StageNode<'topP'>

export interface Bound {
  /** 0 where every cell that can be chosen is; FORCED where none is. */
  readonly key: Code
  /** How many cells of that key are taken, the first of them. */
  readonly wanted: Code
}

/** More than any row has, and still a whole f32. */
const MOST_CELLS = 2 ** 23
const NONE = 2 ** 32 - 1

/** True if forced cells cost of the amount. */
const costs = ({ arg }: Choice): boolean => arg.force !== null && arg.forced === 'counted'

const wholeOf = (cells: Code): Code =>
  op('i32', 'toI32', max(op('f32', 'min', cells, f32(MOST_CELLS)), f32(0)))

/** A team's counters of cells by digits of so many bits. */
export interface Digits {
  readonly counters: Room
  readonly digit: number
}

/**
 * Meets the row's cells for the first time.
 * @param digits of a topK; null: the row is short, and its keys are met bit by bit
 */
export const boundOf = (
  b: Block,
  node: Choice,
  row: Row,
  team: Team,
  amount: Code,
  digits: Digits | null,
): Bound => {
  if (!isWord(node, 'topK')) return massBound(b, node, row, team, amount)
  return digits ? countBound(b, node, row, team, amount, digits) : shortCountBound(b, node, row, team, amount)
}

const asFloat = (n: Code): Code => op('f32', 'toF32', n)
const fromCount = (n: Code): Code => op('i32', 'fromU32', n)

interface Wish {
  /** What forced cells have left of the amount, and the cells that it takes. */
  readonly budget: Code
  readonly needed: Code
}

function wishOf(b: Block, amount: Code, forced: Code | null): Wish {
  const budget = forced ? b.let('budget', max(sub(amount, asFloat(forced)), f32(0))) : amount
  // No count is enough for what is not a number.
  const enough = select(le(budget, f32(MOST_CELLS)), op('f32', 'ceil', budget), f32(MOST_CELLS))
  return { budget, needed: b.let('needed', wholeOf(enough)) }
}

/** topK of a short row. */
function shortCountBound(b: Block, node: Choice, row: Row, team: Team, amount: Code): Bound {
  const spent = costs(node) ? b.var('forcedHere', u32(0)) : null
  row.first(b, (d, { key }) => {
    if (spent) d.set(spent, add(spent, select(isForced(key), u32(1), u32(0))))
  })
  const { budget, needed } = wishOf(b, amount, spent && reduceAll(b, team, spent, add, 'forcedCount'))
  const { bound, above } = search(
    b,
    row,
    team,
    u32(0),
    () => u32(1),
    (count) => le(needed, fromCount(count)),
  )
  return { key: bound, wanted: b.let('wanted', wholeOf(sub(budget, asFloat(above)))) }
}

/**
 * Bit by bit from the top, the greatest key at or above which lies enough weight of cells that can be chosen, and the weight above it:
 * that of the last trial that was too great, which is the bound's successor. 0 where all are not enough.
 */
function search(
  b: Block,
  row: Row,
  team: Team,
  zero: Code,
  weightOf: (key: Code) => Code,
  isEnough: (weight: Code) => Code,
): { readonly bound: Code; readonly above: Code } {
  const bound = b.var('bound', u32(0))
  const above = b.var('above', zero)
  b.for('n', i32(0), i32(32), 1, (d, n) => {
    const trial = d.let('trial', op('u32', 'bitOr', bound, op('u32', 'shl', u32(1), toU32(sub(i32(31), n)))))
    const part = d.var('part', zero)
    row.again(d, i32(0), row.columns, (e, _, key) =>
      e.set(part, add(part, select(isOpenFrom(trial, key), weightOf(key), zero))),
    )
    const weight = reduceAll(d, team, part, add, 'weight')
    const enough = d.let('enough', isEnough(weight))
    d.set(bound, select(enough, trial, bound))
    d.set(above, select(enough, above, weight))
  })
  return { bound, above }
}

/**
 * topK, digit by digit of the keys from the top: cells are counted by the digit, and the counts of the greater digits summed until
 * they are enough.
 */
function countBound(
  b: Block,
  node: Choice,
  row: Row,
  team: Team,
  amount: Code,
  { counters, digit }: Digits,
): Bound {
  const { threads, lane } = team
  const found = team.room('found', 2)
  const bins = 2 ** digit
  const shiftOf = (n: number) => Math.max(32 - digit * (n + 1), 0)
  const clear = (d: Block): void => {
    d.for('bin', lane, i32(bins), threads, (e, bin) => e.atomic('store', counters(bin), u32(0)))
    d.if(eq(lane, i32(0)), (e) => e.set(found(i32(0)), u32(NONE)))
    d.barrier()
  }
  const count = (d: Block, bin: Code): void => d.atomic('add', counters(bin), u32(1))

  clear(b)
  const spent = costs(node) ? b.var('forcedHere', u32(0)) : null
  row.first(b, (d, { key }) => {
    d.if(isOpen(key), (e) => count(e, op('u32', 'shr', key, u32(32 - digit))))
    if (spent) d.if(isForced(key), (e) => e.set(spent, add(spent, u32(1))))
  })
  const { budget, needed } = wishOf(b, amount, spent && reduceAll(b, team, spent, add, 'forcedCount'))
  const above = b.var('above', u32(0))
  b.barrier()

  /** The greatest digit that is enough, into `found`; how many cells were counted comes back. */
  const choose = (d: Block): Code => {
    const each = bins / threads
    const binOf = (i: Code) => sub(i32(bins - 1), add(mul(lane, i32(each)), i))
    const load = (i: Code) => op('u32', 'atomicLoad', counters(binOf(i)))
    const own = d.var('counted', u32(0))
    d.for('i', i32(0), i32(each), 1, (e, i) => e.set(own, add(own, load(i))))
    const { before, all } = scanAll(d, team, own)
    const sum = d.var('sum', add(above, before))
    const isEnough = (n: Code) => le(needed, fromCount(n))
    d.if(and(not(isEnough(sum)), isEnough(add(sum, own))), (e) =>
      e.for('i', i32(0), i32(each), 1, (f, i) => {
        const more = f.let('more', add(sum, load(i)))
        f.if(and(not(isEnough(sum)), isEnough(more)), (g) => {
          g.set(found(i32(0)), toU32(binOf(i)))
          g.set(found(i32(1)), sum)
        })
        f.set(sum, more)
      }),
    )
    d.barrier()
    return all
  }
  const isFound = (): Code => not(eq(found(i32(0)), u32(NONE)))
  const all = b.let('allOpen', choose(b))
  const prefix = b.var('prefix', u32(0))
  const known = b.var('knownBits', u32(2 ** 32 - 2 ** (32 - digit)))
  b.if(isFound(), (d) => {
    d.set(prefix, op('u32', 'shl', found(i32(0)), u32(32 - digit)))
    d.set(above, found(i32(1)))
  })
  b.for('n', i32(1), i32(Math.ceil(32 / digit)), 1, (d, n) => {
    const shift = d.let('shift', toU32(max(sub(i32(shiftOf(0)), mul(n, i32(digit))), i32(0))))
    d.barrier()
    clear(d)
    row.again(d, i32(0), row.columns, (e, _, key) =>
      e.if(and(isOpen(key), eq(op('u32', 'bitAnd', key, known), prefix)), (f) =>
        count(f, op('u32', 'bitAnd', op('u32', 'shr', key, shift), u32(bins - 1))),
      ),
    )
    d.barrier()
    choose(d)
    d.if(isFound(), (e) => {
      e.set(prefix, op('u32', 'bitOr', prefix, op('u32', 'shl', found(i32(0)), shift)))
      e.set(above, found(i32(1)))
    })
    d.set(known, op('u32', 'bitNot', sub(op('u32', 'shl', u32(1), shift), u32(1))))
  })
  const few = lt(fromCount(all), needed)
  const key = b.let('bound', select(le(needed, i32(0)), u32(NONE), select(few, u32(0), prefix)))
  return { key, wanted: b.let('wanted', wholeOf(sub(budget, asFloat(above)))) }
}

/** topP: weights are sums of floats, which are made anew for each trial. */
function massBound(b: Block, node: Choice, row: Row, team: Team, amount: Code): Bound {
  const total = (value: Code, wish: string): Code => reduceAll(b, team, value, add, wish)
  const free = b.var('freeHere', f32(0))
  const forced = costs(node) ? b.var('forcedHere', f32(0)) : null
  row.first(b, (d, { key, value }) => {
    const weight = max(value, f32(0))
    if (forced) d.if(isForced(key), (e) => e.set(forced, add(forced, weight)))
    d.if(isOpen(key), (e) => e.set(free, add(free, weight)))
  })
  const spent = forced ? total(forced, 'forcedMass') : f32(0)
  const open = total(free, 'freeMass')
  const goal = b.let('goal', sub(mul(amount, add(open, spent)), spent))
  const drop = isWord(node, 'topP') && node.arg.cross === 'drop'
  const massOf = (key: Code) => max(valueOfKey(key), f32(0))
  const { bound, above } = search(b, row, team, f32(0), massOf, (mass) =>
    drop ? lt(goal, mass) : le(goal, mass),
  )
  b.if(le(f32(1), amount), (d) => d.set(bound, u32(0)))
  const value = b.let('boundValue', valueOfKey(bound))
  const share = op('f32', 'div', sub(goal, above), max(value, f32(1e-38)))
  return { key: bound, wanted: b.let('wanted', wholeOf(op('f32', drop ? 'floor' : 'ceil', share))) }
}

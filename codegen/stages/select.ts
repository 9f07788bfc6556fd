/** The choice kernel: a row of scores and an amount in; the list or the bits of what topK or topP takes out. */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { SelectKernel } from '../../compiler/stages/plan.ts'
import { LIST_HEADER } from '../artifact.ts'
import type { Block } from '../block.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  f32,
  i32,
  isFalse,
  le,
  lt,
  max,
  mul,
  not,
  op,
  or,
  quotient,
  remainder,
  select,
  sub,
  u32,
  type Code,
  type Memory,
} from '../kernel.ts'
import { valueAt } from './cells.ts'
import { reduceAll, rowwise, shareAll, TOGETHER, type GridUnit } from './grid.ts'
import { countIndex, idsIndex, mostOf, recordOf, startIndex, wordsOf } from './layout.ts'
import { Unsupported } from './units.ts'
import { candidates, valueOfKey, type Candidate, type Row } from './candidates.ts'
import type { Made } from './together.ts'
import type { Cells } from './place.ts'

/**
 * topK and topP are one search. Cells stand by their value's bits in an order that unsigned numbers have too; bit by bit
 * from the top the greatest bound is found at or above which enough weight lies: of topK a cell weighs one, of topP its
 * value. Above the bound all are taken, at the bound the first of them that are still needed.
 */
export function selectEntry(c: Cells, kernel: SelectKernel): Made {
  const { node, grid } = kernel
  if (!isWord(node, 'topK', 'topP') || kernel.scope !== 'row')
    throw new Unsupported(`${node.word} of each ${kernel.scope}`)
  if (isWord(node, 'topK') && node.arg.sorted === 'score') throw new Unsupported('a list in order of score')
  const { text: t } = c
  const scratch = t.workgroup('scratch', 'f32', [TOGETHER])
  const scan = t.workgroup('scan', 'i32', [TOGETHER])
  const entry = rowwise(t, grid.share, (b, unit, lane) => {
    const row = candidates(c, node, unit)
    const goalOf = isWord(node, 'topK') ? countGoal : massGoal
    const goal = goalOf(c, b, node, unit, row, lane, (value, wish) =>
      reduceAll(b, scratch, lane, value, add, wish),
    )
    const bound = b.var('bound', u32(0))
    const above = b.var('above', f32(0))
    b.for('n', i32(0), i32(32), 1, (d, n) => {
      const bit = op('u32', 'shl', u32(1), op('u32', 'toU32', sub(i32(31), n)))
      const trial = d.let('trial', op('u32', 'bitOr', bound, bit))
      const part = d.var('part', f32(0))
      row.each(d, lane, (e, cell) =>
        e.if(op('bool', 'le', trial, cell.key(e)), (f) => f.set(part, add(part, goal.weight(cell)))),
      )
      const mass = reduceAll(d, scratch, lane, part, add, 'mass')
      const enough = goal.reached(mass)
      d.set(bound, select(enough, trial, bound))
      d.set(above, select(enough, above, mass))
    })
    // The last trial that was not reached is the bound's successor: `above` is the weight of what lies above the bound.
    if (!isFalse(goal.all)) b.if(goal.all, (d) => d.set(bound, u32(0)))
    const value = b.let('boundValue', valueOfKey(bound))
    const exact = max(op('f32', 'min', goal.wanted(above, value), f32(MOST_CELLS)), f32(0))
    const wanted = b.let('wanted', op('i32', 'toI32', exact))
    take(c, b, node, unit, lane, scan, row, bound, wanted)
  })
  return { entry, memory: [scratch, scan] }
}

interface Goal {
  /** Every cell that can be chosen is. */
  readonly all: Code
  readonly weight: (cell: Candidate) => Code
  readonly reached: (mass: Code) => Code
  /** How many of those at the bound are taken, given the weight above it. */
  readonly wanted: (above: Code, value: Code) => Code
}
type GoalOf = (
  c: Cells,
  b: Block,
  node: StageNode<'topK'> | StageNode<'topP'>,
  unit: GridUnit,
  row: Row,
  lane: Code,
  total: (value: Code, wish: string) => Code,
) => Goal

/** True if forced cells cost of the amount. */
const costs = ({ arg }: StageNode<'topK'> | StageNode<'topP'>): boolean =>
  arg.force !== null && arg.forced === 'counted'

const amountAt = (c: Cells, node: StageNode, { of, row }: GridUnit): Code =>
  valueAt(c, node.src[1]!, { of, q: row, kv: i32(0) })

const countGoal: GoalOf = (c, b, node, unit, row, lane, total) => {
  const amount = b.let('amount', amountAt(c, node, unit))
  const spent = (): Code => {
    const forced = b.var('forcedHere', f32(0))
    row.each(b, lane, (d, cell) => d.if(cell.forced(d), (e) => e.set(forced, add(forced, f32(1)))))
    return total(forced, 'forcedCount')
  }
  const budget = costs(node) ? b.let('budget', max(sub(amount, spent()), f32(0))) : amount
  return {
    all: bool(false),
    weight: () => f32(1),
    reached: (mass) => le(budget, mass),
    wanted: (above) => sub(budget, above),
  }
}

const massGoal: GoalOf = (c, b, node, unit, row, lane, total) => {
  const free = b.var('freeHere', f32(0))
  const forced = costs(node) ? b.var('forcedHere', f32(0)) : null
  row.each(b, lane, (d, cell) => {
    const weight = max(cell.value, f32(0))
    if (forced) d.if(cell.forced(d), (e) => e.set(forced, add(forced, weight)))
    d.if(not(eq(cell.key(d), u32(0))), (e) => e.set(free, add(free, weight)))
  })
  const spent = forced ? total(forced, 'forcedMass') : f32(0)
  const open = total(free, 'freeMass')
  const amount = b.let('amount', amountAt(c, node, unit))
  const goal = b.let('goal', sub(mul(amount, add(open, spent)), spent))
  const drop = isWord(node, 'topP') && node.arg.cross === 'drop'
  return {
    all: le(f32(1), amount),
    weight: (cell) => max(cell.value, f32(0)),
    reached: (mass) => (drop ? lt(goal, mass) : le(goal, mass)),
    wanted: (above, value) => {
      const share = op('f32', 'div', sub(goal, above), max(value, f32(1e-38)))
      return op('f32', drop ? 'floor' : 'ceil', share)
    },
  }
}

/** More than any row has, and still a whole f32. */
const MOST_CELLS = 2 ** 23

/** Counts of two kinds in one word: of cells that are taken for sure, and of those at the bound. */
const SURE = 2 ** 16

/**
 * The cells that are taken, in order of index, stretch by stretch of TOGETHER columns: all above the bound and all forced
 * ones, and at the bound the first `wanted`.
 */
function take(
  c: Cells,
  b: Block,
  node: StageNode,
  unit: GridUnit,
  lane: Code,
  scan: Memory,
  { columns, at: cellAt }: Row,
  bound: Code,
  wanted: Code,
): void {
  const keep = c.text.find(node, 'ids') ? toList : toBits
  const { put, end } = keep(c, b, node, unit, lane, scan)
  const equals = b.var('equals', i32(0))
  b.for('from', i32(0), columns, TOGETHER, (d, from) => {
    const column = d.let('at', add(from, lane))
    const own = d.var('own', i32(0))
    d.if(lt(column, columns), (e) => {
      const cell = cellAt(e, column)
      const key = e.let('key', cell.key(e))
      const equal = and(eq(key, bound), not(eq(bound, u32(0))))
      const sure = or(cell.forced(e), lt(bound, key))
      e.set(own, select(sure, i32(SURE), select(equal, i32(1), i32(0))))
    })
    shareAll(d, scan, lane, own)
    const [before, all] = [d.var('before', i32(0)), d.var('all', i32(0))]
    d.for('other', i32(0), i32(TOGETHER), 1, (e, other) => {
      const theirs = e.let('theirs', at(scan, other))
      e.set(all, add(all, theirs))
      e.set(before, add(before, select(lt(other, lane), theirs, i32(0))))
    })
    // Of `n` cells at the bound so far the first `wanted` are taken.
    const takenOf = (n: Code) => sub(op('i32', 'min', n, wanted), op('i32', 'min', equals, wanted))
    const rank = d.let('rank', add(equals, remainder(before, i32(SURE))))
    const taken = d.let('taken', or(le(i32(SURE), own), and(eq(own, i32(1)), lt(rank, wanted))))
    const reached = add(equals, remainder(all, i32(SURE)))
    put(d, {
      column,
      taken,
      before: add(quotient(before, i32(SURE)), takenOf(rank)),
      all: add(quotient(all, i32(SURE)), takenOf(reached)),
    })
    d.set(equals, reached)
  })
  end(b)
}

/** A thread's column, whether it is taken, and how many are of those before it and of the whole stretch. */
interface Taken {
  readonly column: Code
  readonly taken: Code
  readonly before: Code
  readonly all: Code
}

interface Taking {
  /** All threads together. */
  readonly put: (b: Block, column: Taken) => void
  readonly end: (b: Block) => void
}
type TakingOf = (c: Cells, b: Block, node: StageNode, unit: GridUnit, lane: Code, scan: Memory) => Taking

const toList: TakingOf = ({ text: t }, b, node, { of, row }, lane) => {
  const target = t.stored(t.find(node, 'ids')!)
  const record = b.let('record', recordOf(t, node, of, row))
  const most = b.let('most', mostOf(t, node))
  const ids = b.let('ids', add(idsIndex(t, node), mul(record, most)))
  const listed = b.var('listed', i32(0))
  return {
    put: (d, { column, taken, before, all }) => {
      const place = d.let('place', add(listed, before))
      d.if(and(taken, lt(place, most)), (e) => e.set(at(target, add(ids, place)), column))
      d.set(listed, add(listed, all))
    },
    end: (d) =>
      d.if(eq(lane, i32(0)), (e) => {
        e.set(at(target, countIndex(record)), op('i32', 'min', listed, most))
        e.set(at(target, startIndex(t, node, record)), mul(record, most))
      }),
  }
}

/** The first thread of each 32 puts their bits together. */
const toBits: TakingOf = ({ text: t }, b, node, { of, row }, lane, scan) => {
  const target = t.stored(t.find(node, 'bits')!)
  const words = b.let('words', wordsOf(t, node))
  const start = b.let('start', add(mul(recordOf(t, node, of, row), words), i32(LIST_HEADER)))
  return {
    put: (d, { column, taken }) => {
      shareAll(d, scan, lane, select(taken, i32(1), i32(0)))
      const word = d.let('word', quotient(column, i32(32)))
      d.if(and(eq(remainder(lane, i32(32)), i32(0)), lt(word, words)), (e) => {
        const bits = e.var('bits', u32(0))
        e.for('bit', i32(0), i32(32), 1, (f, bit) => {
          const own = op('u32', 'toU32', at(scan, add(lane, bit)))
          f.set(bits, op('u32', 'bitOr', bits, op('u32', 'shl', own, op('u32', 'toU32', bit))))
        })
        e.set(at(target, add(start, word)), bits)
      })
    },
    end: () => {},
  }
}

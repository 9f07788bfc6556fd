/** KvTiles become the loop over kv tiles: intervals once per query tile, then a walk in ascending order. */

import { oneReads } from './agree.ts'
import { readsHead, type KvTiles, type TileTerm } from '../compiler/plan.ts'
import type { VarName } from '../compiler/ir.ts'
import type { Block } from './block.ts'
import { callOf, rateOf, Values, write, writeNamed, type PatternFunction } from './expr.ts'
import type { Frame, Place } from './frame.ts'
import {
  add,
  and,
  at,
  bool,
  eq,
  i32,
  le,
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
  u32,
  type Code,
  type Memory,
} from './kernel.ts'
import { LIST_FULL } from './artifact.ts'

const NO_TILE = i32(2 ** 31 - 1)

/** The functions behind a plan's tests, made once for a module. */
export interface TileTests {
  readonly kept: readonly (PatternFunction | null)[]
  readonly dropped: readonly (PatternFunction | null)[]
}

export function tileTests(frame: Frame, { kept, dropped }: Pick<KvTiles, 'kept' | 'dropped'>): TileTests {
  const made = (wish: string) => (term: TileTerm) =>
    // Asked of a piece of the query tile, a test has bounds that differ from the tile's own.
    term.test && frame.function(wish, term.test, term.pieces.q ? ['workgroup'] : ['workgroup', 'row'])
  return { kept: kept.map(made('mayKeep')), dropped: dropped.map(made('mayDrop')) }
}

/** A visited tile: its index, and whether it lies inside kvLen with no pair dropped (null: not known here). */
export interface Visit {
  readonly tile: Code
  readonly kvLo: Code
  readonly kvHi: Code
}

/** A term over this workgroup's query tile: positions, or tiles once the ends are divided. */
interface Reach {
  readonly term: TileTerm
  readonly test: PatternFunction | null
  readonly qCut: Code | null
}

function askTest(block: Block, place: Place, reach: Reach, { kvLo, kvHi }: Visit): Code {
  const { term, test, qCut } = reach
  if (!test) return bool(true)
  const values = new Values(place.values)
  const kvCut =
    term.pieces.kv &&
    block.let(
      'kvCut',
      write(
        block,
        { ...place.leaves, var: (v) => (v === 'kvLo' ? kvLo : v === 'kvHi' ? kvHi : place.leaves.var(v)) },
        values,
        term.pieces.kv,
      ),
    )
  const cut = (lo: Code, hi: Code, at: Code | null): [Code, Code][] =>
    at
      ? [
          [lo, block.let('end', min(hi, sub(at, i32(1))))],
          [block.let('start', max(lo, at)), hi],
        ]
      : [[lo, hi]]
  const answers = cut(place.qLo, place.qHi, qCut).flatMap(([qa, qb]) =>
    cut(kvLo, kvHi, kvCut).map(([ka, kb]) => {
      const bounds: Partial<Record<VarName, Code>> = { qLo: qa, qHi: qb, kvLo: ka, kvHi: kb }
      const answer = callOf(test, (e) => {
        if (e.op === 'var') return bounds[e.arg] ?? place.leaves.var(e.arg)
        return write(block, place.leaves, values, e)
      })
      return and(qCut ? le(qa, qb) : bool(true), kvCut ? le(ka, kb) : bool(true), answer)
    }),
  )
  return or(...answers)
}

/** What a term says of this workgroup's query tile, put before the loop. */
function prepare(
  block: Block,
  place: Place,
  term: TileTerm,
  test: PatternFunction | null,
): Reach & { when: Code; lo: Code; hi: Code } {
  const put = (e: TileTerm['when'], base: string) => writeNamed(block, place.leaves, place.values, e, base)
  test?.inputs.forEach((e) => {
    if (e.src.length > 0) put(e, rateOf(e) === 'row' ? 'ofTile' : 'fixed')
  })
  return {
    term,
    test,
    when: put(term.when, 'when'),
    lo: put(term.lo, 'lo'),
    hi: put(term.hi, 'hi'),
    qCut: term.pieces.q && put(term.pieces.q, 'qCut'),
  }
}

/** The question whether a tile drops no pair: `dropped` are the terms of the negated mask. */
export function fullness(
  frame: Frame,
  block: Block,
  place: Place,
  dropped: readonly TileTerm[],
  tests: TileTests,
): (b: Block, tile: Visit) => Code {
  const terms = dropped.map((term, i) => prepare(block, place, term, tests.dropped[i]!))
  return (b, tile) => {
    const { kvLo, kvHi } = tile
    const reached = terms.map((d) => and(d.when, le(d.lo, kvHi), le(kvLo, d.hi), askTest(b, place, d, tile)))
    return and(le(add(kvLo, i32(frame.tile.kv)), place.kvLen), not(or(...reached)))
  }
}

/** The prologue of the walk, then the walk itself: `visit` is put into a loop over the tiles that may keep a pair. */
export function walkTiles(
  frame: Frame,
  block: Block,
  place: Place,
  tests: TileTests,
  visit: (b: Block, tile: Visit, isFull: (b: Block) => Code) => void,
): void {
  const { tiles } = frame.problem.plan
  const size = i32(frame.tile.kv)
  const { kvLen } = place
  block.comment('the kv tiles that each term of the mask may reach')
  const kept = tiles.kept.map((term, i) => {
    const reach = prepare(block, place, term, tests.kept[i]!)
    const { when, lo, hi } = reach
    const some = and(when, le(lo, hi), le(i32(0), hi), lt(i32(0), kvLen))
    return {
      ...reach,
      first: block.let('first', quotient(max(lo, i32(0)), size)),
      last: block.let('last', select(some, quotient(min(hi, sub(kvLen, i32(1))), size), i32(-1))),
    }
  })
  const isFull = fullness(frame, block, place, tiles.dropped, tests)

  const tile = block.var('tile', i32(0))
  block.loop((b) => {
    const next = b.var('next', NO_TILE)
    for (const { first, last } of kept) {
      const begin = b.let('begin', max(tile, first))
      b.if(le(begin, last), (c) => c.set(next, min(next, begin)))
    }
    b.if(eq(next, NO_TILE), (c) => c.break())
    b.set(tile, next)
    const kvLo = b.let('kvLo', mul(tile, size))
    const kvHi = b.let('kvHi', sub(min(add(kvLo, size), kvLen), i32(1)))
    const seen: Visit = { tile, kvLo, kvHi }
    if (kept.some((k) => k.test)) {
      const reached = b.let(
        'reached',
        or(...kept.map((k) => and(le(k.first, tile), le(tile, k.last), askTest(b, place, k, seen)))),
      )
      b.if(not(reached), (c) => {
        c.set(tile, add(tile, i32(1)))
        c.continue()
      })
    }
    visit(b, seen, (c) => isFull(c, seen))
    b.set(tile, add(tile, i32(1)))
  })
}

/** A record of the list buffer: where this workgroup's begins. */
export const recordOf = (frame: Frame, place: Place): Code => {
  // Tiles that are the same for every head have one record for all of them.
  const slot = readsHead(frame.problem.plan) ? place.slot : place.ownBatch
  return mul(add(mul(slot, place.qTiles), place.qTile), frame.uniform('listStride'))
}

/** The walk over a list that the other entry point made, in a buffer that kernels write. */
export function walkList(
  frame: Frame,
  block: Block,
  place: Place,
  word: Memory,
  visit: (b: Block, tile: Visit, full: Code) => void,
): void {
  const list = frame.buffer('list')
  const record = block.let('record', recordOf(frame, place))
  const read = (b: Block, index: Code): Code => oneReads(b, word, at(list, index), 'word')
  const count = read(block, record)
  block.for('n', u32(0), count, 1, (b, n) => {
    const entry = read(b, add(add(record, u32(1)), n))
    const tile = b.let('tile', op('i32', 'fromU32', op('u32', 'bitAnd', entry, u32(2 ** 31 - 1))))
    const kvLo = b.let('kvLo', mul(tile, i32(frame.tile.kv)))
    const kvHi = b.let('kvHi', sub(min(add(kvLo, i32(frame.tile.kv)), place.kvLen), i32(1)))
    visit(b, { tile, kvLo, kvHi }, le(u32(LIST_FULL), entry))
  })
}

/**
 * The attend skeleton as Stmt, written once: a workgroup takes one (batch, head, query tile), walks the kv tiles that the
 * plan reaches, and keeps an online softmax in base 2. A thread owns `rows` x 4 scores and `rows` rows of some vectors of
 * the output, all in named registers.
 */

import { Block } from './block.ts'
import { rateOf, write, writeNamed, type PatternFunction } from './expr.ts'
import { walksList, type Frame } from './frame.ts'
import {
  add,
  and,
  at,
  bool,
  f32,
  i32,
  isFalse,
  isTrue,
  lane,
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
  toU32,
  u32,
  ZERO4,
  type Code,
  type Entry,
  type Memory,
} from './kernel.ts'
import { contiguous, type Keys } from './keys.ts'
import { LOG2E, maskScores, scoreChange } from './pairs.ts'
import { walkParts } from './parts.ts'
import { range, rowOf, shapesOf, type Attend } from './shapes.ts'
import { bestOf, reduceRows, softmaxStep } from './softmax.ts'
import { isWanted } from './skip.ts'
import { loadState, storeState } from './state.ts'
import { rowIsReal, sourceOf, stage, vectorsOf, writeVector } from './stage.ts'
import { walkList, walkTiles, type TileTests, type Visit } from './tiles.ts'

const LN2 = 0.6931471805599453
/** The identity of max: finite, and so far above a masked score that their difference has power zero. */
const FLOOR = -1.0e30
const MINUS_INFINITY_BITS = 0xff800000

/** Functions behind the tests of the plan's tiles, and of the tiles that lists name. */
interface Tests {
  readonly plan: TileTests
  readonly listed: TileTests
}

/** The entry point, and the workgroup memory that it declares. */
export function attend(frame: Frame, tests: Tests): { entry: Entry; memory: readonly Memory[] } {
  const { plan, schedule, parts } = frame.problem
  const shapes = shapesOf(frame)
  const { threads, rows, width, shuffle, unroll } = schedule
  const memory = {
    stage: frame.workgroup('stage', 'f32x4', [shapes.stageRows, width + 1]),
    // Vectors of four keys where text may be long; one key after another where it must be short.
    weights: unroll
      ? frame.workgroup('weights', 'f32x4', [frame.tile.q, threads.kv + 1])
      : frame.workgroup('weights', 'f32', [frame.tile.q, frame.tile.kv + 1]),
    shared:
      shuffle < threads.kv ? frame.workgroup('partials', 'f32', [frame.tile.q, threads.kv / shuffle]) : null,
  }
  const wild = frame.workgroup('wildChunk', 'u32', [], true)
  const votes = frame.skips && {
    votes: frame.workgroup('votes', 'u32', [], true),
    word: frame.workgroup('votesWord', 'u32', []),
  }
  const word = walksList(frame.problem) ? frame.workgroup('listWord', 'u32', []) : null
  const block = new Block(frame.names.child())
  const place = frame.enter(block)
  const thread = op('u32', 'thread')
  const i = block.let('i', quotient(thread, u32(threads.kv)))
  const j = block.let('j', remainder(thread, u32(threads.kv)))
  const sources = {
    q: sourceOf(frame, block, place, 'q'),
    k: sourceOf(frame, block, place, 'k'),
    v: sourceOf(frame, block, place, 'v'),
  }
  const scale = frame.uniform('scale')
  const queryScale = block.let('queryScale', plan.score ? scale : mul(scale, f32(LOG2E)))
  // What the mask and the score need once per workgroup.
  for (const f of [frame.mask, frame.score, frame.listed].filter((g) => g !== null)) {
    for (const e of f.inputs) {
      if (rateOf(e) === 'workgroup' && e.src.length > 0)
        writeNamed(block, place.leaves, place.values, e, 'fixed')
    }
  }
  const state = {
    rowMax: range(rows).map((r) => block.var(`rowMax${r}`, f32(FLOOR))),
    rowSum: range(rows).map((r) => block.var(`rowSum${r}`, f32(0))),
    out: range(rows).map((r) => range(shapes.value.own).map((c) => block.var(`out${r}_${c}`, ZERO4))),
  }
  const a: Attend = { frame, shapes, place, thread, i, j, ...memory, wild, votes, sources, state, queryScale }
  const gathered: Memory[] = []
  if (frame.problem.state.before) loadState(a, block)
  block.if(le(place.realLo, place.realHi), (b) => {
    const visit =
      (mask: PatternFunction | null) =>
      (b: Block, { kvLo }: Visit, full: Code) =>
        bodies(a, b, { keys: contiguous(place, kvLo), full, mask })
    const inRanges = visit(frame.mask)
    if (word) walkList(frame, b, place, word, inRanges)
    else if (!parts || parts.ranges)
      walkTiles(frame, b, place, tests.plan, (c, tile, isFull) => inRanges(c, tile, c.let('full', isFull(c))))
    if (!parts) return
    const lists = walkParts(frame, b, place, parts, tests.listed, (c, keys, full) =>
      bodies(a, c, { keys, full, mask: frame.listed }),
    )
    gathered.push(...lists)
  })
  epilogue(a, block)
  return {
    entry: { name: 'attend', threads: shapes.threads, body: block.stmts },
    memory: [
      memory.stage,
      memory.weights,
      wild,
      ...[memory.shared, word].filter((m) => m !== null),
      ...(votes ? [votes.votes, votes.word] : []),
      ...gathered,
    ],
  }
}

/** A tile of keys, as the steps of the skeleton take it. */
interface KeyTile {
  readonly keys: Keys
  /** True if every pair of the tile is kept; known while the text is written, or not. */
  readonly full: Code
  /** What tells the kept pairs from the others. */
  readonly mask: PatternFunction | null
}

/** Full and partial tiles share a body or have one each, as the schedule says. */
function bodies(a: Attend, block: Block, tile: KeyTile): void {
  const { full } = tile
  if (a.frame.problem.schedule.bodies === 1 || isTrue(full) || isFalse(full)) return tileBody(a, block, tile)
  block.if(
    full,
    (b) => {
      b.comment('full tiles')
      tileBody(a, b, { ...tile, full: bool(true) })
    },
    (b) => {
      b.comment('partial tiles')
      tileBody(a, b, { ...tile, full: bool(false) })
    },
  )
}

/** One tile: scores, mask unless the tile is full, softmax step, weighted values. */
function tileBody(a: Attend, block: Block, { keys, full, mask }: KeyTile): void {
  const scores = scoresOf(a, block, keys, isTrue(full))
  if (a.frame.score) scoreChange(a, block, keys, scores, isTrue(full))
  if (isFalse(full)) maskScores(a, block, keys, scores, mask)
  else if (!isTrue(full)) {
    block.if(not(full), (b) => {
      b.comment('partial tiles')
      maskScores(a, b, keys, scores, mask)
    })
  }
  const best = bestOf(a, block, scores)
  const step = (b: Block) => {
    softmaxStep(a, b, scores, best, isTrue(full))
    addValues(a, b, keys, full)
  }
  if (a.votes) block.if(isWanted(a, block, a.votes, best, keys.position(i32(0), false)), step)
  else step(block)
}

/** Q Kt of the tile, staged in chunks of the head dim. Key 4 j + c lies in row c * threads + j, so that neighbours differ by one row. */
function scoresOf(a: Attend, block: Block, tileKeys: Keys, full: boolean): Code[][] {
  const { frame, shapes, sources, place } = a
  const { threads, rows } = frame.problem.schedule
  const { vectors, count } = shapes.chunk
  const scores = range(rows).map((r) => range(4).map((c) => block.var(`s${r}_${c}`, f32(0))))
  const chunk = (b: Block, from: Code) => {
    b.comment('load query tile and key tile')
    const ragged = vectors * count > vectorsOf(frame.problem.headDim)
    stage(frame, b, a.thread, a.stage, [
      {
        source: sources.k,
        rows: frame.tile.kv,
        width: vectors,
        from,
        ragged,
        row: tileKeys.row(full),
        place: (row, vector) => [
          add(mul(remainder(row, u32(4)), u32(threads.kv)), quotient(row, u32(4))),
          vector,
        ],
      },
      {
        source: sources.q,
        rows: frame.tile.q,
        width: vectors,
        from,
        ragged,
        row: (row) => place.rows.source(row, sources.q.headStride),
        scale: a.queryScale,
        place: (row, vector) => [add(row, u32(frame.tile.kv)), vector],
      },
    ])
    b.barrier()
    b.for('d', u32(0), u32(vectors), 1, (c, d) => {
      const keys = range(4).map((x) => c.let(`key${x}`, at(a.stage, add(a.j, u32(x * threads.kv)), d)))
      for (const r of range(rows)) {
        const query = c.let(`query${r}`, at(a.stage, add(rowOf(a, r), u32(frame.tile.kv)), d))
        range(4).forEach((x) => {
          const s = scores[r]![x]!
          c.set(
            s,
            range(4).reduce((sum, l) => op('f32', 'mad', lane(query, l), lane(keys[x]!, l), sum), s),
          )
        })
      }
    })
  }
  if (count === 1) chunk(block, u32(0))
  else block.for('chunk', u32(0), u32(vectors * count), vectors, chunk)
  return scores
}

/**
 * P V of the tile. Zero times a NaN is a NaN: where a partial tile holds one, or an infinity, the values of a masked key
 * are replaced. That costs as much as the product itself, so it is done in chunks that hold one and in no others.
 */
function addValues(a: Attend, block: Block, tileKeys: Keys, full: Code): void {
  const { frame, shapes, sources, state } = a
  const { rows, width } = frame.problem.schedule
  const { own, stageRows, keys, vectors } = shapes.value
  const chunk = (b: Block, from: Code) => {
    b.comment('load value tile')
    const keyOf = tileKeys.row(isTrue(full))
    // One more than the chunk's first key: memory starts at zero, and no later chunk has the number again.
    const mark = isTrue(full) ? u32(0) : b.let('chunkMark', add(add(tileKeys.mark, from), u32(1)))
    stage(frame, b, a.thread, a.stage, [
      {
        source: sources.v,
        rows: keys,
        width: vectors,
        from: u32(0),
        ragged: false,
        row: (row) => keyOf(add(from, row)),
        ...(isTrue(full)
          ? {}
          : {
              inspect: (c: Block, value: Code) =>
                c.if(op('bool', 'isWild4', value), (d) => d.atomic('store', at(a.wild), mark)),
            }),
        place: (row, vector) => [
          add(mul(row, u32(stageRows)), vectors <= width ? u32(0) : quotient(vector, u32(width))),
          vectors <= width ? vector : remainder(vector, u32(width)),
        ],
      },
    ])
    b.barrier()
    // Key `key` of the chunk: one weight per row, its vectors of values, and what they add to the output.
    const addKey = (c: Block, key: Code, suffix: string, weights: readonly Code[], tame: boolean) => {
      const base = c.let(`base${suffix}`, mul(key, u32(stageRows)))
      for (const n of range(own)) {
        const value = c.let(`value${suffix}_${n}`, at(a.stage, ...stagedValue(a, base, n)))
        weights.forEach((w, r) => {
          const o = state.out[r]![n]!
          const v = tame ? value : select(lt(f32(0), w), value, ZERO4)
          c.set(o, op('f32x4', 'mad4', w, v, o))
        })
      }
    }
    const addKeys = (tame: boolean) => (b: Block) => {
      if (a.weights.type === 'f32') {
        b.for('key', u32(0), u32(keys), 1, (c, key) =>
          addKey(
            c,
            key,
            '',
            range(rows).map((r) => c.let(`weight${r}`, at(a.weights, rowOf(a, r), add(from, key)))),
            tame,
          ),
        )
        return
      }
      b.for('four', u32(0), u32(keys / 4), 1, (c, four) => {
        const weights = range(rows).map((r) =>
          c.let(`weight${r}`, at(a.weights, rowOf(a, r), add(quotient(from, u32(4)), four))),
        )
        for (const x of range(4))
          addKey(
            c,
            add(mul(four, u32(4)), u32(x)),
            String(x),
            weights.map((w) => lane(w, x)),
            tame,
          )
      })
    }
    if (isTrue(full)) return addKeys(true)(b)
    const tame = b.let('tame', not(op('bool', 'eq', op('u32', 'atomicLoad', at(a.wild)), mark)))
    b.if(isFalse(full) ? tame : or(full, tame), addKeys(true), (c) => {
      c.comment('values of masked keys are replaced')
      addKeys(false)(c)
    })
  }
  if (keys === frame.tile.kv) chunk(block, u32(0))
  else block.for('firstKey', u32(0), u32(frame.tile.kv), keys, chunk)
}

/** Where vector n * threads.kv + j of a staged key's values is: a row of the stage holds `width` of them. */
function stagedValue({ frame, j }: Attend, base: Code, n: number): [Code, Code] {
  const { threads, width } = frame.problem.schedule
  const flat = n * threads.kv
  if (threads.kv < width) return [add(base, u32(Math.floor(flat / width))), add(j, u32(flat % width))]
  if (threads.kv === width) return [add(base, u32(flat / width)), j]
  return [add(add(base, quotient(j, u32(width))), u32(flat / width)), remainder(j, u32(width))]
}

/** Normalises once, writes the rows of the tensor (rows that are not real as empty ones) and their LSE. */
function epilogue(a: Attend, block: Block): void {
  const { frame, place, shapes, state } = a
  const { plan, schedule } = frame.problem
  block.comment('epilogue')
  if (frame.problem.state.makes === 'state')
    return storeState(a, block, reduceRows(a, block, state.rowSum, add))
  const out = sourceOf(frame, block, place, 'out')
  const sink = plan.sinkLogit && block.let('sink', write(block, place.leaves, place.values, plan.sinkLogit))
  const sink2 = sink && block.let('sinkLog2', mul(sink, f32(LOG2E)))
  const sums = reduceRows(a, block, state.rowSum, add)
  const lse = frame.buffer('lse')
  const rowsBefore = mul(add(mul(place.batch, frame.uniform('qHeads')), place.head), frame.uniform('qRows'))
  const lseStart = block.let('lseStart', rowsBefore)
  for (const r of range(schedule.rows)) {
    const inTile = rowOf(a, r)
    const row = block.let(`row${r}`, place.rows.row(inTile))
    const beyond = mul(place.rows.head(inTile), out.headStride)
    block.if(place.rows.owns(row), (b) => {
      const sum = sums[r]!
      const rowMax = state.rowMax[r]!
      const some = b.let('some', and(rowIsReal(place, row), lt(f32(0), sum)))
      const top = sink2 ? b.let('top', max(rowMax, sink2)) : rowMax
      const shrink = sink2 ? b.let('shrink', op('f32', 'exp2', sub(rowMax, top))) : null
      const total =
        sink2 && shrink
          ? b.let('total', op('f32', 'mad', sum, shrink, op('f32', 'exp2', sub(sink2, top))))
          : sum
      const factor = b.let('factor', op('f32', 'div', shrink ?? f32(1), select(some, total, f32(1))))
      state.out[r]!.forEach((o, n) => {
        const vector = add(a.j, u32(n * schedule.threads.kv))
        const value = select(some, op('f32x4', 'mul4', o, factor), ZERO4)
        const put = (c: Block) => writeVector(frame, c, out, toU32(row), vector, value, beyond)
        if ((n + 1) * schedule.threads.kv <= shapes.value.vectors) put(b)
        else b.if(lt(vector, u32(shapes.value.vectors)), put)
      })
      b.if(op('bool', 'eq', a.j, u32(0)), (c) => {
        const bits = (e: Code) => op('u32', 'floatBits', e)
        const empty = u32(MINUS_INFINITY_BITS)
        const heads = mul(place.rows.head(inTile), toU32(frame.uniform('qRows')))
        const target = at(lse, add(toU32(add(lseStart, row)), heads))
        const full = bits(mul(add(top, op('f32', 'log2', total)), f32(LN2)))
        const none = sink
          ? (d: Block) => d.set(target, select(rowIsReal(place, row), bits(sink), empty))
          : (d: Block) => d.set(target, empty)
        c.if(some, (d) => d.set(target, full), none)
      })
    })
  }
}

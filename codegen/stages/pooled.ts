/** Pooled cells: a pool of scores and a pair of units in; what is made of the cells that go into it, and whether it is seen, out. */

import { sameUnits } from '../../compiler/stages/axes.ts'
import { nodesUnder, type Share, type StageNode } from '../../compiler/stages/graph.ts'
import { scoresOf } from '../../compiler/stages/typing.ts'
import type { Block } from '../block.ts'
import { add, and, bool, f32, i32, lt, max, min, mul, op, or, select, sub, type Code } from '../kernel.ts'
import { LOWEST } from './pooled-rows.ts'
import type { Sharer, StageText } from './text.ts'
import { joinVars, sourcesOf, unitVars, type Run, type Sources } from './units.ts'
import { maskSees } from './visible.ts'
import { cellVars, isRead, unitsOf, type CellPlace, type Cells } from './place.ts'

interface Pool {
  readonly shares: Run
  readonly q: Sources
  readonly kv: Sources
}

function poolOf(t: StageText, node: StageNode<'poolScores'>, place: CellPlace): Pool {
  const source = scoresOf(node.src[0]!)
  const { q, kv } = unitsOf(node, place)
  return {
    shares: finerSharers(t, source.share, place.of),
    q: sourcesOf(t, source.q, q),
    kv: sourcesOf(t, source.kv, kv),
  }
}

/** The sharers of a finer level that go into one of a coarser. */
export function finerSharers(t: StageText, finer: Share, of: Sharer): Run {
  if (finer === of.share) return { lo: of.at, hi: add(of.at, i32(1)) }
  if (of.share === 'kvHead') return { lo: mul(of.at, t.group), hi: mul(add(of.at, i32(1)), t.group) }
  return { lo: i32(0), hi: t.sharers(finer) }
}

type Visit = (b: Block, cell: CellPlace, fraction: Code | null, seen: Code) => void

/**
 * Each source cell of a pooled one that the filter lets pass: the visible ones, or, where cells are read, all with whether they are
 * visible, so that no branch parts the reads.
 */
function eachSource(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace, visit: Visit): void {
  const { text: t } = c
  const source = node.src[0]!
  const { share } = scoresOf(source)
  const { shares, q, kv } = poolOf(t, node, place)
  const into = unitsOf(node, place)
  const filter = node.arg.of
  over(b, 'sharer', shares, (b1, at) =>
    over(b1, 'row', q, (b2, row) =>
      over(b2, 'column', kv, (b3, column) => {
        const cell: CellPlace = { of: { ...place.of, share, at }, q: row, kv: column }
        const units = unitsOf(source, cell)
        const vars = joinVars(
          cellVars(t, units),
          unitVars(t, 'into.q', into.q),
          unitVars(t, 'into.kv', into.kv),
        )
        const passes = (d: Block) => (filter ? t.write(d, filter, { ...cell.of, vars }) : bool(true))
        const parts = [q.fraction?.(row), kv.fraction?.(column)].filter((f) => f !== undefined)
        const fraction = parts.length === 0 ? null : parts.reduce(mul)
        const visible = (d: Block) =>
          isRead(t, source)
            ? visit(d, cell, fraction, d.let('seen', c.seen(source, cell)))
            : d.if(c.seen(source, cell), (e) => visit(e, cell, fraction, bool(true)))
        if (filter) b3.if(passes(b3), visible)
        else visible(b3)
      }),
    ),
  )
}

/** A loop, or the body alone where there is one. */
function over(b: Block, wish: string, { lo, hi }: Run, body: (b: Block, n: Code) => void): void {
  b.for(wish, lo, hi, 1, body)
}

export interface PooledCell {
  readonly value: Code
  /** How many visible cells went into it, or the sum of their fractions. */
  readonly count: Code
}

export function pooled(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace): PooledCell {
  const { how } = node.arg
  if (how === 'lse') return pooledLse(c, b, node, place)
  const start = how === 'max' ? LOWEST : how === 'min' ? -LOWEST : 0
  const total = b.var('total', f32(start))
  const count = b.var('count', f32(0))
  eachSource(c, b, node, place, (d, cell, fraction, seen) => {
    const own = d.let('own', select(seen, c.value(node.src[0]!, cell), f32(start)))
    if (how === 'max' || how === 'min') d.set(total, how === 'max' ? max(total, own) : min(total, own))
    else d.set(total, fraction ? op('f32', 'mad', own, fraction, total) : add(total, own))
    d.set(count, add(count, select(seen, fraction ?? f32(1), f32(0))))
  })
  if (how === 'sum') return { value: total, count }
  const none = lt(f32(0), count)
  if (how === 'mean')
    return { value: select(none, op('f32', 'div', total, select(none, count, f32(1))), f32(0)), count }
  return { value: select(none, total, f32(LOWEST)), count }
}

/** Less the greatest that was met, as the statistics of a softmax are. */
function pooledLse(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace): PooledCell {
  const top = b.var('top', f32(LOWEST))
  const total = b.var('total', f32(0))
  const count = b.var('count', f32(0))
  eachSource(c, b, node, place, (d, cell, _, seen) => {
    const own = d.let('own', select(seen, c.value(node.src[0]!, cell), f32(LOWEST)))
    const next = d.let('next', max(top, own))
    const term = select(seen, op('f32', 'exp', sub(own, next)), f32(0))
    d.set(total, add(mul(total, op('f32', 'exp', sub(top, next))), term))
    d.set(top, next)
    d.set(count, add(count, select(seen, f32(1), f32(0))))
  })
  const some = lt(f32(0), count)
  const lse = add(top, op('f32', 'log', select(some, total, f32(1))))
  return { value: select(some, lse, f32(LOWEST)), count }
}

/** A pooled cell and whether it is seen, its sources met once; null where the one says nothing of the other. */
export function pooledOnce(
  c: Cells,
  b: Block,
  node: StageNode<'poolScores'>,
  place: CellPlace,
): { readonly value: Code; readonly seen: Code } | null {
  const { asksSources, byMask } = visibility(c, node, place)
  if (!asksSources || node.arg.of) return null
  const { value, count } = pooled(c, b, node, place)
  return { value, seen: and(lt(f32(0), count), byMask) }
}

/** A pooled cell over other units is seen anew by the mask; one that only within() could hide, and distances, by their sources. */
function visibility(c: Cells, node: StageNode<'poolScores'>, place: CellPlace) {
  const { text: t, tiles } = c
  const [from, to] = [scoresOf(node.src[0]!), scoresOf(node)]
  const same = sameUnits(from.q, to.q) && sameUnits(from.kv, to.kv)
  const limited = nodesUnder(node).some((n) => n.word === 'within')
  const units = unitsOf(node, place)
  const byMask =
    to.visible === 'sources' || same ? bool(true) : maskSees(t, tiles, 'any', place.of, units.q, units.kv)
  return { asksSources: to.visible === 'sources' || same || limited, byMask }
}

export function pooledSeen(c: Cells, b: Block, node: StageNode<'poolScores'>, place: CellPlace): Code {
  const { text: t } = c
  const { asksSources, byMask } = visibility(c, node, place)
  if (!asksSources) return byMask
  const found = b.var('found', bool(false))
  const source = node.src[0]!
  const { shares, q, kv } = poolOf(t, node, place)
  over(b, 'sharer', shares, (b1, sharer) =>
    over(b1, 'row', q, (b2, row) =>
      over(b2, 'column', kv, (b3, column) => {
        const cell = { of: { ...place.of, share: scoresOf(source).share, at: sharer }, q: row, kv: column }
        b3.set(found, or(found, c.seen(source, cell)))
      }),
    ),
  )
  return and(found, byMask)
}

/** The attend kernels of a program: an attend of the plan in; the skeleton's problem, its variant and what it reads out. */

import { nodesOf, readsVar, substitute, type Expr } from '../../compiler/ir.ts'
import type { KernelPlan, KvTiles } from '../../compiler/plan.ts'
import { isWord, type Axis, type StageNode, type Visible } from '../../compiler/stages/graph.ts'
import type { AttendKernel, Part, StageBuffer } from '../../compiler/stages/plan.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import { findTiles } from '../../compiler/tiles.ts'
import type { ListInfo, Share, StageAttend } from '../artifact.ts'
import { tileOf } from '../frame.ts'
import { jsonOf } from '../record.ts'
import type { Parts } from '../rows.ts'
import { scheduleOf } from '../schedule.ts'
import { emitVariant } from '../variant.ts'
import { mergedForm } from './merged-attend.ts'
import type { StagesOptions } from './module.ts'
import { Unsupported } from './units.ts'

export function attendKernel(options: StagesOptions, kernel: AttendKernel): StageAttend | null {
  const { node, kept, makes } = kernel
  const { bias, position, skip, stop } = node.arg
  if (position || stop) throw new Unsupported('an attend that turns or stops')
  if (skip) checkSkip(options, kernel, skip)
  if (kept.layout.q) throw new Unsupported('an attend over sorted queries')
  const stored = storedKeys(options, kernel)
  const order = kept.layout.kv
  if (!stored) checkOperands(node, order !== null)
  const { plan, parts, lists } = stored
    ? { ...unitsPlan(options, kernel), parts: null, lists: [] }
    : keptOf(options, kernel)
  if (bias && stored && readsUnits(bias)) throw new Unsupported('a bias that reads units')
  const scored = bias === null ? plan : { ...plan, score: biased(options, plan, bias) }
  const before = node.src[4]
  const asked = {
    ...options,
    plan: scored,
    parts: parts && { ...parts, listed: parts.listed === plan ? scored : parts.listed },
    skip,
    rows: stored && { count: options.sizes.units(rowsOf(node.src[1]!).axis) },
    state: { before: before !== undefined, makes },
  }
  const variant = emitVariant(asked)
  const { parts: given } = asked
  const merged = variant && given && mergedForm({ ...asked, parts: given }, options.sizes, kernel, variant)
  const nameOf = (n: StageNode, holds: StageBuffer['holds']) => find(options, n, holds)?.name ?? null
  return (
    variant && {
      kind: 'attend',
      name: kernel.name,
      variant,
      lists,
      rows: stored && { ...stored, units: jsonOf(options.sizes.units(rowsOf(node.src[1]!).axis)) },
      kvOrder: order && nameOf(order, 'order'),
      before: before ? nameOf(before, 'state') : null,
      state: makes === 'state' ? nameOf(node, 'state') : null,
      ...(merged ? { forms: [merged] } : {}),
    }
  )
}

/** A tile that is part of the meaning has to be the kernel's own. */
function checkSkip(
  { capability, dtype, valueDim }: StagesOptions,
  { node, kept }: AttendKernel,
  skip: Expr,
): void {
  const own = tileOf(scheduleOf(capability, dtype, valueDim)!)
  const { q, kv } = node.arg.tile!
  if (own.q !== q || own.kv !== kv)
    throw new Unsupported(`tiles of ${q} x ${kv}, which are ${own.q} x ${own.kv} in ${capability} kernels`)
  if (kept.parts.some((p) => p.kind !== 'ranges') || node.src[4])
    throw new Unsupported('tiles of lists that are skipped')
  if (readsVar(skip, 'rowSum')) throw new Unsupported('a skip that reads the sum of a row')
}

export const find = (
  { plan }: StagesOptions,
  node: StageNode,
  holds: StageBuffer['holds'],
): StageBuffer | undefined => plan.buffers.find((b) => b.node === node && b.holds === holds)

/** K and V that other kernels left. */
export function storedKeys(options: StagesOptions, { node }: AttendKernel): { k: string; v: string } | null {
  const [k, v] = [find(options, node.src[1]!, 'rows'), find(options, node.src[2]!, 'rows')]
  if (!k && !v) return null
  if (!k || !v)
    throw new Unsupported(
      `an attend over ${k ? 'keys' : 'values'} that the program makes and the call's own ${k ? 'values' : 'keys'}`,
    )
  if (k.share !== 'kvHead' || v.share !== 'kvHead')
    throw new Unsupported('an attend over rows that are not of kv heads')
  if (operandOf(node.src[0]!, 'Q') !== 'own') throw new Unsupported('an attend of other queries')
  return { k: k.name, v: v.name }
}

function checkOperands({ src }: StageNode<'attend'>, sorted: boolean): void {
  src.slice(0, 3).forEach((n, i) => {
    const is = operandOf(n, 'QKV'[i]!)
    if (is !== 'own' && !(is === 'sorted' && sorted && i > 0))
      throw new Unsupported('an attend over other rows')
  })
}

export function operandOf(node: StageNode, name: string): 'own' | 'sorted' | 'other' {
  if (isWord(node, 'input')) return node.arg.name === name ? 'own' : 'other'
  return isWord(node, 'permute') && operandOf(node.src[0]!, name) === 'own' ? 'sorted' : 'other'
}

const readsUnits = (bias: Expr): boolean =>
  nodesOf(bias).some((e) => e.op === 'var' && e.arg.startsWith('kv.'))

/** The bias is added after the pattern's own score; a unit of tokens is its token. */
function biased({ sizes: { ir } }: StagesOptions, plan: KernelPlan, bias: Expr): Expr {
  const own = substitute(ir, bias, (e) => {
    if (e.op !== 'var' || !e.arg.includes('.')) return undefined
    const [side, field] = e.arg.split('.')
    if (field === 'length') return ir.int(1)
    return ir.var(side === 'q' ? 'q' : 'kv')
  })
  return ir.make('add', [plan.score ?? ir.var('logit'), own])
}

/** Keys that are units: a query meets those that it sees, and the mask's variable `kv` is the unit's number. */
export function unitsPlan(
  { pattern, sizes: { ir } }: StagesOptions,
  { node, kept }: AttendKernel,
): { plan: KernelPlan } {
  const [part] = kept.parts
  if (kept.parts.length !== 1 || part?.kind !== 'units') throw new Unsupported('an attend over some units')
  const { units } = rowsOf(node.src[1]!).axis
  const kv = ir.var('kv')
  const times = (n: number) => ir.make('mul', [kv, ir.int(n)])
  const plus = (e: Expr, n: number) => (n === 0 ? e : ir.make('add', [e, ir.int(n)]))
  const [first, last] = (() => {
    if (units.kind === 'window') return [times(units.step), plus(times(units.step), units.size - 1)]
    const end = ir.make('sub', [ir.var('kvLen'), ir.int(1)])
    if (units.kind === 'whole') return [ir.int(0), end]
    if (units.kind === 'token') return [kv, kv]
    if (units.kind === 'block') {
      return [times(units.size), ir.make('min', [plus(times(units.size), units.size - 1), end])]
    }
    throw new Unsupported(`an attend over ${units.kind}s`)
  })()
  // A window is there where it is whole.
  const isWithin = units.kind === 'window' || units.kind === 'token'
  const mask = seesUnits(ir, pattern.tiles, part.visible, { first, last, isWithin })
  const score =
    pattern.score &&
    substitute(ir, pattern.score, (e) => (e.op === 'var' && e.arg === 'kv' ? first : undefined))
  const seen = { ...pattern, mask, score }
  return { plan: { ...seen, tiles: findTiles(ir, seen).tiles } }
}

/** The mask of units: some of a query's pairs with the unit are kept, or all, or it is not asked. */
function seesUnits(
  ir: StagesOptions['sizes']['ir'],
  tiles: KvTiles,
  visible: Visible,
  { first, last, isWithin }: { readonly first: Expr; readonly last: Expr; readonly isWithin: boolean },
): Expr {
  if (visible === 'off') return ir.bool(true)
  if (tiles.how === 'list') throw new Unsupported('units seen through a mask that has no closed form')
  const q = ir.var('q')
  const bounds = { qLo: q, qHi: q, kvLo: first, kvHi: last } as const
  const terms = visible === 'any' ? tiles.kept : tiles.dropped
  const asked = (e: Expr) =>
    substitute(ir, e, (n) =>
      n.op === 'var' && n.arg in bounds ? bounds[n.arg as keyof typeof bounds] : undefined,
    )
  const end = ir.make('sub', [ir.var('kvLen'), ir.int(1)])
  const reached = terms
    .map((t) => {
      const hi = asked(t.hi)
      const begins = isWithin && hi === end ? [] : [ir.make('le', [first, hi])]
      const within = [ir.make('le', [asked(t.lo), last]), ...begins]
      return [asked(t.when), ...within, ...(t.test ? [asked(t.test)] : [])].reduce((a, b) =>
        ir.make('and', [a, b]),
      )
    })
    .reduce((a, b) => ir.make('or', [a, b]), ir.bool(false))
  return visible === 'any' ? reached : ir.make('not', [reached])
}

/** What an attend keeps, as the skeleton walks it. */
export function keptOf(
  options: StagesOptions,
  { node, kept }: AttendKernel,
): { plan: KernelPlan; parts: Parts | null; lists: string[] } {
  const { pattern, sizes } = options
  const { ir } = sizes
  const closed = kept.parts.filter((p) => p.kind === 'ranges')
  const listed = kept.parts.filter((p) => p.kind === 'list')
  if (closed.length + listed.length < kept.parts.length)
    throw new Unsupported('an attend over units or tests')
  const both = (a: Expr, b: Expr) => ir.make('and', [a, b])
  const [range] = closed
  if (closed.length > 1 || closed.some((p) => p.without.length > 0))
    throw new Unsupported('ranges that leave others out')
  const ranges: KernelPlan | null = range
    ? { ...pattern, mask: both(pattern.mask, range.keep), tiles: range.tiles }
    : null
  if (listed.length === 0) {
    if (!ranges) throw new Unsupported('an attend that keeps nothing')
    return { plan: ranges, parts: null, lists: [] }
  }
  // What the state that is gone on with has met is left out by what the plan says of each list.
  let mask = pattern.mask
  const leftOut = new Set<Expr>(range ? [range.keep] : [])
  listed.forEach((part, n) => {
    for (const term of part.without) {
      const earlier = term.sets.every((s) => listed.slice(0, n).some((p) => p.set === s))
      if (term.keep && term.sets.length === 0 && term.minus.length === 0) leftOut.add(term.keep)
      else if (!earlier || term.keep || term.minus.length > 0)
        throw new Unsupported('a list without other sets')
    }
    const { keep, sets, minus } = part.within
    if (sets.length > 0 || minus.length > 0) throw new Unsupported('a list within other sets')
    if (keep && listed.length > 1) throw new Unsupported('several lists, one of them within a predicate')
    if (keep) mask = both(mask, keep)
  })
  for (const keep of leftOut) mask = both(mask, ir.make('not', [keep]))
  const { tiles } = findTiles(ir, { ...pattern, mask })
  const plan: KernelPlan = { ...pattern, mask, tiles }
  const parts: Parts = {
    lists: listed.map(listInfo),
    listed: plan,
    ranges: ranges !== null,
    kvOrder: kept.layout.kv ? orderShare(kept.layout.kv) : null,
  }
  const names = listed.map(({ set, form }) => {
    const found = options.plan.buffers.find((b) => b.node === set && b.holds === form)
    if (!found) throw new Unsupported(`a ${node.word} over a set that is not stored`)
    return found.name
  })
  return { plan: ranges ?? plan, parts, lists: names }
}

export const orderShare = ({ type }: StageNode<'argsort'>): Share => {
  if (type.kind !== 'permutation' || type.share === 'indexHead')
    throw new Unsupported('an order of index heads')
  return type.share
}

function listInfo({ share, q, kv, form }: Part & { readonly kind: 'list' }): ListInfo {
  if (share === 'indexHead') throw new Unsupported('an attend over lists of index heads')
  const size = ({ units }: Axis): number | 'whole' => {
    if (units.kind === 'token') return 1
    if (units.kind === 'block') return units.size
    if (units.kind === 'whole') return 'whole'
    throw new Unsupported(`a list of ${units.kind}s`)
  }
  const own = form === 'spans' ? 'span' : size(kv)
  if (own === 'whole') throw new Unsupported('a list of all keys or none')
  return { share, q: size(q), kv: own, order: 'index', ...(form === 'bits' ? { form } : {}) }
}

/** attendForm(): an attend of the plan in; what kernels made for a mask's own kind would have to walk to do the same, out. */

import { readsVar } from '../../compiler/ir.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import type { StageNode } from '../../compiler/stages/graph.ts'
import type { AttendKernel, StageBuffer } from '../../compiler/stages/plan.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import type { JsonExpr, ListInfo, Share } from '../artifact.ts'
import { jsonOf } from '../record.ts'
import { find, keptOf, operandOf, orderShare, storedKeys, unitsPlan } from './attend.ts'
import { knownDim } from './known-dims.ts'
import type { StagesOptions } from './module.ts'

/** An attend as targets with kernels of their own for it see it: parts of disjoint pairs, and stored values by name. */
export interface AttendForm {
  /** Pairs of closed form. */
  readonly ranges: KernelPlan | null
  readonly listed: ListedForm | null
  /** What it reads as keys and values that other kernels left as f32, and how many there are; null: the call's own. */
  readonly keys: { readonly k: string; readonly v: string; readonly rows: JsonExpr } | null
  readonly before: string | null
  /** Null: it makes the output. */
  readonly state: string | null
}
export interface ListedForm {
  /** The mask of the pairs of listed units. */
  readonly plan: KernelPlan
  /** A pair belongs to the first that has it. */
  readonly lists: readonly { readonly info: ListInfo; readonly stored: string }[]
  readonly keyOrder: { readonly share: Share; readonly stored: string } | null
  /** Words of the longest record, and how many records there are, of so many queries each (0: all of a head). */
  readonly records: (shape: RecordShape) => { readonly stride: JsonExpr; readonly count: JsonExpr }
}
export interface RecordShape {
  readonly queries: number
  /** Keys of a run; and words in front of the runs. */
  readonly run: number
  readonly header: number
}

/** Null: it is anything else, which the kernel of all targets does. */
export function attendForm(options: StagesOptions, kernel: AttendKernel): AttendForm | null {
  const { node, kept, makes } = kernel
  const { bias, position, skip, stop } = node.arg
  const own = node.src.slice(0, 3).map((n, i) => operandOf(n, 'QKV'[i]!))
  const order = kept.layout.kv
  const plain = !bias && !position && !skip && !stop && !kept.layout.q && own[0] === 'own'
  if (!plain) return null
  if (storedKeys(options, kernel)) return unitsForm(options, kernel)
  if (own.slice(1).some((is) => is !== (order ? 'sorted' : 'own'))) return null
  if (kept.parts.some((p) => p.kind !== 'list' && p.kind !== 'ranges')) return null
  const { plan, parts, lists } = keptOf(options, kernel)
  const ranges = parts === null || parts.ranges ? plan : null
  // Ranges of sorted keys are positions, which lie apart.
  if (ranges && order) return null
  const nameOf = (n: StageNode, holds: StageBuffer['holds']) => find(options, n, holds)!.name
  const before = node.src[4]
  return {
    ranges,
    listed: parts && {
      plan: parts.listed,
      lists: parts.lists.map((info, i) => ({ info, stored: lists[i]! })),
      keyOrder: order && { share: orderShare(order), stored: nameOf(order, 'order') },
      records: (shape) => recordsOf(options.sizes, kernel, shape),
    },
    keys: null,
    before: before ? nameOf(before, 'state') : null,
    state: makes === 'state' ? nameOf(node, 'state') : null,
  }
}

/** Keys that are units of tokens: a mask of their numbers is as good as one of positions, unless it asks how many tokens there are. */
function unitsForm(options: StagesOptions, kernel: AttendKernel): AttendForm | null {
  const { node, makes } = kernel
  const { sizes } = options
  const [, k, v, , before] = node.src as readonly StageNode[]
  const { plan } = unitsPlan(options, kernel)
  const { score, mask } = plan
  const [keyDim, valueDim] = [k!, v!].map((n) => knownDim(options, rowsOf(n).channels))
  const areWhole = keyDim === options.headDim && valueDim === options.valueDim
  if (before || score || readsVar(mask, 'kvLen') || !areWhole) return null
  const named = (n: StageNode) => find(options, n, 'rows')!.name
  return {
    ranges: plan,
    listed: null,
    keys: { k: named(k!), v: named(v!), rows: jsonOf(sizes.units(rowsOf(k!).axis)) },
    before: null,
    state: makes === 'state' ? find(options, node, 'state')!.name : null,
  }
}

/**
 * Of the lists of a record in order: a list of keys has as many words as it has keys. One of runs has as many as it has units, each
 * cut once by every unit of a list before it, and one more for each whole run of keys.
 */
function recordsOf(
  sizes: Sizes,
  { kept }: AttendKernel,
  { queries, run, header }: RecordShape,
): { stride: JsonExpr; count: JsonExpr } {
  const lists = kept.parts.filter((p) => p.kind === 'list')
  // Spans are of tokens too.
  const isKeys = (p: (typeof lists)[number]) => p.form !== 'spans' && p.kv.units.kind === 'token'
  const runs = lists.filter((p) => !isKeys(p))
  // The queries of a record have one list; else what any of them has may be all.
  const shares = ({ q: { units } }: (typeof lists)[number]) =>
    units.kind !== 'token' && !(units.kind === 'block' && units.size < queries)
  const kvLen = sizes.var('kvLen')
  const words = [
    sizes.num(header),
    ...(runs.length > 0 ? [sizes.ceilDiv(kvLen, run)] : []),
    ...runs.map((p, i) => sizes.product(sizes.num(runs.length - i), shares(p) ? p.most : sizes.units(p.kv))),
    ...lists.filter(isKeys).map((p) => sizes.min(p.most, kvLen)),
  ]
  const qLen = sizes.var('qLen')
  const each =
    queries === 0 ? sizes.num(1) : sizes.floorDiv(sizes.sum(qLen, sizes.num(2 * queries - 2)), queries)
  return {
    stride: jsonOf(sizes.sum(...words)),
    count: jsonOf(sizes.product(sizes.var('batches'), sizes.var('qHeads'), each)),
  }
}

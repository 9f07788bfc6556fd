/**
 * One batch entry of one attention call, as the words of a forward program see it; and who shares a value
 * in it.
 */

import type { IndexRecord } from '../record.ts'
import type { Step } from './trace.ts'
import { tokenAxis, type KvTokens, type QTokens } from './units.ts'

/**
 * Who shares a value: each query head, each kv head or the whole request has its own. `indexHead` are the
 * heads of a learned scorer, which correspond to no head of the model: they must be pooled away before
 * attend.
 */
export type Share = 'head' | 'kvHead' | 'request' | 'indexHead'

/** The share of what is made from values of two shares: the finer one, if they correspond at all. */
export type Join<A extends Share, B extends Share> = [A] extends [B]
  ? A
  : [A] extends ['request']
    ? B
    : [B] extends ['request']
      ? A
      : [A | B] extends ['head' | 'kvHead']
        ? 'head'
        : never

/** What a value of this share can be pooled to. */
export type Coarser<H extends Share> = H extends 'head'
  ? 'kvHead' | 'request'
  : H extends 'request'
    ? never
    : 'request'

/** Carried by every value, so that words need nothing but their arguments. */
export interface Call {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  /** 0 where the pattern has no rows of index heads. */
  readonly indexHeads: number
  /** Position of the first query; the others follow it. */
  readonly qStart: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
  readonly scale: number
  /** The pattern's mask, at positions. */
  keeps(head: number, q: number, kv: number): boolean
  /** The pattern's score; the identity without one. */
  logit(s: number, head: number, q: number, kv: number): number
  /** Whether attend() rounds every step to f32: what a kernel's error is measured by. */
  readonly single: boolean
  /** Rounds what attend() weighs values with; the identity unless a yardstick says otherwise. */
  weigh(x: number): number
  /** Where selections are written down, in the order of the program; null if nobody asked. */
  readonly trace: Step[] | null
}

/** One of those who share a value: query head 3, kv head 1. */
export interface Sharer {
  readonly call: Call
  readonly share: Share
  readonly at: number
}

export const qTokens = (call: Call): QTokens => tokenAxis('q', call.qStart, call.qLen)
export const kvTokens = (call: Call): KvTokens => tokenAxis('kv', 0, call.kvLen)

export function sharersOf(share: Share, call: Call): number {
  switch (share) {
    case 'head':
      return call.qHeads
    case 'kvHead':
      return call.kvHeads
    case 'indexHead':
      return call.indexHeads
    case 'request':
      return 1
  }
}

/** The share of a value made from two, or null where their heads do not correspond. */
export function joined(a: Share, b: Share): Share | null {
  if (a === b || b === 'request') return a
  if (a === 'request') return b
  return a === 'indexHead' || b === 'indexHead' ? null : 'head'
}

/** Whether each sharer of `fine` belongs to one of `coarse`. */
export const isCoarser = (coarse: Share, fine: Share): boolean =>
  coarse === fine || coarse === 'request' || (coarse === 'kvHead' && fine === 'head')

/** The sharer of a coarser level that a finer one belongs to: query head h reads kv head h // G. */
export function sharerAt(coarse: Share, fine: Share, sharer: number, call: Call): number {
  if (coarse === fine) return sharer
  return coarse === 'kvHead' ? Math.floor((sharer * call.kvHeads) / call.qHeads) : 0
}

/** The query heads that a sharer stands for; index heads stand for all. */
export function headsOf({ share, at, call }: Sharer): readonly number[] {
  const all = Array.from({ length: call.qHeads }, (_, h) => h)
  if (share === 'head') return [at]
  return share === 'kvHead' ? all.filter((h) => sharerAt('kvHead', 'head', h, call) === at) : all
}

/** The heads that a function sees for a sharer: its own, or the first of those it stands for. */
export function headIndex({ share, at, call }: Sharer): { head: number; kvHead: number } {
  if (share === 'indexHead') return { head: at, kvHead: 0 }
  const head = headsOf({ share, at, call })[0] ?? 0
  return { head, kvHead: sharerAt('kvHead', 'head', head, call) }
}

/** The index record of one pair of tokens. */
export function pairAt(call: Call, head: number, q: number, kv: number): IndexRecord {
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim } = call
  const kvHead = sharerAt('kvHead', 'head', head, call)
  return { batch, head, kvHead, q, kv, qLen, kvLen, qHeads, kvHeads, headDim }
}

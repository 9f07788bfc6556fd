/** Relations of axes: whether two are cut alike, whether the units of one lie inside those of another, how many tokens a unit has. */

import { LONGEST } from '../vars.ts'
import type { Axis, Grouping, Share, StageNode } from './graph.ts'

/** The finer of two shares, or null where their heads do not correspond. */
export function joinShares(a: Share, b: Share): Share | null {
  if (a === b || b === 'request') return a
  if (a === 'request') return b
  return a === 'indexHead' || b === 'indexHead' ? null : 'head'
}

/** True if each sharer of `fine` belongs to one of `coarse`. */
export const isCoarserShare = (coarse: Share, fine: Share): boolean =>
  coarse === fine || coarse === 'request' || (coarse === 'kvHead' && fine === 'head')

export const isWhole = ({ units }: Axis): boolean => units.kind === 'whole'

/** How the source units of a pool stand to its target units. */
export type Nesting =
  /** Every source unit lies inside one target unit, or is one. */
  | 'inside'
  /** Every target unit lies inside one source unit, which then repeats. */
  | 'around'
  /** A source unit may lie in several target units in part. */
  | 'straddles'

export function nesting(source: Grouping, target: Grouping): Nesting {
  if (isInside(source, target)) return 'inside'
  return isInside(target, source) ? 'around' : 'straddles'
}

function isInside(inner: Grouping, outer: Grouping): boolean {
  if (inner === outer || outer.kind === 'whole') return true
  switch (inner.kind) {
    case 'token':
      return outer.kind !== 'offset'
    case 'slice':
      return isInside(inner.of, outer)
    case 'block':
      return outer.kind === 'block' && outer.size % inner.size === 0
    case 'window':
      return outer.kind === 'block' && outer.size % inner.step === 0 && inner.size <= inner.step
    case 'units':
      return outer.kind === 'units' && comesFrom(inner.of, outer.of)
    default:
      return false
  }
}

/** True if the units of `set` are units of `origin`, or parts of them. */
function comesFrom(set: StageNode, origin: StageNode): boolean {
  if (set === origin) return true
  const { type } = set
  if (set.word === 'split' || set.word === 'reuse') return comesFrom(set.src[0]!, origin)
  return type.kind === 'set' && type.kv.units.kind === 'units' && comesFrom(type.kv.units.of, origin)
}

/** True if two axes are cut alike. */
export const sameUnits = (a: Axis, b: Axis): boolean => a.units === b.units && a.order === b.order

/** A grouping as an author writes it. */
export function printGrouping(g: Grouping): string {
  switch (g.kind) {
    case 'token':
      return 'tokens'
    case 'whole':
      return 'whole'
    case 'block':
      return `blocks(${g.size})`
    case 'window':
      return `windows(${g.size}, ${g.step})`
    case 'chunk':
      return `chunks(${g.ends})`
    case 'cluster':
      return g.labels === null ? 'clusters' : `clusters(${g.labels})`
    case 'residue':
      return `residues(${g.step})`
    case 'span':
      return 'spans'
    case 'units':
      return `units of #${g.of.id}`
    case 'offset':
      return `offsets of ${printGrouping(g.of)}`
    case 'slice':
      return `a slice of ${printGrouping(g.of)}`
  }
}

/** How many tokens a unit has, as far as that is known; the whole of an axis has them all. */
export function tokensOf(g: Grouping): number {
  switch (g.kind) {
    case 'block':
      return g.size
    case 'window':
      return g.step
    case 'whole':
      return LONGEST
    case 'slice':
      return tokensOf(g.of) * g.step
    case 'offset':
      return tokensOf(g.of)
    default:
      return 1
  }
}

/** Size rules as code: JsonExpr builders over the variables of a call, for the grids, splits and workspaces of manifests. */

import type { SizeRule } from './manifest.ts'

export const v = (name: string): SizeRule => ({ var: name })
const op =
  (name: string) =>
  (...src: SizeRule[]): SizeRule => ({ op: name, src })
export const add = op('add')
export const sub = op('sub')
export const mul = op('mul')
export const floorDiv = op('floorDiv')
export const min = op('min')
export const max = op('max')
export const le = op('le')
export const and = op('and')
export const select = op('select')

export const product = (first: SizeRule, ...rest: SizeRule[]): SizeRule =>
  rest.reduce((a, b) => mul(a, b), first)
export const ceilDiv = (a: SizeRule, b: SizeRule): SizeRule =>
  typeof b === 'number' ? floorDiv(add(a, b - 1), b) : floorDiv(add(a, sub(b, 1)), b)

/** Query tiles of all heads. */
export const queryTiles = (tileQ: number): SizeRule =>
  product(v('batch'), v('qHeads'), ceilDiv(v('qRows'), tileQ))

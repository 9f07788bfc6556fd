/** Rules of a manifest and a call's sizes in; splits, grids and bytes of workspace out. */

import type { CallRule, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { evaluateJson } from '../derived.ts'
import type { Sizes } from '../tensor.ts'

/** What a rule may read. */
export const SIZE_VARS: readonly string[] = [
  'batch',
  'qHeads',
  'kvHeads',
  'group',
  'qRows',
  'kvRows',
  'headDim',
  'valueDim',
  'multiprocessors',
  'splits',
]

export interface Plan {
  readonly splits: number
  /** Of each tensor map of each entry. */
  readonly steps: readonly (readonly (number | null)[])[]
  /** Of each entry of the variant. */
  readonly grids: readonly (readonly [x: number, y: number, z: number])[]
  readonly counters: number
  readonly list: number
  readonly scratch: number
}

/** The value of a scalar param. */
export type Scalar = (name: string) => number

/** The value of a rule for a call. */
export function ruleOf(
  sizes: Sizes & { readonly splits?: number },
  multiprocessors: number,
  param: Scalar,
): (rule: CallRule) => number {
  const vars = { ...sizes, group: sizes.qHeads / sizes.kvHeads, multiprocessors }
  return (rule) => Number(evaluateJson(rule, { vars, param }))
}

export function planOf(
  { splits: splitsRule, entries, workspace }: Pick<CudaVariant, 'splits' | 'entries' | 'workspace'>,
  sizes: Sizes,
  multiprocessors: number,
  param: Scalar,
): Plan {
  const first = ruleOf(sizes, multiprocessors, param)
  const splits = splitsRule === null ? 1 : first(splitsRule)
  const number = ruleOf({ ...sizes, splits }, multiprocessors, param)
  return {
    splits,
    steps: entries.map(({ tensorMaps }) =>
      tensorMaps.map(({ step }) => (step === null ? null : number(step))),
    ),
    grids: entries.map(({ grid: [x, y, z] }) => [number(x), number(y), number(z)] as const),
    counters: number(workspace.counters),
    list: number(workspace.list),
    scratch: number(workspace.scratch),
  }
}

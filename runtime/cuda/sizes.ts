/** Rules of a manifest and a call's sizes in; splits, grids and bytes of workspace out. */

import type { CudaVariant, SizeRule } from '../../codegen/cuda/manifest.ts'
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
  /** Of each entry of the variant. */
  readonly grids: readonly (readonly [x: number, y: number, z: number])[]
  readonly counters: number
  readonly list: number
  readonly scratch: number
}

export function planOf(
  { splits: splitsRule, entries, workspace }: Pick<CudaVariant, 'splits' | 'entries' | 'workspace'>,
  sizes: Sizes,
  multiprocessors: number,
): Plan {
  const { qHeads, kvHeads } = sizes
  const vars: Record<string, number> = { ...sizes, group: qHeads / kvHeads, multiprocessors }
  const leaves = { vars, param: () => Number.NaN }
  const number = (rule: SizeRule): number => Number(evaluateJson(rule, leaves))
  const splits = splitsRule === null ? 1 : number(splitsRule)
  vars['splits'] = splits
  return {
    splits,
    grids: entries.map(({ grid: [x, y, z] }) => [number(x), number(y), number(z)] as const),
    counters: number(workspace.counters),
    list: number(workspace.list),
    scratch: number(workspace.scratch),
  }
}

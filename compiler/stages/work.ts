/** Work: a node and the nodes that a kernel computes with it in; its floating-point operations, within a constant factor, out. */

import type { Expr } from '../ir.ts'
import type { FilterRange } from './filter-range.ts'
import { nodesUnder, type StageNode } from './graph.ts'
import { stageRow } from './table.ts'
import type { Typing } from './typing.ts'

interface Planned {
  readonly typing: Typing
  readonly filters: ReadonlyMap<StageNode, FilterRange>
}

/** Cells that a filter leaves out are not computed. */
export function workOf({ typing, filters }: Planned, node: StageNode, computes: readonly StageNode[]): Expr {
  const { sizes } = typing
  const all = stageRow(node.word).flops(typing, node)
  const pool = computes.find((n) => isOneColumn(filters.get(n)) && nodesUnder(n.src[0]!).includes(node))
  const [from, to] = [pool?.src[0]!.type, pool?.type]
  if (from?.kind !== 'scores' || to?.kind !== 'scores') return all
  const columns = sizes.ir.make('floorDiv', [
    sizes.units(from.kv),
    sizes.max(sizes.num(1), sizes.units(to.kv)),
  ])
  return sizes.ir.make('floorDiv', [all, sizes.max(sizes.num(1), columns)])
}

/** True of a filter that leaves one column of each row. */
const isOneColumn = (range: FilterRange | undefined): boolean =>
  range !== undefined && range.lo !== null && range.lo === range.hi

/** Forms: a kernel of a plan in; for which sizes of calls it has other texts, and to what shape these are made, out. */

import type { Expr } from '../../compiler/ir.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { rowsOf, scoresOf } from '../../compiler/stages/typing.ts'
import type { JsonExpr, StageTile } from '../artifact.ts'
import { jsonOf } from '../record.ts'
import { shortRowsOf, type RowSchedule, type ShortRows } from '../schedule.ts'
import { FEW_ROWS, fewChannels, fewRows, type FewRows } from './few-rows.ts'
import { LEAST_UNITS, LINEAR_TILE } from './linear-rows.ts'
import type { ComputeKernel, StagesOptions } from './module.ts'
import { LEAST_PAIRED, PAIRS_TILE, pairsOf, type Pairs } from './paired-rows.ts'
import type { SharerProducts } from '../target.ts'
import { productCells } from './product-cells.ts'
import { sharerCells, sharersPay, type SharerCells } from './sharer-cells.ts'
import type { StageText } from './text.ts'
import { rowScheduleOf } from './units.ts'

/** What a text for some sizes is made to. */
export type Shape =
  | ({ readonly kind: 'short' } & ShortRows)
  | ({ readonly kind: 'few' } & FewRows)
  | { readonly kind: 'sharers'; readonly products: SharerProducts; readonly cells: SharerCells }
  | ({ readonly kind: 'long' } & RowSchedule)
  | { readonly kind: 'linear'; readonly node: StageNode<'linear'> }
  | { readonly kind: 'pairs'; readonly pairs: Pairs }

/** How many units a workgroup has, and how many elements of each. */
export function tileOf(shape: Shape): StageTile {
  switch (shape.kind) {
    case 'few':
      return shape.tile
    case 'sharers':
      return shape.products.tile
    case 'short':
      return { q: shape.threads / shape.team, kv: 1 }
    case 'long':
      return { q: 1, kv: 1 }
    case 'linear':
      return LINEAR_TILE
    case 'pairs':
      return PAIRS_TILE
  }
}

export interface Form {
  readonly id: string
  readonly when: JsonExpr
  readonly shape: Shape
}

const isAtMost = (e: Expr, most: number): JsonExpr => ({ op: 'le', src: [jsonOf(e), most] })

const isAtLeast = (least: number, e: Expr): JsonExpr => ({ op: 'le', src: [least, jsonOf(e)] })

/** Best first. `text` is of the kernel's own. */
export function formsOf({ sizes, target }: StagesOptions, kernel: ComputeKernel, text: StageText): Form[] {
  switch (kernel.kind) {
    case 'select':
    case 'statistics': {
      const { q, kv } = scoresOf(kernel.node.src[0]!)
      const all = shortRowsOf(target.lanes ?? 1)
      const cells = sizes.units(kv)
      const short = (rows: ShortRows): Form => ({
        id: `cells${rows.most}`,
        when: isAtMost(cells, rows.most),
        shape: { kind: 'short', ...rows },
      })
      // Statistics keep nothing: the longest do for all.
      if (kernel.kind === 'statistics') return all.slice(-1).map(short)
      const { tokens } = text.problem.rows
      if (rowScheduleOf(text, kv) === tokens) return all.map(short)
      // Where few workgroups have a row each, they may be large.
      const when = isAtMost(sizes.units(q), FEW_ROWS)
      return [...all.map(short), { id: 'few', when, shape: { kind: 'long', ...tokens } }]
    }
    case 'rows': {
      const { node } = kernel
      const units = sizes.units(rowsOf(node).axis)
      if (isWord(node, 'linear'))
        return [{ id: 'tiles', when: isAtLeast(LEAST_UNITS, units), shape: { kind: 'linear', node } }]
      const pairs = pairsOf(text.problem, kernel)
      return pairs
        ? [{ id: 'pairs', when: isAtLeast(LEAST_PAIRED, units), shape: { kind: 'pairs', pairs } }]
        : []
    }
    case 'scores': {
      const cells = target.products ? productCells(text, kernel.node, target.products.widths) : null
      if (!cells) return []
      const forms: Form[] = []
      const few = fewRows(text, cells)
      if (few) {
        const rows = isAtMost(sizes.units(scoresOf(kernel.node).q), FEW_ROWS)
        const channels = isAtMost(rowsOf(cells.leaf.dot.src[0]!).channels, fewChannels(few))
        forms.push({ id: 'few', when: { op: 'and', src: [rows, channels] }, shape: { kind: 'few', ...few } })
      }
      for (const products of target.products?.sharers ?? []) {
        if (!sharerCells(text, cells, target.products!, products)) continue
        const when = jsonOf(sharersPay(sizes, products, cells))
        forms.push({ id: products.name, when, shape: { kind: 'sharers', products, cells } })
      }
      return forms
    }
    default:
      return []
  }
}

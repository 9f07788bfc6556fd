/** What goes into a sum over sharers: cells in; a function of a row that keeps what hangs on the row alone, and makes cells' values, out. */

import { scalesWith } from '../../compiler/homogeneous.ts'
import { readsVar, type Expr } from '../../compiler/ir.ts'
import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import { UNIT_FIELDS, unitVar } from '../../compiler/vars.ts'
import type { Block } from '../block.ts'
import { Values } from '../expr.ts'
import { f32, i32, mul, type Code, type Lambda } from '../kernel.ts'
import { asFloat, scaleOf } from './cells.ts'
import { leafScale } from './panels.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'
import type { SharerCells } from './sharer-cells.ts'
import type { Scope, StageText } from './text.ts'
import { joinVars, unitVars } from './units.ts'

/** Scales of codes are never negative: they are the total's where a greater product makes what goes into it as much greater. */
export const scaled = ({ inner }: SharerCells): 'products' | 'totals' =>
  inner.every((n) => isWord(n, 'map') && scalesWith(n.arg.value, 's')) ? 'totals' : 'products'

type CellAt = (query: Code, sharer: Code, column: Code) => CellPlace

/** What is made of a product: what hangs on its row alone is made once, since a load between two cells costs more than they do. */
export function madeOf(c: Cells, block: Block, cells: SharerCells, placeAt: CellAt): Lambda {
  const { text: t } = c
  const { leaf, pool } = cells
  const source = pool.src[0]!
  const maps = cells.inner.toReversed() as StageNode<'map'>[]
  return block.lambda(
    [
      ['query', 'i32'],
      ['sharer', 'i32'],
    ],
    (b, query, sharer) => {
      const row = placeAt(query!, sharer!, i32(0))
      const known = rowValues(t, b, maps, { ...row.of, vars: unitVars(t, 'q', unitsOf(source, row).q) })
      const scale = scaleOf(t, b, leaf.dot, row.of)
      const factor = b.let('factor', leafScale(t, leaf, 'q', row.of, row.q) ?? f32(1))
      const write = (d: Block, e: Expr, s: Code, column: Code): Code => {
        const vars = joinVars({ s }, cellVars(t, unitsOf(source, placeAt(query!, sharer!, column))))
        return asFloat(t.write(d, e, { ...row.of, vars }, new Values(known)))
      }
      const last = maps.at(-1)
      const [weight, rest] = last ? weighed(last.arg.value) : [null, null]
      const isLate = scaled(cells) === 'totals'
      // As the column's, the row's factor may be that of what is made, and meet there what else the row has.
      const late = isLate ? b.let('weight', weight === null ? factor : mul(known.get(weight)!, factor)) : null
      return b.lambda(
        [
          ['column', 'i32'],
          ['product', 'f32'],
        ],
        (d, column, product) => {
          const through = (s: Code, e: Expr) => write(d, e, s, column!)
          if (late === null)
            return maps.map((m) => m.arg.value).reduce(through, mul(product!, mul(scale, factor)))
          const before = maps.slice(0, -1).map((m) => m.arg.value)
          return mul(late, [...before, ...(rest ? [rest] : [])].reduce(through, mul(scale, product!)))
        },
      )
    },
  )
}

/** A product of what is known of a row and something else: the two; null: it is none. */
function weighed(e: Expr): readonly [row: Expr | null, rest: Expr] {
  if (e.op !== 'mul') return [null, e]
  const [a, b] = e.src as [Expr, Expr]
  const isRow = (x: Expr) => x.src.length > 0 && !readsColumn(x)
  if (isRow(a)) return [a, b]
  return isRow(b) ? [b, a] : [null, e]
}

/** What the functions read of a row alone. */
function rowValues(t: StageText, b: Block, maps: readonly StageNode<'map'>[], scope: Scope): Values {
  const values = new Values()
  const visit = (e: Expr): void => {
    if (e.src.length === 0 || values.get(e)) return
    if (readsColumn(e)) e.src.forEach(visit)
    else values.set(e, b.let('known', t.write(b, e, scope, values)))
  }
  for (const { arg } of maps) visit(arg.value)
  return values
}

const COLUMN_VARS = UNIT_FIELDS.map((field) => unitVar('kv', field))
/** True of what hangs on the value that a function is given, or on its key unit. */
const readsColumn = (e: Expr): boolean => readsVar(e, 's', ...COLUMN_VARS)

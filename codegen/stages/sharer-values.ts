/** What goes into a sum over sharers: cells in; a function of a row that keeps what hangs on the row alone, and makes cells' values, out. */

import { scalesWith } from '../../compiler/homogeneous.ts'
import { readsVar, type Expr } from '../../compiler/ir.ts'
import type { StageNode } from '../../compiler/stages/graph.ts'
import { UNIT_FIELDS, unitVar } from '../../compiler/vars.ts'
import type { Block } from '../block.ts'
import { Values } from '../expr.ts'
import { f32, i32, mul, type Code, type Lambda } from '../kernel.ts'
import { asFloat, scaleOf } from './cells.ts'
import { leafScale } from './panels.ts'
import { cellVars, unitsOf, type CellPlace, type Cells } from './place.ts'
import { isOfRows, type SharerCells } from './sharer-cells.ts'
import type { Scope, StageText } from './text.ts'
import { joinVars, unitVars } from './units.ts'

/** Scales of codes are never negative: they are the total's where a greater product makes what goes into it as much greater. */
export const scaled = (cells: SharerCells): 'products' | 'totals' =>
  mapsOf(cells).every(({ value, made }) => scalesWith(value, made)) ? 'totals' : 'products'

/** A function of the cells before it, which it calls `made`, and of numbers that a row has, by what it calls them. */
interface RowMap {
  readonly value: Expr
  readonly made: Operand
  readonly rows: readonly (readonly [Operand, StageNode])[]
}
const OPERANDS = ['s', 't', 'u'] as const
type Operand = (typeof OPERANDS)[number]

/** Innermost first. */
const mapsOf = ({ inner }: SharerCells): readonly RowMap[] =>
  inner.toReversed().map((node) => {
    const operands = node.src.map((n, i) => [OPERANDS[i]!, n] as const)
    const [made] = operands.find(([, n]) => !isOfRows(n))!
    return {
      value: (node as StageNode<'map'>).arg.value,
      made,
      rows: operands.filter(([, n]) => isOfRows(n)),
    }
  })

type CellAt = (query: Code, sharer: Code, column: Code) => CellPlace

/** What is made of a product: what hangs on its row alone is made once, since a load between two cells costs more than they do. */
export function madeOf(c: Cells, block: Block, cells: SharerCells, placeAt: CellAt): Lambda {
  const { text: t } = c
  const { leaf, pool } = cells
  const source = pool.src[0]!
  const maps = mapsOf(cells)
  return block.lambda(
    [
      ['query', 'i32'],
      ['sharer', 'i32'],
    ],
    (b, query, sharer) => {
      const row = placeAt(query!, sharer!, i32(0))
      const units = unitVars(t, 'q', unitsOf(source, row).q)
      const known = maps.map((map) => {
        const numbers = map.rows.map(([name, n]) => [name, b.let('ofRow', c.value(n, row))] as const)
        const vars = joinVars(Object.fromEntries(numbers), units)
        return { vars, values: rowValues(t, b, map, { ...row.of, vars }) }
      })
      const scale = scaleOf(t, b, leaf.dot, row.of)
      const factor = b.let('factor', leafScale(t, leaf, 'q', row.of, row.q) ?? f32(1))
      const isLate = scaled(cells) === 'totals'
      const [weight, rest] = isLate && maps.length > 0 ? weighed(maps.at(-1)!) : [null, maps.at(-1)?.value]
      // As the column's, the row's factor may be that of what is made, and meet there what else the row has.
      const ofRow = weight && known.at(-1)!.values.get(weight)!
      const late = isLate ? b.let('weight', ofRow ? mul(ofRow, factor) : factor) : null
      return b.lambda(
        [
          ['column', 'i32'],
          ['product', 'f32'],
        ],
        (d, column, product) => {
          const cell = cellVars(t, unitsOf(source, placeAt(query!, sharer!, column!)))
          const through = (s: Code, { value, made }: RowMap, i: number): Code => {
            const { vars, values } = known[i]!
            const all = joinVars({ [made]: s }, joinVars(vars, cell))
            const e = isLate && i === maps.length - 1 ? rest! : value
            return asFloat(t.write(d, e, { ...row.of, vars: all }, new Values(values)))
          }
          const made = maps.reduce(through, mul(isLate ? scale : mul(scale, factor), product!))
          return late ? mul(late, made) : made
        },
      )
    },
  )
}

/** A product of what is known of a row and something else: the two; null: it is none. */
function weighed(map: RowMap): readonly [row: Expr | null, rest: Expr] {
  const e = map.value
  if (e.op !== 'mul') return [null, e]
  const [a, b] = e.src as [Expr, Expr]
  const isRow = (x: Expr) => x.src.length > 0 && !readsColumn(x, map)
  if (isRow(a)) return [a, b]
  return isRow(b) ? [b, a] : [null, e]
}

/** What a function reads of a row alone. */
function rowValues(t: StageText, b: Block, map: RowMap, scope: Scope): Values {
  const values = new Values()
  const visit = (e: Expr): void => {
    if (e.src.length === 0 || values.get(e)) return
    if (readsColumn(e, map)) e.src.forEach(visit)
    else values.set(e, b.let('known', t.write(b, e, scope, values)))
  }
  visit(map.value)
  return values
}

const COLUMN_VARS = UNIT_FIELDS.map((field) => unitVar('kv', field))
/** True of what hangs on the cells before, or on their key unit. */
const readsColumn = (e: Expr, { made }: RowMap): boolean => readsVar(e, made, ...COLUMN_VARS)

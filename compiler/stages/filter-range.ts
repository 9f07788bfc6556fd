/** A pool's filter as an interval: a condition on source cells in; the columns that pass in a row, in closed form, out. */

import { fromAffine, type Affine } from '../affine.ts'
import { readsVar, substitute, type Expr } from '../ir.ts'
import { simplifier } from '../simplify.ts'
import { solveFor } from '../solve.ts'
import { termsOf } from '../terms.ts'
import type { StageNode } from './graph.ts'
import type { Typing } from './typing.ts'

/** Source columns from `lo` to `hi`, both inside, by `kv.index`; none where `when` does not hold. `kv` is free of all three. */
export interface FilterRange {
  readonly when: Expr
  readonly lo: Expr | null
  readonly hi: Expr | null
}

/**
 * Where the filter of a pool is one interval of columns for each source row and target cell, so that a kernel goes over the
 * interval instead of asking every cell: the antidiagonal of a patch is one column a row. Null where it is none.
 */
export function filterRange(t: Typing, node: StageNode<'poolScores'>): FilterRange | null {
  const { of } = node.arg
  const source = node.src[0]!.type
  if (of === null || source.kind !== 'scores') return null
  const { ir } = t.sizes
  const tokens = source.kv.units.kind === 'token' && source.kv.order === null
  // Of tokens in their own order, index and position are one.
  const columns: readonly unknown[] = tokens ? ['kv.index', 'kv.first', 'kv.last'] : ['kv.index']
  const simplify = simplifier(ir, t.pattern)
  const open = simplify(
    substitute(ir, of, (e) => (e.op === 'var' && columns.includes(e.arg) ? ir.var('kv') : undefined)),
  )
  const [term, more] = termsOf(ir, open, () => true) ?? []
  if (!term || more) return null
  const ends: Record<'lower' | 'upper', Expr[]> = { lower: [], upper: [] }
  const when: Expr[] = []
  for (const atom of term) {
    if (atom.kind === 'other') {
      if (readsColumn(atom.test)) return null
      when.push(atom.test)
      continue
    }
    const bound = solveFor(ir, atom.form, 'kv')
    const moves = [...atom.form.terms.keys()].some(readsColumn)
    if (moves && (!bound || readsColumn(bound.value))) return null
    if (bound) ends[bound.side].push(simplify(bound.value))
    else when.push(fixed(t, atom.form))
  }
  const all = (op: 'min' | 'max', list: readonly Expr[]) =>
    list.length === 0 ? null : list.reduce((a, b) => ir.make(op, [a, b]))
  return {
    when: simplify(when.reduce((a, b) => ir.make('and', [a, b]), ir.bool(true))),
    lo: all('max', ends.lower),
    hi: all('min', ends.upper),
  }
}

const readsColumn = (e: Expr): boolean =>
  readsVar(e, 'kv', 'kv.index', 'kv.first', 'kv.last', 'kv.length', 's', 't', 'u')

const fixed = ({ sizes: { ir } }: Typing, form: Affine): Expr =>
  ir.make('le', [fromAffine(ir, form), ir.int(0)])

/** mergedForm(): an attend over lists of few queries each in; the variant whose tiles merge the lists of their rows, and for which calls it pays, out. */

import type { Expr } from '../../compiler/ir.ts'
import type { AttendKernel } from '../../compiler/stages/plan.ts'
import type { Sizes } from '../../compiler/stages/sizes.ts'
import type { StageAttendForm, Variant } from '../artifact.ts'
import { jsonOf } from '../record.ts'
import type { Parts } from '../rows.ts'
import { mergeable } from '../merge.ts'
import { emitVariant, type VariantOptions } from '../variant.ts'

interface Asked extends VariantOptions {
  readonly parts: Parts
}

/**
 * The kernel's own tiles have the rows of one unit of queries, and draw their keys; where a unit has few rows most of such a tile is
 * empty. Null where it is full, or where lists cannot be merged.
 */
export function mergedForm(
  asked: Asked,
  sizes: Sizes,
  kernel: AttendKernel,
  own: Variant,
): StageAttendForm | null {
  const { parts, target } = asked
  const { unit, tile } = own
  if (!target.merges || !unit || unit.tokens >= tile.q || parts.kvOrder || !mergeable(parts.lists))
    return null
  const variant = emitVariant({ ...asked, parts: { ...parts, merged: true } })!
  return { id: 'merged', when: jsonOf(pays(sizes, kernel, { unit, tile })), variant }
}

/**
 * A tile of drawn keys has the rows of a unit, and as many steps as these have keys. One of merged lists is full, if there are queries
 * enough, and has at most as many steps as there are keys before it, half of all; a step of it costs a little more.
 */
function pays(
  sizes: Sizes,
  { kept }: AttendKernel,
  { unit, tile }: Pick<Variant, 'tile'> & { readonly unit: NonNullable<Variant['unit']> },
): Expr {
  const heads = sizes.ir.make('floorDiv', [sizes.var('qHeads'), sizes.var('kvHeads')])
  const rowsOf = (queries: Expr): Expr =>
    sizes.min(sizes.product(queries, unit.packs ? heads : sizes.num(1)), sizes.num(tile.q))
  const kvLen = sizes.var('kvLen')
  const keys = kept.parts.flatMap((p) =>
    p.kind === 'list' ? [sizes.product(p.most, sizes.num(sizeOf(p.kv.units)))] : [],
  )
  const drawn = sizes.product(sizes.min(sizes.sum(...keys), kvLen), rowsOf(sizes.var('qLen')))
  const merged = sizes.product(kvLen, rowsOf(sizes.num(unit.tokens)))
  return sizes.ir.make('le', [merged, drawn])
}

const sizeOf = (units: { readonly kind: string; readonly size?: number }): number =>
  units.kind === 'block' ? units.size! : 1

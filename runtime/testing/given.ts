/** drawGiven(): a pattern and the sizes of a call in; random params and tables, as their declarations promise, out. */

import { AXES, elementTables, type ParamSpec, type Pattern, type TableSpec } from '../../dsl/index.ts'
import type { AttentionCase } from './cases.ts'
import { seededRandom, type Draw } from './draw.ts'

/** Multiply-adds of one case: about 5 ms of the f64 oracle, and of a software adapter. */
export const WORK = 3e6

export type CaseSizes = Pick<
  AttentionCase,
  'batch' | 'qHeads' | 'kvHeads' | 'qRows' | 'kvRows' | 'headDim'
> & {
  /** Of a program that has an indexer. */
  readonly indexHeads?: number
}

/** Params and tables. */
export function drawGiven(d: Draw, { consts, params, tables }: Pattern, sizes: CaseSizes) {
  const values = Object.entries(params).map(([name, spec]) => [name, drawParam(d, spec, sizes)] as const)
  const data = elementTables(tables).map(
    ([name, spec]) => [name, drawTable(d, spec, tableShape(spec, consts, sizes), sizes)] as const,
  )
  return { params: Object.fromEntries(values), tables: Object.fromEntries(data) }
}

function drawParam(d: Draw, spec: ParamSpec, { qHeads }: CaseSizes): number | number[] {
  const one = (): number => (spec.type === 'i32' ? drawInt(d, spec) : drawFloat(d, spec))
  return spec.perHead && d.oneIn(2) ? d.list(qHeads, one) : one()
}

function drawInt(d: Draw, { min, max, default: otherwise }: ParamSpec): number {
  const roll = d.choose(12)
  if (roll < 8) return d.smallInt(min, Math.min(max, Math.max(min, 0) + 160))
  if (roll < 10) return otherwise
  return roll === 10 ? min : max
}

function drawFloat(d: Draw, { min, max, default: otherwise }: ParamSpec): number {
  const reach = [2, 2, 8, 160, 0][d.choose(5)]!
  const [lo, hi] = [Math.max(min, -reach), Math.min(max, reach)]
  if (reach === 0 || Math.ceil(lo * 64) > Math.floor(hi * 64)) return otherwise
  return d.float(lo, hi)
}

/** A table's size in this call, dim by dim. */
function tableShape(
  { dims }: TableSpec,
  consts: Readonly<Record<string, number>>,
  sizes: CaseSizes,
): number[] {
  const axes: Readonly<Record<string, number>> = {
    batch: sizes.batch,
    head: sizes.qHeads,
    kvHead: sizes.kvHeads,
    qLen: sizes.qRows,
    kvLen: sizes.kvRows,
    headDim: sizes.headDim,
    ...(sizes.indexHeads === undefined ? {} : { indexHead: sizes.indexHeads }),
  }
  return dims.map((dim) => (typeof dim === 'number' ? dim : (axes[dim] ?? consts[dim] ?? 1)))
}

/** How many elements of a map go into one channel: what it makes of vectors is then about as large as they are. */
const addedUp = ({ dims }: TableSpec, shape: readonly number[]): number =>
  shape.reduce((n, size, i) => (i === shape.length - 1 || COUNTED.includes(dims[i]!) ? n : n * size), 1)

/** Dims with an element for each of something; others are a map's. */
const COUNTED: readonly (string | number)[] = AXES.filter((axis) => axis !== 'headDim')

/** Values as the table's declaration promises: in bounds, in order where it is monotone. */
function drawTable(
  d: Draw,
  spec: TableSpec,
  shape: readonly number[],
  { kvRows }: CaseSizes,
): Int32Array | Float32Array {
  const count = shape.reduce((a, b) => a * b, 1)
  const row = shape.at(-1) ?? 1
  const random = seededRandom(d.choose(2 ** 16))
  const spread = d.pick([4, 1, 24, kvRows + 2])
  const least = spec.type === 'f32' ? -2 : d.oneIn(4) ? -spread : 0
  const [lo, hi] = [
    Math.max(spec.min, Math.min(least, spec.max)),
    Math.min(spec.max, Math.max(spread, spec.min)),
  ]
  const size = lo <= 0 && hi >= 0 ? Math.sqrt(addedUp(spec, shape)) : 1
  const value =
    spec.type === 'i32'
      ? () => lo + Math.floor(random() * (hi - lo + 1))
      : () => Math.fround((lo + Math.floor(random() * 65) * ((Math.min(hi, 2) - lo) / 64)) / size)
  const values = Array.from({ length: count }, value)
  if (spec.monotone) {
    for (let at = 0; at < count; at += row) {
      values.splice(at, row, ...values.slice(at, at + row).toSorted((a, b) => a - b))
    }
  }
  return spec.type === 'i32' ? Int32Array.from(values) : Float32Array.from(values)
}

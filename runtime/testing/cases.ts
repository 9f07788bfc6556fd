/** A pattern and choices in, one random call of attention out: sizes, params, tables and lengths; its tensors by seed. */

import { elementTables, type ParamSpec, type Pattern, type TableSpec } from '../../dsl/index.ts'
import { bfloatArray } from '../bfloat.ts'
import { halfArray } from '../half.ts'
import type { Length } from '../lengths.ts'
import { stridesOf, type Layout, type Shape, type StorageDtype, type Tensor } from '../tensor.ts'
import { seededRandom, type Draw } from './draw.ts'

/** What one compiled kernel leaves fixed. */
export interface CaseVariant {
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: StorageDtype
  readonly tile: { readonly q: number; readonly kv: number }
  /** The greatest number of query rows, of kernels made for few of them and many keys. */
  readonly fewRows?: number | undefined
  /** Key tiles of the longest cases, of kernels whose loops differ after the first few. */
  readonly keyTiles?: number | undefined
}

/** One call, small enough to print: its tensors are made from `seed`. */
export interface AttentionCase {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  /** Rows of q, and of k and v; without `lengths` all of them are tokens. */
  readonly qRows: number
  readonly kvRows: number
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: StorageDtype
  readonly layout: Layout
  readonly scale: number | undefined
  readonly params: Readonly<Record<string, number | number[]>>
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
  readonly lengths: readonly Length[] | undefined
  readonly seed: number
}

type Sizes = Pick<AttentionCase, 'batch' | 'qHeads' | 'kvHeads' | 'qRows' | 'kvRows' | 'headDim'>

/** Multiply-adds of one case: about 5 ms of the f64 oracle, and of a software adapter. */
const WORK = 3e6

export function drawCase(d: Draw, pattern: Pattern, variant: CaseVariant): AttentionCase {
  const { headDim, valueDim, dtype, tile, fewRows, keyTiles } = variant
  const perPair = headDim + valueDim
  let qRows = fewRows === undefined ? drawLength(d, tile.q) : d.int(1, fewRows)
  const isLong = keyTiles !== undefined && d.oneIn(3)
  const kvRows = isLong ? d.int(1, keyTiles * tile.kv) : d.oneIn(4) ? qRows : drawLength(d, tile.kv)
  if (qRows * kvRows * perPair > WORK) qRows = Math.max(1, Math.floor(WORK / (kvRows * perPair)))
  const room = Math.max(1, Math.floor(WORK / Math.max(1, qRows * kvRows * perPair)))
  const kvHeads = Math.min(room, d.int(1, 3))
  const qHeads = kvHeads * Math.min(Math.max(1, Math.floor(room / kvHeads)), d.pick([1, 2, 3, 4]))
  const batch = Math.min(Math.max(1, Math.floor(room / qHeads)), d.int(1, 2))
  const sizes: Sizes = { batch, qHeads, kvHeads, qRows, kvRows, headDim }
  const params = Object.entries(pattern.params).map(
    ([name, spec]) => [name, drawParam(d, spec, sizes)] as const,
  )
  const tables = elementTables(pattern.tables).map(
    ([name, spec]) => [name, drawTable(d, spec, tableShape(spec, pattern.consts, sizes), sizes)] as const,
  )
  const lengths = kvRows < qRows || d.oneIn(3) ? d.list(batch, () => drawLengthEntry(d, sizes)) : undefined
  const scale = d.oneIn(4) ? d.pick([0.25, 1, 0.0625]) : undefined
  const layout = d.pick<Layout>(['bhld', 'blhd'])
  return {
    ...sizes,
    valueDim,
    dtype,
    layout,
    scale,
    lengths,
    params: Object.fromEntries(params),
    tables: Object.fromEntries(tables),
    seed: d.choose(2 ** 16),
  }
}

/** Nothing, one, the ends of tiles, and anything up to a little more than two tiles. */
function drawLength(d: Draw, tile: number): number {
  const roll = d.choose(8)
  if (roll < 2) return d.int(1, 9)
  if (roll < 4) return d.int(1, Math.min(150, 2 * tile + 9))
  return [tile + 1, tile, Math.max(1, tile - 1), d.oneIn(4) ? 0 : 1][roll - 4]!
}

function drawParam(d: Draw, spec: ParamSpec, { qHeads }: Sizes): number | number[] {
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
function tableShape({ dims }: TableSpec, consts: Readonly<Record<string, number>>, sizes: Sizes): number[] {
  const axes: Readonly<Record<string, number>> = {
    batch: sizes.batch,
    head: sizes.qHeads,
    kvHead: sizes.kvHeads,
    qLen: sizes.qRows,
    kvLen: sizes.kvRows,
    headDim: sizes.headDim,
  }
  return dims.map((dim) => (typeof dim === 'number' ? dim : (axes[dim] ?? consts[dim] ?? 1)))
}

/** Values as the table's declaration promises: in bounds, in order where it is monotone. */
function drawTable(
  d: Draw,
  spec: TableSpec,
  shape: readonly number[],
  { kvRows }: Sizes,
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
  const value =
    spec.type === 'i32'
      ? () => lo + Math.floor(random() * (hi - lo + 1))
      : () => Math.fround(lo + Math.floor(random() * 65) * ((Math.min(hi, 2) - lo) / 64))
  const values = Array.from({ length: count }, value)
  if (spec.monotone) {
    for (let at = 0; at < count; at += row) {
      values.splice(at, row, ...values.slice(at, at + row).toSorted((a, b) => a - b))
    }
  }
  return spec.type === 'i32' ? Int32Array.from(values) : Float32Array.from(values)
}

/** Padding on either side, fewer tokens than rows, queries that stand anywhere, also before the first key. */
function drawLengthEntry(d: Draw, { qRows, kvRows }: Sizes): Length {
  const kvStart = d.oneIn(3) ? d.int(0, kvRows) : 0
  const kvLen = d.oneIn(2) ? d.int(0, kvRows - kvStart) : kvRows - kvStart
  const qRow = d.oneIn(3) ? d.int(0, qRows) : 0
  const qLen = d.oneIn(2) ? d.int(0, qRows - qRow) : qRows - qRow
  const qStart = kvLen < qLen || d.oneIn(3) ? d.smallInt(-5, kvRows + 40) : kvLen - qLen
  return { qRow, qStart, qLen, kvStart, kvLen }
}

export interface CaseTensors {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
}

/** q, k and v of a case, about normal, of its type. */
export function tensorsOf(c: AttentionCase): CaseTensors {
  const tensor = (heads: number, rows: number, dim: number, seed: number): Tensor =>
    randomTensor([c.batch, heads, rows, dim], c.dtype, c.seed * 4 + seed, c.layout)
  return {
    q: tensor(c.qHeads, c.qRows, c.headDim, 1),
    k: tensor(c.kvHeads, c.kvRows, c.headDim, 2),
    v: tensor(c.kvHeads, c.kvRows, c.valueDim, 3),
  }
}

/** Numbers as a tensor of the type holds them, nearest ones. */
const STORE: Readonly<Record<StorageDtype, (data: Float32Array) => Pick<Tensor, 'data' | 'dtype'>>> = {
  f32: (data) => ({ data }),
  f16: (data) => ({ data: halfArray(data) }),
  bf16: (data) => ({ data: bfloatArray(data), dtype: 'bf16' }),
}

/** A tensor whose elements do not depend on its layout. */
export function randomTensor(
  shape: Shape,
  dtype: StorageDtype,
  seed: number,
  layout: Layout = 'bhld',
): Tensor {
  const random = seededRandom(seed)
  const [batch, heads, rows, dim] = shape
  const [batchStride, headStride, rowStride] = stridesOf(shape, layout)
  const data = new Float32Array(batch * heads * rows * dim)
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let r = 0; r < rows; r++) {
        const at = b * batchStride + h * headStride + r * rowStride
        for (let i = 0; i < dim; i++) {
          // The sum of three uniform numbers: a bell of variance 1 with no far outliers.
          data[at + i] = (random() + random() + random() - 1.5) * 2
        }
      }
    }
  }
  return { ...STORE[dtype](data), shape, layout }
}

/** One line of TypeScript that says everything of a case but its tensors' elements. */
export function describeCase(c: AttentionCase): string {
  const short = (x: unknown): string => {
    if (x instanceof Int32Array || x instanceof Float32Array) {
      const list = [...x.slice(0, 40)].join(', ')
      return `${x.constructor.name}.of(${list}${x.length > 40 ? `, .. ${x.length} in all` : ''})`
    }
    if (Array.isArray(x)) return `[${x.map(short).join(', ')}]`
    if (typeof x === 'object' && x !== null) {
      const fields = Object.entries(x).filter(([, v]) => v !== undefined)
      return fields.length === 0 ? '{}' : `{ ${fields.map(([k, v]) => `${k}: ${short(v)}`).join(', ')} }`
    }
    return typeof x === 'string' ? `'${x}'` : String(x)
  }
  return short(c)
}

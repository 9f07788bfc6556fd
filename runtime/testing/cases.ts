/** A pattern and choices in, one random call of attention out: sizes, params, tables and lengths; its tensors by seed. */

import type { Pattern } from '../../dsl/index.ts'
import { bfloatArray } from '../bfloat.ts'
import { halfArray } from '../half.ts'
import type { Length } from '../lengths.ts'
import { stridesOf, type Layout, type Shape, type StorageDtype, type Tensor } from '../tensor.ts'
import { seededRandom, type Draw } from './draw.ts'
import { drawMaskCase } from './mask-cases.ts'
import { drawProgramCase } from './program-cases.ts'

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
  /** Of a program: the shapes of the vectors that it reads besides q, k and v. */
  readonly rows?: Readonly<Record<string, Shape>>
  readonly seed: number
}

export const drawCase = (d: Draw, pattern: Pattern, variant: CaseVariant): AttentionCase =>
  pattern.forward ? drawProgramCase(d, pattern, variant) : drawMaskCase(d, pattern, variant)

export interface CaseTensors {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly rows: Readonly<Record<string, Tensor>>
}

/** The tensors of a case, about normal: q, k and v of its type, other vectors in f32. */
export function tensorsOf(c: AttentionCase): CaseTensors {
  const tensor = (heads: number, rows: number, dim: number, seed: number): Tensor =>
    randomTensor([c.batch, heads, rows, dim], c.dtype, c.seed * 4 + seed, c.layout)
  return {
    q: tensor(c.qHeads, c.qRows, c.headDim, 1),
    k: tensor(c.kvHeads, c.kvRows, c.headDim, 2),
    v: tensor(c.kvHeads, c.kvRows, c.valueDim, 3),
    rows: Object.fromEntries(
      Object.entries(c.rows ?? {}).map(([name, shape], i) => [
        name,
        randomTensor(shape, 'f32', c.seed * 4 + 1000 + i, c.layout),
      ]),
    ),
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

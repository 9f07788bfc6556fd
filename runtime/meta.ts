/** The two buffers that tell a kernel about a call: the uniform block and the meta words. */

import type { Artifact, UniformField, Variant } from '../codegen/artifact.ts'
import { derivedBits, floatBits } from './derived.ts'
import type { RealLength } from './lengths.ts'
import type { Params } from './params.ts'
import type { Sizes, Strides } from './tensor.ts'

/** The fields every uniform block starts with, as codegen/artifact.ts lists them; scalar params follow. */
export const FIXED_UNIFORMS: readonly string[] = [
  'batch',
  'batches',
  'qHeads',
  'kvHeads',
  'heads',
  'batchBase',
  'headBase',
  'qRows',
  'kvRows',
  'gridX',
  'tileCount',
  'scale',
  'listStride',
  'qBatchStride',
  'qHeadStride',
  'qRowStride',
  'kBatchStride',
  'kHeadStride',
  'kRowStride',
  'vBatchStride',
  'vHeadStride',
  'vRowStride',
  'outBatchStride',
  'outHeadStride',
  'outRowStride',
]

/** The part of a call that one dispatch covers: whole, or some batch entries or heads when a tensor is bound by slices. */
export interface Slice {
  readonly batchBase: number
  readonly batch: number
  readonly headBase: number
  readonly heads: number
}

export interface Grid {
  readonly x: number
  readonly y: number
  readonly tiles: number
}

export interface CallStrides {
  readonly q: Strides
  readonly k: Strides
  readonly v: Strides
  readonly out: Strides
}

/** Words of a record of the list buffer: the count, then one per kv tile. */
export const listStrideOf = (kvRows: number, tileKv: number): number => 1 + Math.ceil(kvRows / tileKv)

/** The fixed fields by name; the variant's list says in which order, and which params follow them. */
export function uniformBlock(
  variant: Pick<Variant, 'tile' | 'uniforms'>,
  call: {
    readonly sizes: Sizes
    readonly slice: Slice
    readonly grid: Grid
    readonly scale: number
    readonly strides: CallStrides
    readonly params: Params
  },
): ArrayBuffer {
  const { sizes, slice, grid, scale, strides, params } = call
  const fixed: Readonly<Record<string, number>> = {
    batch: slice.batch,
    batches: sizes.batch,
    qHeads: sizes.qHeads,
    kvHeads: sizes.kvHeads,
    heads: slice.heads,
    batchBase: slice.batchBase,
    headBase: slice.headBase,
    qRows: sizes.qRows,
    kvRows: sizes.kvRows,
    gridX: grid.x,
    tileCount: grid.tiles,
    scale,
    listStride: listStrideOf(sizes.kvRows, variant.tile.kv),
    ...strideFields('q', strides.q),
    ...strideFields('k', strides.k),
    ...strideFields('v', strides.v),
    ...strideFields('out', strides.out),
  }
  // A uniform binding covers its struct, whose size WGSL rounds up to 16 bytes in some layouts.
  const block = new ArrayBuffer(Math.ceil((variant.uniforms.length * 4) / 16) * 16)
  const view = new DataView(block)
  variant.uniforms.forEach(({ name, type }: UniformField, i) => {
    // A param may be called like a fixed field: what comes after the fixed ones is a param.
    const value = i < FIXED_UNIFORMS.length ? fixed[name]! : params.get(name)![0]!
    if (type === 'f32') view.setFloat32(4 * i, value, true)
    else if (type === 'i32') view.setInt32(4 * i, value, true)
    else view.setUint32(4 * i, value, true)
  })
  return block
}

const strideFields = (name: string, [batch, head, row]: Strides): Record<string, number> => ({
  [`${name}BatchStride`]: batch,
  [`${name}HeadStride`]: head,
  [`${name}RowStride`]: row,
})

/** Lengths per batch entry, then perHead params, then derived uniforms, of the whole call. */
export function metaWords(
  artifact: Pick<Artifact, 'params' | 'derived'>,
  sizes: Sizes,
  lengths: readonly RealLength[],
  params: Params,
): Int32Array<ArrayBuffer> {
  const { batch, qHeads, kvHeads, headDim } = sizes
  const words: number[] = lengths.flatMap(({ qRow, qStart, qLen, kvStart, kvLen }) => [
    qRow,
    qStart,
    qLen,
    kvStart,
    kvLen,
  ])
  for (const { name, type, perHead } of artifact.params) {
    if (perHead) for (const x of params.get(name)!) words.push(type === 'f32' ? floatBits(x) : x)
  }
  for (const uniform of artifact.derived) {
    for (let b = 0; b < batch; b++) {
      const { qLen, kvLen } = lengths[b]!
      for (let head = 0; head < qHeads; head++) {
        const kvHead = Math.floor(head / (qHeads / kvHeads))
        const vars = { batch: b, head, kvHead, qLen, kvLen, qHeads, kvHeads, headDim }
        const param = (name: string) => params.get(name)![head] ?? params.get(name)![0]!
        words.push(derivedBits(uniform, { vars, param }))
      }
    }
  }
  return Int32Array.from(words)
}

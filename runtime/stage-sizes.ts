/** Numbers of a `forward` program's call: sizes of its values, uniforms and grids of its kernels, whatever the device. */

import type { JsonExpr, RowsInfo, StageForm, StageModule, UniformField } from '../codegen/artifact.ts'
import { evaluateJson } from './derived.ts'
import { sharersOf } from './lists.ts'
import { HeddleError } from './messages.ts'
import type { CallStrides } from './meta.ts'
import type { Params } from './params.ts'
import { readView, viewOf, type Layout, type Shape, type Sizes, type Tensor } from './tensor.ts'

/** What they hang on. */
export interface StageSizes {
  readonly sizes: Sizes
  readonly scale: number
  readonly params: Params
  /** How wide the rows are that the call gives. */
  readonly rows: ReadonlyMap<string, { readonly channels: number }>
  readonly indexHeads: number
}

export interface RowsData {
  readonly data: Float32Array<ArrayBuffer>
  readonly shape: readonly [batch: number, sharers: number, tokens: number, channels: number]
  readonly channels: number
}

/** The vectors that the call gives beside q, k and v, contiguous. */
export function resolveRows(
  infos: readonly RowsInfo[],
  given: Readonly<Record<string, Tensor>> | undefined,
  sizes: Sizes,
  layout: Layout,
): { rows: Map<string, RowsData>; indexHeads: number } {
  const known = infos.map((i) => i.name)
  for (const name of Object.keys(given ?? {})) {
    if (!known.includes(name)) throw new HeddleError('table-unknown', { name, known })
  }
  const views = new Map(Object.entries(given ?? {}).map(([name, t]) => [name, viewOf(name, t, layout)]))
  const shapes = new Map([...views].map(([name, { shape }]) => [name, shape]))
  const indexHeads = checkRowShapes(infos, shapes, sizes)
  const rows = new Map(
    [...views].map(([name, view]) => {
      return [
        name,
        { data: Float32Array.from(readView(view)), shape: view.shape, channels: view.shape[3] },
      ] as const
    }),
  )
  return { rows, indexHeads }
}

/** The shape of rows that a program declares. */
export function rowsShape(
  { side, share, grain }: Pick<RowsInfo, 'side' | 'share'> & { readonly grain: string },
  sizes: Pick<Sizes, 'batch' | 'qHeads' | 'kvHeads' | 'qRows' | 'kvRows'>,
  indexHeads: number,
  channels: number,
): Shape {
  const tokens = grain === 'whole' ? 1 : side === 'q' ? sizes.qRows : sizes.kvRows
  return [sizes.batch, share === 'indexHead' ? indexHeads : sharersOf(share, sizes), tokens, channels]
}

/** The rows that a program declares are there, and of the sizes that the call has; how many index heads there are. */
export function checkRowShapes(
  infos: readonly RowsInfo[],
  shapes: ReadonlyMap<string, readonly number[]>,
  sizes: Sizes,
): number {
  let indexHeads = 0
  for (const info of infos) {
    const { name, share } = info
    const shape = shapes.get(name)
    const axes = ['batch', share, 'tokens', 'channels']
    if (!shape)
      throw new HeddleError('table-missing', {
        name,
        dims: axes,
        sizes: rowsShape(info, sizes, indexHeads, 0),
      })
    const [batch, heads, length, channels] = shape
    // The first rows of an indexer say how many heads it has.
    const expected = rowsShape(info, sizes, indexHeads || heads!, channels!)
    if (batch !== expected[0] || heads !== expected[1] || length !== expected[2])
      throw new HeddleError('shape', { tensor: name, axes, expected, got: shape })
    if (share === 'indexHead') indexHeads = heads!
  }
  return indexHeads
}

/** Sizes as numbers: of lengths, heads, params (of those per head the greatest) and widths of rows. */
export function sizesOfCall({ sizes, params, rows, indexHeads }: StageSizes): (e: JsonExpr) => number {
  const { batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim } = sizes
  const vars = { batches: batch, qHeads, kvHeads, indexHeads, qLen: qRows, kvLen: kvRows, headDim, valueDim }
  const param = (name: string) => {
    const values = params.get(name)
    return values ? Math.max(...values) : rows.get(name.replace(/\.channels$/, ''))!.channels
  }
  return (e) => Number(evaluateJson(e, { vars, param }))
}

/** The first form that is for calls of these sizes; null: the kernel's own text. */
export const formFor = <F extends { readonly when: JsonExpr | null }>(
  forms: readonly F[] = [],
  size: (e: JsonExpr) => number,
): F | null => forms.find(({ when }) => when === null || size(when) !== 0) ?? null

/** Workgroups of a kernel whose grid has `count` q units of every sharer. */
export function groupsOf(
  { sizes, indexHeads }: StageSizes,
  { share, inner, tile }: Pick<StageModule, 'share' | 'inner'> & Pick<StageModule | StageForm, 'tile'>,
  count: number,
  size: (e: JsonExpr) => number,
  workgroup: number,
): number {
  const sharers = sizes.batch * (share === 'indexHead' ? indexHeads : sharersOf(share, sizes))
  const units = sharers * count
  if (tile !== null) {
    const { q, kv } = typeof tile === 'number' ? { q: tile, kv: tile } : tile
    return sharers * Math.ceil(count / q) * (inner === null ? 1 : Math.ceil(size(inner) / kv))
  }
  return inner === null ? units : Math.ceil((units * size(inner)) / workgroup)
}

export interface StageRun {
  readonly base: number
  readonly count: number
}

/** The units of a kernel within the units of a chunk: those that the call has. */
export function unitsInChunk(
  { units, finer }: Pick<StageModule, 'units' | 'finer'>,
  { base, count }: StageRun,
  size: (e: JsonExpr) => number,
): StageRun {
  if (finer === null) return { base, count }
  const before = size(finer.before)
  const first = Math.max(0, base * finer.each - before)
  const end = Math.min(size(units), (base + count) * finer.each - before)
  return { base: first, count: Math.max(0, end - first) }
}

export type StageGrid = Readonly<Record<'unitBase' | 'unitCount' | 'gridX' | 'groupCount', number>>

export function stageUniforms(
  { sizes, scale, params, rows, indexHeads }: StageSizes,
  uniforms: readonly UniformField[],
  strides: CallStrides,
  grid: StageGrid,
): ArrayBuffer {
  const { batch, qHeads, kvHeads, qRows, kvRows } = sizes
  const fixed: Record<string, number> = {
    batches: batch,
    qHeads,
    kvHeads,
    indexHeads,
    qRows,
    kvRows,
    scale,
    ...grid,
  }
  for (const role of ['q', 'k', 'v', 'out'] as const) {
    const [b, h, r] = strides[role]
    Object.assign(fixed, { [`${role}BatchStride`]: b, [`${role}HeadStride`]: h, [`${role}RowStride`]: r })
  }
  const block = new ArrayBuffer(Math.ceil((uniforms.length * 4) / 16) * 16)
  const view = new DataView(block)
  // Beside the scalar params: widths of rows, and the greatest values of params per head.
  const ofCall = (name: string): number => {
    const greatest = params.get(name.replace(/\.most$/, ''))
    return greatest ? Math.max(...greatest) : rows.get(name.replace(/\.channels$/, ''))!.channels
  }
  uniforms.forEach(({ name, type }, i) => {
    const value = i < FIXED_FIELDS ? fixed[name]! : (params.get(name)?.[0] ?? ofCall(name))
    if (type === 'f32') view.setFloat32(4 * i, value, true)
    else if (type === 'i32') view.setInt32(4 * i, value, true)
    else view.setUint32(4 * i, value, true)
  })
  return block
}

/** Fields that every stage kernel's block begins with; a param may be called like one of them. */
export const FIXED_FIELDS = 23

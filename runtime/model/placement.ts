/** A checkpoint's weights in; which buffers they become, with what they hold and how much that is, out. Nothing is allocated. */

import type { Dtype } from '../../codegen/artifact.ts'
import { HeddleError } from '../messages.ts'
import { roundBinding } from '../slices.ts'
import type { LayerRole, ModelRole, Weight } from './weights.ts'

/** What a buffer holds: weights one behind the other, as rows of matrices or as one vector. */
interface Holds<R> {
  readonly roles: readonly R[]
  readonly form: 'matrix' | 'vector'
  /** Too many rows for one binding are cut into several. */
  readonly parts?: true
}

/** Projections of the same input are one matrix, so that a layer takes few dispatches. */
const LAYER = {
  attentionNorm: { roles: ['attentionNorm'], form: 'vector' },
  projections: { roles: ['q', 'k', 'v'], form: 'matrix' },
  projectionsBias: { roles: ['qBias', 'kBias', 'vBias'], form: 'vector' },
  headNorms: { roles: ['qNorm', 'kNorm'], form: 'vector' },
  output: { roles: ['output'], form: 'matrix' },
  outputBias: { roles: ['outputBias'], form: 'vector' },
  mlpNorm: { roles: ['mlpNorm'], form: 'vector' },
  gateUp: { roles: ['gate', 'up'], form: 'matrix' },
  gateUpBias: { roles: ['gateBias', 'upBias'], form: 'vector' },
  down: { roles: ['down'], form: 'matrix' },
  downBias: { roles: ['downBias'], form: 'vector' },
} as const satisfies Record<string, Holds<LayerRole>>

const MODEL = {
  embedding: { roles: ['embedding'], form: 'matrix', parts: true },
  norm: { roles: ['norm'], form: 'vector' },
  head: { roles: ['head'], form: 'matrix', parts: true },
} as const satisfies Record<string, Holds<ModelRole>>

export type LayerTensor = keyof typeof LAYER
export type ModelTensor = keyof typeof MODEL

/** A buffer to be made: rows [first, first + rows) of a tensor. */
export interface PlacedPart {
  readonly first: number
  readonly rows: number
  readonly bytes: number
}

export interface PlacedTensor {
  readonly what: string
  readonly dtype: Dtype
  /** Elements of a row; a vector is one row. */
  readonly columns: number
  readonly weights: readonly Weight[]
  readonly parts: readonly PlacedPart[]
}

export interface Placement {
  readonly model: ReadonlyMap<ModelTensor, PlacedTensor>
  readonly layers: readonly ReadonlyMap<LayerTensor, PlacedTensor>[]
  readonly bytes: number
}

/** How matrices are stored: as the checkpoint has them (brain floats and quantized numbers as halves), or all of one type. */
export type WeightStorage = 'auto' | Dtype

/** @param limit the largest buffer that can be bound */
export function placeWeights(
  weights: readonly Weight[],
  layers: number,
  storage: WeightStorage,
  limit: number,
): Placement {
  const place = <N extends string>(
    table: Readonly<Record<N, Holds<LayerRole | ModelRole>>>,
    layer: number | null,
  ): Map<N, PlacedTensor> => {
    const own = weights.filter((w) => w.layer === layer)
    const placed = new Map<N, PlacedTensor>()
    for (const name of Object.keys(table) as N[]) {
      const held = table[name].roles.flatMap((role) => own.filter((w) => w.role === role))
      const what = layer === null ? name : `${name} of layer ${layer}`
      if (held.length > 0) placed.set(name, placeTensor(what, table[name], held, storage, limit))
    }
    return placed
  }
  const model = place(MODEL, null)
  const ofLayers = Array.from({ length: layers }, (_, layer) => place(LAYER, layer))
  const tensors = [...model.values(), ...ofLayers.flatMap((layer) => [...layer.values()])]
  const bytes = tensors.flatMap((t) => t.parts).reduce((sum, part) => sum + part.bytes, 0)
  return { model, layers: ofLayers, bytes }
}

function placeTensor(
  what: string,
  { form, parts }: Holds<LayerRole | ModelRole>,
  weights: readonly Weight[],
  storage: WeightStorage,
  limit: number,
): PlacedTensor {
  if (form === 'vector') {
    const columns = weights.reduce((n, w) => n + w.shape[0]!, 0)
    return {
      what,
      dtype: 'f32',
      columns,
      weights,
      parts: [{ first: 0, rows: 1, bytes: roundBinding(4 * columns) }],
    }
  }
  const columns = weights[0]!.shape[1]!
  const rows = weights.reduce((n, w) => n + w.shape[0]!, 0)
  const dtype = storage !== 'auto' ? storage : weights.some(isStoredWide) ? 'f32' : 'f16'
  const rowBytes = columns * (dtype === 'f16' ? 2 : 4)
  const most = parts ? Math.min(rows, Math.floor(limit / rowBytes)) : rows
  if (most === 0 || roundBinding(most * rowBytes) > limit)
    throw new HeddleError('model-buffer', { what, needed: rows * rowBytes, limit })
  return { what, dtype, columns, weights, parts: cut(rows, most, rowBytes) }
}

/** Numbers that take four bytes in the file; quantized ones take fewer, and only come as f32. */
function isStoredWide({ dtype, shape, tensor }: Weight): boolean {
  const elements = shape.reduce((n, size) => n * size, 1)
  return dtype === 'F32' && tensor.end - tensor.begin >= 4 * elements
}

function cut(rows: number, most: number, rowBytes: number): PlacedPart[] {
  return Array.from({ length: Math.ceil(rows / most) }, (_, i) => {
    const own = Math.min(most, rows - i * most)
    return { first: i * most, rows: own, bytes: roundBinding(own * rowBytes) }
  })
}

/** Placed weights and their checkpoint in; buffers that hold them out. Tensors pass through the host in pieces, none whole. */

import type { Dtype } from '../../codegen/artifact.ts'
import { USAGE } from '../pool.ts'
import type { Gpu } from '../webgpu.ts'
import { convert, STORED_BYTES } from './convert.ts'
import type { LayerTensor, ModelTensor, PlacedTensor, Placement } from './placement.ts'
import type { Checkpoint } from './tensors.ts'

/** The caller keeps what is made, and destroys it in the end. */
export type MakeBuffer = (what: string, bytes: number, usage: number) => GPUBuffer

export interface DevicePart {
  readonly buffer: GPUBuffer
  readonly first: number
  readonly rows: number
}

export interface DeviceTensor {
  readonly dtype: Dtype
  readonly columns: number
  readonly rows: number
  readonly parts: readonly DevicePart[]
}

export interface DeviceWeights {
  readonly model: ReadonlyMap<ModelTensor, DeviceTensor>
  readonly layers: readonly ReadonlyMap<LayerTensor, DeviceTensor>[]
}

export interface LoadProgress {
  readonly done: number
  readonly total: number
}

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined
}

/** Bytes read at once. */
const PIECE = 8 * 2 ** 20
/** Bytes that may wait in the queue: each is staged in memory that the device sees until it has been copied. */
const AHEAD = 64 * 2 ** 20

/** Buffers for all that is placed, empty. */
export function makeBuffers(placement: Placement, makeBuffer: MakeBuffer): DeviceWeights {
  const make = ({ what, dtype, columns, parts }: PlacedTensor): DeviceTensor => ({
    dtype,
    columns,
    rows: parts.reduce((n, part) => n + part.rows, 0),
    parts: parts.map(({ first, rows, bytes }) => ({
      buffer: makeBuffer(what, bytes, USAGE.storage),
      first,
      rows,
    })),
  })
  const all = <N>(tensors: ReadonlyMap<N, PlacedTensor>) =>
    new Map([...tensors].map(([name, tensor]) => [name, make(tensor)] as const))
  return { model: all(placement.model), layers: placement.layers.map(all) }
}

/** Fills the buffers. */
export async function fillBuffers(
  gpu: Gpu,
  checkpoint: Checkpoint,
  placement: Placement,
  weights: DeviceWeights,
  { signal, onProgress }: UploadOptions,
): Promise<void> {
  const pairs: (readonly [PlacedTensor, DeviceTensor])[] = [
    ...[...placement.model].map(([name, t]) => [t, weights.model.get(name)!] as const),
    ...placement.layers.flatMap((layer, n) =>
      [...layer].map(([name, t]) => [t, weights.layers[n]!.get(name)!] as const),
    ),
  ]
  let [done, waiting] = [0, 0]
  for (const [placed, tensor] of pairs) {
    const bytesPerElement = tensor.dtype === 'f16' ? 2 : 4
    let at = 0
    for (const { name, dtype, tensor: stored } of placed.weights) {
      for await (const piece of checkpoint.stream(stored, PIECE)) {
        signal?.throwIfAborted()
        gpu.throwIfLost()
        const elements = convert(piece, dtype, tensor.dtype, name)
        write(
          gpu.device,
          tensor,
          at,
          new Uint8Array(elements.buffer, elements.byteOffset, elements.byteLength),
        )
        at += (piece.byteLength / STORED_BYTES[dtype]) * bytesPerElement
        done += elements.byteLength
        waiting += elements.byteLength
        onProgress?.({ done, total: placement.bytes })
        if (waiting < AHEAD) continue
        await gpu.guard(gpu.device.queue.onSubmittedWorkDone())
        waiting = 0
      }
    }
  }
  await gpu.guard(gpu.device.queue.onSubmittedWorkDone())
  onProgress?.({ done: placement.bytes, total: placement.bytes })
}

/** Bytes of the tensor from `at` on into the parts that hold them. */
function write(
  device: GPUDevice,
  { parts, columns, dtype }: DeviceTensor,
  at: number,
  bytes: Uint8Array<ArrayBuffer>,
): void {
  const rowBytes = columns * (dtype === 'f16' ? 2 : 4)
  for (const { buffer, first, rows } of parts) {
    const [begin, end] = [first * rowBytes, (first + rows) * rowBytes]
    const [lo, hi] = [Math.max(begin, at), Math.min(end, at + bytes.length)]
    if (lo < hi) device.queue.writeBuffer(buffer, lo - begin, bytes, lo - at, hi - lo)
  }
}

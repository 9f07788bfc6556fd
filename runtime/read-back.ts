/** Ranges of GPU buffers in, their bytes on the host out. */

import type { Resource } from './call.ts'
import { HeddleError } from './messages.ts'
import { USAGE, type Lease } from './pool.ts'
import { roundBinding } from './slices.ts'
import type { Gpu } from './webgpu.ts'

/** Bytes that one read-back maps at a time. */
const PIECE = 64 * 2 ** 20

/** The bytes of ranges of buffers; copied through one small buffer, so that no large one exists twice on the device. */
export async function readBack(gpu: Gpu, lease: Lease, regions: readonly Resource[]): Promise<ArrayBuffer[]> {
  const { device } = gpu
  const results = regions.map(({ size }) => new ArrayBuffer(size))
  const pieces = regions.flatMap(({ buffer, offset, size }, region) =>
    Array.from({ length: Math.ceil(size / PIECE) }, (_, i) => ({
      region,
      buffer,
      from: offset + i * PIECE,
      to: i * PIECE,
      bytes: Math.min(PIECE, size - i * PIECE),
    })),
  )
  for (const batch of batchesOf(pieces)) {
    const bytes = batch.reduce((sum, p) => sum + p.bytes, 0)
    const staging = await gpu.scoped(
      'read-back',
      () => lease.bytes,
      () => {
        const buffer = lease.take(roundBinding(bytes), USAGE.readBack)
        const encoder = device.createCommandEncoder()
        let at = 0
        for (const piece of batch) {
          encoder.copyBufferToBuffer(piece.buffer, piece.from, buffer, at, piece.bytes)
          at += piece.bytes
        }
        device.queue.submit([encoder.finish()])
        return buffer
      },
    )
    await gpu.guard(mapRead(staging, bytes))
    const mapped = staging.getMappedRange(0, bytes)
    let at = 0
    for (const { region, to, bytes: size } of batch) {
      new Uint8Array(results[region]!, to, size).set(new Uint8Array(mapped, at, size))
      at += size
    }
    staging.unmap()
  }
  return results
}

async function mapRead(buffer: GPUBuffer, bytes: number): Promise<void> {
  try {
    await buffer.mapAsync(1, 0, bytes)
  } catch (cause) {
    // A loss rejects the map too; its own error, which says more, settles in the same round of promises.
    await new Promise((resolve) => setTimeout(resolve, 0))
    throw new HeddleError('gpu-error', { step: 'read-back', detail: String(cause) }, { cause })
  }
}

function batchesOf<T extends { readonly bytes: number }>(pieces: readonly T[]): T[][] {
  const batches: T[][] = []
  let room = 0
  for (const piece of pieces) {
    if (piece.bytes > room) {
      batches.push([])
      room = PIECE
    }
    batches.at(-1)!.push(piece)
    room -= piece.bytes
  }
  return batches
}

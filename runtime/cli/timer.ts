/** A kernel and the sizes of a call in; the milliseconds that it takes on the device, without transfers, out. */

import type { Dtype } from '../../codegen/artifact.ts'
import type { Kernel } from '../index.ts'
import type { Tensor } from '../tensor.ts'

export interface TimedCall {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: Dtype
  readonly params: Readonly<Record<string, number | readonly number[]>>
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
  /** Of a program: the vectors that it reads besides q, k and v, in f32. */
  readonly rows?: Readonly<Record<string, Tensor>>
}

export interface Timing {
  /** The median of the runs. */
  readonly ms: number
  readonly runs: number
  readonly by: 'timestamps' | 'the clock'
}

const STORAGE = 0x80 | 0x08 | 0x04
const QUERY_RESOLVE = 0x200
const MAP_READ = 0x01
const COPY = { src: 0x04, dst: 0x08 } as const

/** Runs until there are enough of them or `budgetMs` is spent, at least one; before them one to warm up. */
export async function timeKernel(
  kernel: Kernel,
  call: TimedCall,
  limits: { readonly runs: number; readonly budgetMs: number },
): Promise<Timing> {
  const { device } = kernel
  const bytes = call.dtype === 'f16' ? 2 : 4
  const held: GPUBuffer[] = []
  const buffer = (size: number, usage: number) => {
    const made = device.createBuffer({ size: Math.max(16, Math.ceil(size / 4) * 4), usage })
    held.push(made)
    return made
  }
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim, valueDim, dtype } = call
  const tensor = (count: number, seed: number) => {
    const made = buffer(count * bytes, STORAGE)
    fill(device, made, count, dtype, seed)
    return made
  }
  const set = device.features.has('timestamp-query')
    ? device.createQuerySet({ type: 'timestamp', count: 2 })
    : null
  try {
    const args = {
      q: tensor(batch * qHeads * qLen * headDim, 1),
      k: tensor(batch * kvHeads * kvLen * headDim, 2),
      v: tensor(batch * kvHeads * kvLen * valueDim, 3),
      out: buffer(batch * qHeads * qLen * valueDim * bytes, STORAGE),
      lse: buffer(batch * qHeads * qLen * 4, STORAGE),
      dtype,
      shapes: {
        q: [batch, qHeads, qLen, headDim],
        k: [batch, kvHeads, kvLen, headDim],
        v: [batch, kvHeads, kvLen, valueDim],
      },
      params: call.params,
      tables: call.tables,
      rows: call.rows ?? {},
    } as const
    await kernel.prepare({ headDim, valueDim, dtype })
    const resolved = buffer(16, QUERY_RESOLVE | COPY.src)
    const read = buffer(16, MAP_READ | COPY.dst)
    const once = async (): Promise<number> => {
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass(
        set
          ? { timestampWrites: { querySet: set, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } }
          : {},
      )
      const encoded = kernel.encode(pass, args)
      pass.end()
      if (set) {
        encoder.resolveQuerySet(set, 0, 2, resolved, 0)
        encoder.copyBufferToBuffer(resolved, 0, read, 0, 16)
      }
      const started = performance.now()
      device.queue.submit([encoder.finish()])
      await device.queue.onSubmittedWorkDone()
      const passed = performance.now() - started
      encoded.release()
      if (!set) return passed
      await read.mapAsync(MAP_READ)
      const [begin = 0n, end = 0n] = new BigUint64Array(read.getMappedRange())
      read.unmap()
      return Number(end - begin) / 1e6
    }
    await once()
    const times: number[] = []
    for (
      const started = performance.now();
      times.length < limits.runs && (times.length === 0 || performance.now() - started < limits.budgetMs);
    )
      times.push(await once())
    return { ms: median(times), runs: times.length, by: set ? 'timestamps' : 'the clock' }
  } finally {
    set?.destroy()
    for (const made of held) made.destroy()
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Numbers from -1 to 1, in pieces, so that a large tensor is never twice in memory; f16 by bits between 0.5 and 1. */
function fill(device: GPUDevice, buffer: GPUBuffer, count: number, dtype: Dtype, seed: number): void {
  const PIECE = 1 << 20
  let state = seed
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
  for (let at = 0; at < count; at += PIECE) {
    const length = Math.min(PIECE, count - at)
    if (dtype === 'f32')
      device.queue.writeBuffer(
        buffer,
        at * 4,
        Float32Array.from({ length }, () => next() * 2 - 1),
      )
    else {
      const bits = Uint16Array.from(
        { length: length + (length % 2) },
        () => 0x3800 | (next() < 0.5 ? 0x8000 : 0) | Math.floor(next() * 0x400),
      )
      device.queue.writeBuffer(buffer, at * 2, bits)
    }
  }
}

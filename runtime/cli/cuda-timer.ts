/** A CUDA kernel and the sizes of a call in; the milliseconds that it takes on the device, without transfers, out. */

import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import type { Address, CudaDriver, CudaKernel } from '../cuda.ts'
import type { Shape } from '../tensor.ts'
import { median, type TimedCall } from './timer.ts'

export type CudaTimedCall = Omit<TimedCall, 'dtype'> & { readonly dtype: CudaDtype }

export interface CudaTiming {
  /** The median of the runs. */
  readonly ms: number
  readonly runs: number
  readonly variant: string
}

/** Before the timed runs: clocks rise, caches fill. */
const WARM_UP = 3
const PIECE = 1 << 20

/** Runs until there are enough of them or `budgetMs` is spent, at least one. */
export async function timeCudaKernel(
  kernel: CudaKernel,
  call: CudaTimedCall,
  limits: { readonly runs: number; readonly budgetMs: number },
): Promise<CudaTiming> {
  const { driver } = kernel
  const held: Address[] = []
  const take = (bytes: number): Address => {
    const address = driver.alloc(bytes)
    held.push(address)
    return address
  }
  const { batch, qHeads, kvHeads, qLen, kvLen, headDim, valueDim, dtype } = call
  const tensor = (shape: Shape, seed: number) => {
    const count = shape.reduce((a, b) => a * b, 1)
    const address = take(2 * count)
    if (seed > 0) fill(driver, address, count, dtype, seed)
    return { address, shape, dtype }
  }
  const copied = (values: ArrayBufferView): Address => {
    const bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength)
    const address = take(bytes.length)
    driver.copyIn(address, bytes)
    return address
  }
  const tables = Object.entries(call.tables).map(([name, values]) => [name, copied(values)] as const)
  const rows = Object.entries(call.rows ?? {}).map(
    ([name, { data, shape }]) => [name, { address: copied(data), shape }] as const,
  )
  const events = [driver.createEvent(), driver.createEvent()] as const
  try {
    const prepared = await kernel.prepare({
      q: tensor([batch, qHeads, qLen, headDim], 1),
      k: tensor([batch, kvHeads, kvLen, headDim], 2),
      v: tensor([batch, kvHeads, kvLen, valueDim], 3),
      out: tensor([batch, qHeads, qLen, valueDim], 0),
      lse: take(4 * batch * qHeads * qLen),
      params: call.params,
      tables: Object.fromEntries(tables),
      ...(rows.length > 0 ? { rows: Object.fromEntries(rows) } : {}),
    })
    const once = (): number => {
      events[0].record()
      prepared.run()
      events[1].record()
      return driver.elapsed(...events)
    }
    for (let i = 0; i < WARM_UP; i++) once()
    const times: number[] = []
    for (
      const started = performance.now();
      times.length < limits.runs && (times.length === 0 || performance.now() - started < limits.budgetMs);
    )
      times.push(once())
    return { ms: median(times), runs: times.length, variant: prepared.variant }
  } finally {
    for (const event of events) event.release()
    for (const address of held) driver.free(address)
  }
}

/** Of both signs, with magnitudes from a quarter to two; pieces are the same, so that the host is done soon. */
function fill(driver: CudaDriver, address: Address, count: number, dtype: CudaDtype, seed: number): void {
  // The bits of a quarter, and of one less than three powers of two further, without the sign.
  const [least, span] = dtype === 'bf16' ? [0x3e80, 3 << 7] : [0x3400, 3 << 10]
  const piece = new Uint16Array(Math.min(PIECE, count))
  let state = seed
  for (let i = 0; i < piece.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    piece[i] = least + ((state >>> 8) % span) + ((state >>> 31) << 15)
  }
  for (let at = 0; at < count; at += PIECE) {
    const part = new Uint8Array(piece.buffer, 0, 2 * Math.min(PIECE, count - at))
    driver.copyIn(address + BigInt(2 * at), part)
  }
}

/**
 * A pattern's attention in, the same attention out that also measures itself: the softmax mass that it keeps of every row, and how
 * many pairs it keeps of every tile, layer by layer and head by head, as its own kernels choose them.
 */

import { Lease, USAGE } from '../../runtime/pool.ts'
import { readBack } from '../../runtime/read-back.ts'
import { roundBinding } from '../../runtime/slices.ts'
import { Gpu, type Compiled } from '../../runtime/webgpu.ts'
import type {
  Attention,
  AttentionKernel,
  AttentionShape,
  AttentionStep,
} from '../../runtime/model/attention.ts'
import { BLOCK, countBlock, countGrid, countTiles, markedValues } from './counts.ts'

/** The same choice of keys, asked different things. */
export interface Probed {
  readonly pattern: Attention
  /** Without the pattern's changes of logits, where it has any: what is comparable with dense attention. */
  readonly plain: Attention | null
  /** With all logits 0; null where the choice hangs on the logits of attention itself. */
  readonly counting: Attention | null
  /** Over all keys before a query. */
  readonly dense: Attention
}

/** Kept pairs of the tiles of a layer, [heads, query blocks, key blocks]. */
export type TileCounts = Uint32Array

export interface Measured {
  /** Softmax mass kept, the mean over layers, heads and rows; null where the attention has no log-sum-exp. */
  readonly recall: number | null
  /** The least of the layers' means. */
  readonly leastRecall: number | null
  /** By layer; null where they cannot be counted. */
  readonly counts: readonly TileCounts[] | null
}

interface Kernels {
  readonly pattern: AttentionKernel
  readonly plain: AttentionKernel | null
  readonly counting: AttentionKernel | null
  readonly dense: AttentionKernel
}

/** Log-sum-exps of a step of a layer, of what is measured and of dense attention. */
interface Logged {
  readonly layer: number
  readonly kept: GPUBuffer
  readonly all: GPUBuffer
  readonly bytes: number
}

export class Probe {
  readonly #probed: Probed
  readonly #length: number
  #session: Session | null = null

  /** @param length tokens of the text that is measured */
  constructor(probed: Probed, length: number) {
    this.#probed = probed
    this.#length = length
  }

  /** For `setAttention`; the model releases what it makes. */
  readonly attention: Attention = async (device, shape) => {
    const { pattern, plain, counting, dense } = this.#probed
    const made: AttentionKernel[] = []
    const make = async (attention: Attention): Promise<AttentionKernel> => {
      const kernel = await attention(device, shape)
      made.push(kernel)
      return kernel
    }
    try {
      const kernels: Kernels = {
        pattern: await make(pattern),
        plain: plain && (await make(plain)),
        counting: counting && (await make(counting)),
        dense: await make(dense),
      }
      const gpu = Gpu.of(device)
      const compiled = await gpu.compile(countTiles(shape.dtype))
      this.#session = new Session(gpu, shape, kernels, compiled, this.#length)
      return this.#session
    } catch (error) {
      made.forEach((kernel) => kernel.release())
      throw error
    }
  }

  /** What the steps since `setAttention` measured. */
  read(): Promise<Measured> {
    return this.#session!.read()
  }
}

class Session implements AttentionKernel {
  readonly name: string
  readonly #gpu: Gpu
  readonly #shape: AttentionShape
  readonly #kernels: Kernels
  readonly #compiled: Compiled
  readonly #length: number
  readonly #lease: Lease
  readonly #logged: Logged[] = []
  readonly #sums = new Map<number, GPUBuffer>()
  #space: { readonly out: GPUBuffer; readonly lse: GPUBuffer; readonly marked: readonly GPUBuffer[] } | null =
    null

  constructor(gpu: Gpu, shape: AttentionShape, kernels: Kernels, compiled: Compiled, length: number) {
    this.name = kernels.pattern.name
    this.#gpu = gpu
    this.#shape = shape
    this.#kernels = kernels
    this.#compiled = compiled
    this.#length = length
    this.#lease = new Lease(gpu.pool)
  }

  encode(pass: GPUComputePassEncoder, step: AttentionStep): { release(): void } {
    const { pattern, plain, counting, dense } = this.#kernels
    const bytes = 4 * step.rows * this.#shape.qHeads
    const [kept, all] = [this.#take(bytes), this.#take(bytes)]
    this.#logged.push({ layer: step.layer, kept, all, bytes })
    const space = (this.#space ??= this.#makeSpace(step))
    const held = [
      pattern.encode(pass, { ...step, lse: plain ? step.lse : kept }),
      ...(plain ? [plain.encode(pass, { ...step, out: space.out, lse: kept })] : []),
      dense.encode(pass, { ...step, out: space.out, lse: all }),
    ]
    if (counting) {
      space.marked.forEach((v, n) => {
        held.push(counting.encode(pass, { ...step, v, out: space.out, lse: space.lse }))
        this.#count(pass, step, n * this.#shape.headDim)
      })
    }
    return { release: () => held.forEach((h) => h.release()) }
  }

  /** Its own sums of the tiles, from what the pass has made of values that mark the blocks from `firstBlock` on. */
  #count(pass: GPUComputePassEncoder, { layer, rows, length }: AttentionStep, firstBlock: number): void {
    const { device } = this.#gpu
    const { qHeads: heads, headDim } = this.#shape
    const blocks = Math.ceil(this.#length / BLOCK)
    const shape = { rows, position: length - rows, heads, headDim, firstBlock, blocks }
    const uniform = this.#take(32, USAGE.uniform)
    device.queue.writeBuffer(uniform, 0, countBlock(shape))
    const { out, lse } = this.#space!
    pass.setPipeline(this.#compiled.attend)
    pass.setBindGroup(
      0,
      device.createBindGroup({
        layout: this.#compiled.layout,
        entries: [uniform, out, lse, this.#sumsOf(layer)].map((buffer, binding) => ({
          binding,
          resource: { buffer },
        })),
      }),
    )
    pass.dispatchWorkgroups(...countGrid(shape))
  }

  #sumsOf(layer: number): GPUBuffer {
    const known = this.#sums.get(layer)
    if (known) return known
    const words = this.#shape.qHeads * Math.ceil(this.#length / BLOCK) ** 2
    const buffer = this.#take(4 * words)
    this.#gpu.device.queue.writeBuffer(buffer, 0, new Uint32Array(words))
    this.#sums.set(layer, buffer)
    return buffer
  }

  /** The model's own strides say how large its buffers are. */
  #makeSpace({ strides }: AttentionStep) {
    const { dtype, headDim, kvHeads, qHeads } = this.#shape
    const size = dtype === 'f16' ? 2 : 4
    const length = strides.cache[1] / headDim
    const rows = strides.rows[0] / strides.rows[2]
    const runs = this.#kernels.counting ? Math.ceil(Math.ceil(this.#length / BLOCK) / headDim) : 0
    return {
      out: this.#take(size * strides.rows[0]),
      lse: this.#take(4 * rows * qHeads),
      marked: Array.from({ length: runs }, (_, n) => {
        const buffer = this.#take(size * kvHeads * length * headDim)
        const values = markedValues(dtype, { kvHeads, length, headDim }, n * headDim)
        this.#gpu.device.queue.writeBuffer(buffer, 0, values)
        return buffer
      }),
    }
  }

  #take(bytes: number, usage: number = USAGE.storage): GPUBuffer {
    return this.#lease.take(roundBinding(bytes), usage)
  }

  async read(): Promise<Measured> {
    const lease = new Lease(this.#gpu.pool)
    const logged = this.#logged.flatMap(({ kept, all, bytes }) =>
      [kept, all].map((buffer) => ({ buffer, offset: 0, size: bytes })),
    )
    const sums = [...this.#sums].toSorted(([a], [b]) => a - b)
    const size = 4 * this.#shape.qHeads * Math.ceil(this.#length / BLOCK) ** 2
    const counted = sums.map(([, buffer]) => ({ buffer, offset: 0, size }))
    const bytes = await readBack(this.#gpu, lease, [...logged, ...counted])
    lease.end('keep')
    const masses = this.#logged.map(({ layer }, n) => ({
      layer,
      values: keptMass(new Float32Array(bytes[2 * n]!), new Float32Array(bytes[2 * n + 1]!)),
    }))
    const byLayer = [...new Set(masses.map((m) => m.layer))].map((layer) =>
      mean(masses.filter((m) => m.layer === layer).flatMap((m) => [...m.values])),
    )
    const known = byLayer.every(Number.isFinite)
    return {
      recall: known ? mean(byLayer) : null,
      leastRecall: known ? Math.min(...byLayer) : null,
      counts: this.#kernels.counting ? bytes.slice(logged.length).map((b) => new Uint32Array(b)) : null,
    }
  }

  release(): void {
    const { pattern, plain, counting, dense } = this.#kernels
    for (const kernel of [pattern, plain, counting, dense]) kernel?.release()
    this.#lease.end('destroy')
  }
}

/** Row by row: the sum of the exponentials of the kept logits over that of all. Roundings may put it a little above one. */
const keptMass = (kept: Float32Array, all: Float32Array): Float64Array =>
  Float64Array.from(kept, (lse, i) => Math.min(1, Math.exp(lse - all[i]!)))

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

/** One call of the decode skeleton: sizes, layout and lengths in; out and LSE of its kernels on the emulation out. */

import { CALL_BYTES, CALL_FIELDS } from '../../codegen/cuda/call.ts'
import { emitCuda } from '../../codegen/cuda/emit.ts'
import type { CudaDtype, CudaVariant, SizeRule } from '../../codegen/cuda/manifest.ts'
import { toBfloat } from '../../runtime/bfloat.ts'
import type { CudaDriver, CudaModule } from '../../runtime/cuda/driver.ts'
import { evaluateJson } from '../../runtime/derived.ts'
import { toHalf } from '../../runtime/half.ts'
import { resolveLengths, type Length } from '../../runtime/lengths.ts'
import type { ReferenceCall } from '../../runtime/reference.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'
import type { Shape as TensorShape, Tensor } from '../../runtime/tensor.ts'
import type { TestPattern } from './decode-patterns.ts'
import { NAN, storage } from './decode-storage.ts'

export interface KernelChoice {
  readonly subject: TestPattern
  readonly headDim: number
  readonly valueDim: number
  readonly dtype: CudaDtype
  /** Of the shape table's alternatives. */
  readonly shape?: number
  readonly debug?: boolean
}

export interface DecodeCase {
  readonly batch: number
  readonly kvHeads: number
  readonly group: number
  readonly qRows: number
  readonly kvRows: number
  readonly headDim: number
  readonly valueDim: number
  readonly splits: number
  readonly layout: 'bhld' | 'blhd'
  /** Pages in a shuffled order among unused ones; rows of a page before heads, or heads before rows. */
  readonly pages: { readonly size: number; readonly order: 'nhd' | 'hnd' } | null
  /** Rows of whole 16 bytes. */
  readonly aligned: boolean
  readonly lengths?: readonly Length[]
  readonly scale?: number
  readonly seed: number
  /** Page numbers, changed before the launch. */
  readonly spoil?: (pages: Int32Array) => void
}

export interface DecodeResult {
  readonly out: Tensor
  readonly lse: { readonly data: Float32Array }
  /** What the oracle gets. */
  readonly call: ReferenceCall
  readonly counter: number
  readonly bankConflicts: number
}

export interface DecodeKernel {
  readonly choice: KernelChoice
  readonly variant: CudaVariant
  readonly module: CudaModule
}

export async function loadDecode(driver: CudaDriver, choice: KernelChoice): Promise<DecodeKernel> {
  const { subject, headDim, valueDim, dtype, shape = 0, debug = false } = choice
  const { variants } = emitCuda(subject, {
    headDims: [headDim],
    valueDims: [valueDim],
    dtypes: [dtype],
    skeletons: ['decode'],
    shapes: (_spec, _request, shapes) => shapes[shape]!,
    debug,
  })
  const variant = variants[0]!
  const source = { ...variant, pattern: subject.pattern.name, readCubin: () => null }
  return { choice, variant, module: await driver.loadModule(source) }
}

export function runDecode(driver: CudaDriver, kernel: DecodeKernel, c: DecodeCase): DecodeResult {
  const { subject, dtype } = kernel.choice
  const { workspace } = kernel.variant
  const encode = dtype === 'bf16' ? toBfloat : toHalf
  const random = seededRandom(c.seed)
  const qHeads = c.kvHeads * c.group
  const { batch, kvHeads, qRows, kvRows, headDim, valueDim } = c
  const lengths = resolveLengths(c.lengths, { batch, qRows, kvRows })
  const tensor = (shape: TensorShape): Tensor & { data: Uint16Array<ArrayBuffer> } => ({
    data: new Uint16Array(shape.reduce((a, b) => a * b)).map(() => encode(random() * 2 - 1)),
    dtype,
    shape,
  })
  const q = tensor([batch, qHeads, qRows, headDim])
  const k = tensor([batch, kvHeads, kvRows, headDim])
  const v = tensor([batch, kvHeads, kvRows, valueDim])

  const rowsFirst = c.layout === 'blhd'
  const qStore = storage(batch, qHeads, qRows, headDim, rowsFirst, c.aligned)
  const outStore = storage(batch, qHeads, qRows, valueDim, rowsFirst, c.aligned)
  const pageStride = c.pages ? Math.ceil(kvRows / c.pages.size) : 0
  // A third of the pages is nobody's.
  const pageCount = Math.ceil(batch * pageStride * 1.5)
  const order = Array.from({ length: pageCount }, (_, i) => i)
  for (let i = pageCount - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const pages = Int32Array.from({ length: batch * pageStride }, (_, i) => order[i]!)
  const kvStore = (dim: number) =>
    c.pages
      ? storage(pageCount, kvHeads, c.pages.size, dim, c.pages.order === 'nhd', c.aligned)
      : storage(batch, kvHeads, kvRows, dim, rowsFirst, c.aligned)
  const [kStore, vStore] = [kvStore(headDim), kvStore(valueDim)]
  for (let b = 0; b < batch; b++) {
    const { qRow, qLen, kvStart, kvLen } = lengths[b]!
    for (let h = 0; h < qHeads; h++)
      for (let r = qRow; r < qRow + qLen; r++) {
        const from = ((b * qHeads + h) * qRows + r) * headDim
        qStore.data.set(q.data.subarray(from, from + headDim), qStore.at(b, h, r))
      }
    for (let h = 0; h < kvHeads; h++)
      for (let r = kvStart; r < kvStart + kvLen; r++) {
        const size = c.pages?.size ?? 0
        const [outer, row] = c.pages ? [pages[b * pageStride + Math.floor(r / size)]!, r % size] : [b, r]
        const at = (b * kvHeads + h) * kvRows + r
        kStore.data.set(k.data.subarray(at * headDim, (at + 1) * headDim), kStore.at(outer, h, row))
        vStore.data.set(v.data.subarray(at * valueDim, (at + 1) * valueDim), vStore.at(outer, h, row))
      }
  }
  c.spoil?.(pages)

  const vars = {
    batch,
    qHeads,
    kvHeads,
    group: c.group,
    qRows,
    kvRows,
    headDim,
    valueDim,
    multiprocessors: driver.multiprocessors,
    splits: c.splits,
  }
  const size = (rule: SizeRule) => Number(evaluateJson(rule, { vars, param: () => Number.NaN }))
  const scale = c.scale ?? headDim ** -0.5
  const params = Object.values(subject.pattern.params).map((p) => p.default)
  const listStride = 1 + Math.ceil(kvRows / kernel.variant.tile.kv)
  // Every fourth key, about, has each tag, but there are none of the second kind in the middle.
  const tag = Int32Array.from({ length: kvRows }, (_, i) =>
    Math.floor(random() * (i > 80 && i < 220 ? 2 : 4)),
  )
  const tables = Object.keys(subject.pattern.tables).length > 0 ? { tag } : {}
  const call: ReferenceCall = { q, k, v, scale, lengths, tables }

  const held: bigint[] = []
  const give = (data: ArrayBufferView | number): bigint => {
    const bytes = typeof data === 'number' ? data : data.byteLength
    const at = driver.alloc(bytes)
    held.push(at)
    if (typeof data !== 'number' && bytes > 0)
      driver.copyIn(at, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return at
  }
  try {
    const lse = new Float32Array(batch * qHeads * qRows)
    const [out, lseAt, counters] = [
      give(outStore.data),
      give(lse.byteLength),
      give(new Uint8Array(size(workspace.counters))),
    ]
    const kvRowsOfCall = c.pages ? pageStride * c.pages.size : kvRows
    const fields: Record<string, number | bigint | readonly bigint[]> = {
      q: give(qStore.data),
      k: give(kStore.data),
      v: give(vStore.data),
      out,
      lse: lseAt,
      lengths: give(Int32Array.from(lengths.flatMap((l) => [l.qRow, l.qStart, l.qLen, l.kvStart, l.kvLen]))),
      values: give(Int32Array.from(params)),
      pages: c.pages ? give(pages) : 0n,
      list: give(size(workspace.list)),
      parts: [0n, 0n, 0n, 0n],
      order: 0n,
      before: 0n,
      state: 0n,
      counters,
      scratch: give(size(workspace.scratch)),
      tables: [give(tag)],
      qStride: qStore.strides,
      kStride: kStore.strides,
      vStride: vStore.strides,
      outStride: outStore.strides,
      batch,
      qHeads,
      kvHeads,
      qRows,
      kvRows: kvRowsOfCall,
      headDim,
      valueDim,
      pageSize: c.pages?.size ?? 0,
      pageStride,
      pageCount,
      splits: c.splits,
      vectors: c.aligned ? 1 : 0,
      listStride,
      scale,
    }
    const bytes = new Uint8Array(CALL_BYTES)
    const view = new DataView(bytes.buffer)
    for (const { name, type, offset } of CALL_FIELDS) {
      const value = fields[name]!
      if (typeof value === 'object') value.forEach((x, i) => view.setBigInt64(offset + 8 * i, x, true))
      else if (type === 'f32') view.setFloat32(offset, Number(value), true)
      else if (type === 'i32') view.setInt32(offset, Number(value), true)
      else view.setBigUint64(offset, BigInt(value), true)
    }
    let bankConflicts = 0
    for (const entry of kernel.variant.entries) {
      const grid = entry.grid.map(size) as [number, number, number]
      if (grid.includes(0)) continue
      driver.launch({
        entry: kernel.module.entry(entry.name, entry.sharedBytes),
        grid,
        threads: entry.threads,
        sharedBytes: entry.sharedBytes,
        params: [bytes],
        about: () => JSON.stringify(c),
      })
      const { statistics } = driver as { statistics?: { bankConflicts: number } }
      bankConflicts += statistics?.bankConflicts ?? 0
    }
    driver.synchronize()
    const stored = new Uint16Array(outStore.data.length)
    driver.copyOut(new Uint8Array(stored.buffer), out)
    driver.copyOut(new Uint8Array(lse.buffer), lseAt)
    const counter = new Uint32Array(1)
    driver.copyOut(new Uint8Array(counter.buffer), counters)
    const result = new Uint16Array(batch * qHeads * qRows * valueDim)
    for (let b = 0; b < batch; b++)
      for (let h = 0; h < qHeads; h++)
        for (let r = 0; r < qRows; r++) {
          const at = outStore.at(b, h, r)
          result.set(stored.subarray(at, at + valueDim), ((b * qHeads + h) * qRows + r) * valueDim)
          stored.fill(NAN, at, at + valueDim)
        }
    if (stored.some((x) => x !== NAN)) throw new Error('something was written between the rows of out')
    return {
      out: { data: result, dtype, shape: [batch, qHeads, qRows, valueDim] },
      lse: { data: lse },
      call,
      counter: counter[0]!,
      bankConflicts,
    }
  } finally {
    held.forEach((at) => driver.free(at))
  }
}

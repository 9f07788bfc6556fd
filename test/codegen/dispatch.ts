/** Runs one variant on a device by the contract of artifact.ts alone, and computes the same in f64 from the plan. */

import { environmentOf } from '../../compiler/mask-map.ts'
import { evaluate } from '../../compiler/ir.ts'
import type { KernelPlan } from '../../compiler/plan.ts'
import { UNIFORM_FIELDS, type Artifact, type Variant } from '../../codegen/artifact.ts'
import { COMPUTE, READ, USAGE } from './devices.ts'

export interface Problem {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qRows: number
  readonly kvRows: number
  readonly lengths: readonly {
    readonly qRow: number
    readonly qStart: number
    readonly qLen: number
    readonly kvStart: number
    readonly kvLen: number
  }[]
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
  readonly params: Readonly<Record<string, number | readonly number[]>>
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
  /** [batch, len, heads, dim] in place of [batch, heads, len, dim]. */
  readonly rowsFirst?: boolean
  /** Dispatch in a grid this wide. */
  readonly gridX?: number
}

export interface Result {
  readonly out: ArrayLike<number>
  readonly lse: ArrayLike<number>
}

const FLOAT = new Float32Array(1)
const BITS = new Uint32Array(FLOAT.buffer)

const halfBits = (x: number): number => {
  FLOAT[0] = x
  const b = BITS[0]!
  const sign = (b >>> 16) & 0x8000
  const e = ((b >>> 23) & 255) - 112
  const m = b & 0x7fffff
  if (((b >>> 23) & 255) === 255) return sign | 0x7c00 | (m ? 0x200 : 0)
  if (e >= 31) return sign | 0x7bff
  if (e <= 0) return e < -10 ? sign : sign | (((m | 0x800000) + (1 << (13 - e))) >> (14 - e))
  return sign | (((e << 10) | (m >> 13)) + ((m >> 12) & 1))
}
const halfValue = (h: number): number => {
  const e = (h >> 10) & 31
  const m = h & 1023
  const x = e === 0 ? m * 2 ** -24 : e === 31 ? (m ? NaN : Infinity) : (1 + m / 1024) * 2 ** (e - 15)
  return h & 0x8000 ? -x : x
}
export const roundHalf = (x: number): number => halfValue(halfBits(x))

/** Strides in elements: batch, head, row. */
const stridesOf = (p: Problem, heads: number, rows: number, dim: number): [number, number, number] =>
  p.rowsFirst ? [rows * heads * dim, dim, heads * dim] : [heads * rows * dim, rows * dim, dim]

const bufferBits = (data: Float32Array, dtype: 'f32' | 'f16'): Uint8Array => {
  if (dtype === 'f32') return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const halves = Uint16Array.from(data, halfBits)
  const padded = new Uint8Array(Math.max(16, Math.ceil(halves.byteLength / 16) * 16))
  padded.set(new Uint8Array(halves.buffer))
  return padded
}

export async function runVariant(
  device: GPUDevice,
  artifact: Artifact,
  variant: Variant,
  p: Problem,
): Promise<Result> {
  const { headDim, valueDim, dtype, tile } = variant
  const tiles = Math.ceil(p.qRows / tile.q)
  const tileCount = p.batch * p.qHeads * tiles
  const gridX = p.gridX ?? tileCount
  const strides = {
    q: stridesOf(p, p.qHeads, p.qRows, headDim),
    k: stridesOf(p, p.kvHeads, p.kvRows, headDim),
    v: stridesOf(p, p.kvHeads, p.kvRows, valueDim),
    out: stridesOf(p, p.qHeads, p.qRows, valueDim),
  }
  const listStride = 1 + Math.ceil(p.kvRows / tile.kv)
  const fixed: Record<string, number> = {
    batch: p.batch,
    batches: p.batch,
    qHeads: p.qHeads,
    kvHeads: p.kvHeads,
    heads: p.qHeads,
    batchBase: 0,
    headBase: 0,
    qRows: p.qRows,
    kvRows: p.kvRows,
    gridX,
    tileCount,
    scale: headDim ** -0.5,
    listStride,
  }
  for (const [name, [b, h, r]] of Object.entries(strides)) {
    fixed[`${name}BatchStride`] = b
    fixed[`${name}HeadStride`] = h
    fixed[`${name}RowStride`] = r
  }
  const paramOf = (name: string, head: number): number => {
    const given = p.params[name] ?? artifact.params.find((i) => i.name === name)!.default
    return typeof given === 'number' ? given : given[head]!
  }
  const block = new DataView(new ArrayBuffer(variant.uniforms.length * 4))
  variant.uniforms.forEach(({ name, type }, i) => {
    const value = i < UNIFORM_FIELDS.length ? fixed[name]! : paramOf(name, 0)
    if (value === undefined) throw new Error(`no value for uniform ${name}`)
    if (type === 'f32') block.setFloat32(4 * i, value, true)
    else block.setInt32(4 * i, value, true)
  })
  const meta: number[] = p.lengths.flatMap((l) => [l.qRow, l.qStart, l.qLen, l.kvStart, l.kvLen])
  const floatBits = (x: number) => new Int32Array(new Float32Array([x]).buffer)[0]!
  const heads = Array.from({ length: p.qHeads }, (_, h) => h)
  for (const info of artifact.params.filter((i) => i.perHead)) {
    for (const h of heads)
      meta.push(info.type === 'f32' ? floatBits(paramOf(info.name, h)) : paramOf(info.name, h))
  }
  const plan = planOfArtifact.get(artifact)
  for (const info of artifact.derived) {
    for (let b = 0; b < p.batch; b++) {
      for (const h of heads) {
        const value = environmentOf(plan!, settingOf(p, headDim, b, h)).derived(info.name)
        meta.push(info.type === 'f32' ? floatBits(value) : value)
      }
    }
  }
  const usage = USAGE.storage | USAGE.copySource | USAGE.copyTarget | USAGE.uniform
  const upload = (bytes: Uint8Array, extra = 0) => {
    const buffer = device.createBuffer({
      size: Math.max(16, Math.ceil((bytes.byteLength + extra) / 4) * 4),
      usage,
    })
    if (bytes.byteLength > 0) device.queue.writeBuffer(buffer, 0, bytes as Uint8Array<ArrayBuffer>)
    return buffer
  }
  const bytesOf = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength)
  const outCount = p.batch * p.qHeads * p.qRows * valueDim
  const garbage = new Float32Array(outCount).fill(NaN)
  const buffers: Record<string, GPUBuffer> = {
    uniforms: upload(new Uint8Array(block.buffer), 16),
    meta: upload(bytesOf(Int32Array.from(meta))),
    q: upload(bufferBits(p.q, dtype)),
    k: upload(bufferBits(p.k, dtype)),
    v: upload(bufferBits(p.v, dtype)),
    out: upload(bufferBits(garbage, dtype)),
    lse: upload(bytesOf(new Float32Array(p.batch * p.qHeads * p.qRows).fill(NaN))),
    list: upload(new Uint8Array(tileCount * listStride * 4)),
  }
  const module = device.createShaderModule({ code: variant.code })
  const layout = device.createBindGroupLayout({
    entries: variant.bindings.map((b) => ({
      binding: b.binding,
      visibility: COMPUTE,
      buffer: {
        type: b.access === 'uniform' ? 'uniform' : b.access === 'read' ? 'read-only-storage' : 'storage',
      } as const,
    })),
  })
  const bindGroup = device.createBindGroup({
    layout,
    entries: variant.bindings.map((b) => ({
      binding: b.binding,
      resource: { buffer: b.role === 'table' ? upload(bytesOf(p.tables[b.table!]!)) : buffers[b.role]! },
    })),
  })
  const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  for (const entryPoint of [variant.entries.list, variant.entries.attend]) {
    if (entryPoint === null) continue
    pass.setPipeline(
      device.createComputePipeline({ layout: pipelineLayout, compute: { module, entryPoint } }),
    )
    pass.setBindGroup(0, bindGroup)
    pass.dispatchWorkgroups(gridX, Math.ceil(tileCount / gridX))
  }
  pass.end()
  const read = (name: 'out' | 'lse') => {
    const target = device.createBuffer({ size: buffers[name]!.size, usage: USAGE.copyTarget | USAGE.mapRead })
    encoder.copyBufferToBuffer(buffers[name]!, 0, target, 0, buffers[name]!.size)
    return target
  }
  const [outBuffer, lseBuffer] = [read('out'), read('lse')]
  device.queue.submit([encoder.finish()])
  await Promise.all([outBuffer.mapAsync(READ), lseBuffer.mapAsync(READ)])
  const outBytes = outBuffer.getMappedRange().slice(0)
  const lse = new Float32Array(lseBuffer.getMappedRange().slice(0)).subarray(0, p.batch * p.qHeads * p.qRows)
  const out =
    dtype === 'f32'
      ? new Float32Array(outBytes).subarray(0, outCount)
      : Array.from(new Uint16Array(outBytes).subarray(0, outCount), halfValue)
  for (const b of [...Object.values(buffers), outBuffer, lseBuffer]) b.destroy()
  return { out, lse }
}

/** The plan behind an artefact of a test: what the JSON of its derived uniforms was made from. */
export const planOfArtifact = new WeakMap<Artifact, KernelPlan>()

const settingOf = (p: Problem, headDim: number, batch: number, head: number) => ({
  batch,
  batches: p.batch,
  head,
  qHeads: p.qHeads,
  kvHeads: p.kvHeads,
  qLen: p.lengths[batch]!.qLen,
  kvLen: p.lengths[batch]!.kvLen,
  headDim,
  params: p.params,
  tables: p.tables,
})

/** Dense attention in f64 under the plan's mask and score. */
export function reference(
  plan: KernelPlan,
  p: Problem,
  headDim: number,
  valueDim: number,
  round = (x: number) => x,
): Result {
  const out = new Float64Array(p.batch * p.qHeads * p.qRows * valueDim)
  const lse = new Float64Array(p.batch * p.qHeads * p.qRows).fill(-Infinity)
  const group = p.qHeads / p.kvHeads
  const [q, k, v] = [p.q.map(round), p.k.map(round), p.v.map(round)]
  for (let b = 0; b < p.batch; b++) {
    const { qRow, qStart, qLen, kvStart, kvLen } = p.lengths[b]!
    for (let h = 0; h < p.qHeads; h++) {
      const setting = settingOf(p, headDim, b, h)
      const base = environmentOf(plan, setting)
      const [sq, sk, sv, so] = [
        stridesOf(p, p.qHeads, p.qRows, headDim),
        stridesOf(p, p.kvHeads, p.kvRows, headDim),
        stridesOf(p, p.kvHeads, p.kvRows, valueDim),
        stridesOf(p, p.qHeads, p.qRows, valueDim),
      ]
      const kvHead = Math.floor(h / group)
      for (let i = 0; i < qLen; i++) {
        const row = qRow + i
        const scores: number[] = []
        const keys: number[] = []
        for (let kv = 0; kv < kvLen; kv++) {
          const env = {
            ...base,
            var: (n: Parameters<typeof base.var>[0]) =>
              n === 'q' ? qStart + i : n === 'kv' ? kv : base.var(n),
          }
          if (!evaluate(plan.mask, env)) continue
          let s = 0
          for (let d = 0; d < headDim; d++) {
            s +=
              q[b * sq[0] + h * sq[1] + row * sq[2] + d]! *
              k[b * sk[0] + kvHead * sk[1] + (kvStart + kv) * sk[2] + d]!
          }
          s *= headDim ** -0.5
          const scored = plan.score
            ? (evaluate(plan.score, { ...env, var: (n) => (n === 'logit' ? s : env.var(n)) }) as number)
            : s
          scores.push(scored)
          keys.push(kv)
        }
        const sink = plan.sinkLogit ? (evaluate(plan.sinkLogit, base) as number) : -Infinity
        const at = (b * p.qHeads + h) * p.qRows + row
        if (keys.length === 0) {
          lse[at] = sink
          continue
        }
        const top = Math.max(sink, ...scores)
        const weights = scores.map((s) => Math.exp(s - top))
        const total = weights.reduce((x, y) => x + y, 0) + Math.exp(sink - top)
        lse[at] = top + Math.log(total)
        for (let d = 0; d < valueDim; d++) {
          let sum = 0
          keys.forEach(
            (kv, n) => (sum += weights[n]! * v[b * sv[0] + kvHead * sv[1] + (kvStart + kv) * sv[2] + d]!),
          )
          out[b * so[0] + h * so[1] + row * so[2] + d] = sum / total
        }
      }
    }
  }
  return { out, lse }
}

/** Numbers of about unit size, the same in every run. */
export function numbers(n: number, seed: number): Float32Array {
  let x = seed >>> 0
  return Float32Array.from({ length: n }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    let y = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d)
    y ^= y >>> 13
    return ((y >>> 0) / 2 ** 31 - 1) * 1.7
  })
}

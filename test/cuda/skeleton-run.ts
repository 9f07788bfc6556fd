/** A skeleton's text for one shape and a hand-made pattern section, run in the emulation on random tensors, against dense f64. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { CALL_BYTES, CALL_FIELDS, CALL_TEXT } from '../../codegen/cuda/call.ts'
import type { CudaDtype } from '../../codegen/cuda/manifest.ts'
import type { Shape } from '../../codegen/cuda/skeleton.ts'
import type { Address, CudaDriver } from '../../runtime/cuda/driver.ts'
import { bitsOfHalf, halfOfBits } from './halves.ts'

export interface Kernel {
  readonly dtype: CudaDtype
  /** Padded. */
  readonly headDim: number
  readonly valueDim: number
  readonly shape: Pick<Shape, 'tile' | 'threads' | 'constants'>
  readonly section: string
  readonly texts: readonly string[]
}

const folder = new URL('../../codegen/cuda/', import.meta.url)
const read = (file: string) => readFileSync(new URL(file, folder), 'utf8')

export function textOf({ dtype, headDim, valueDim, shape, section, texts }: Kernel): string {
  const constants = {
    BF16: dtype === 'bf16',
    DEBUG: true,
    HEAD_DIM: headDim,
    VALUE_DIM: valueDim,
    TILE_Q: shape.tile.q,
    TILE_KV: shape.tile.kv,
    UNITS: 1,
    UNIT_KV: shape.tile.kv,
    THREADS: shape.threads,
    ...shape.constants,
  }
  const lines = Object.entries(constants).map(([name, x]) => `constexpr ${typeof x === 'boolean' ? 'bool' : 'int'} ${name} = ${x};`) // oxfmt-ignore
  return [
    lines.join('\n'),
    CALL_TEXT,
    read('prelude.cuh'),
    section,
    read('tiles.cuh'),
    ...texts.map(read),
  ].join('\n')
}

export interface Case {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qRows: number
  readonly kvRows: number
  readonly headDim: number
  readonly valueDim: number
  /** [qRow, qStart, qLen, kvStart, kvLen] of each batch; all rows by default. */
  readonly lengths?: readonly (readonly [number, number, number, number, number])[]
  /** Unused halves before and after each row. */
  readonly pad?: readonly [before: number, after: number]
  readonly scale?: number
  readonly values?: readonly number[]
}

/** What the oracle asks of a pattern; q and kv are positions. */
export interface Meaning {
  readonly keeps: (q: number, kv: number) => boolean
  readonly score?: (s: number, q: number, kv: number, head: number) => number
  readonly sink?: (head: number) => number
}

const decoded = (type: CudaDtype) =>
  Float64Array.from({ length: 2 ** 16 }, (_, bits) => halfOfBits(type, bits))
const VALUES = { bf16: decoded('bf16'), f16: decoded('f16') } as const

/** Numbers that repeat: standard normal. */
function normals(seed: number): () => number {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32
  }
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform())
}

/** A tensor of bits with its unused parts NaN, so that what leaks is seen. */
class Bits {
  readonly data: Uint16Array
  readonly strides: readonly [number, number, number]
  readonly #before: number
  readonly #values: Float64Array

  constructor(
    shape: readonly [batch: number, heads: number, rows: number, dim: number],
    [before, after]: readonly [number, number],
    dtype: CudaDtype,
    fill: (batch: number, head: number, row: number) => (() => number) | null,
  ) {
    const [batch, heads, rows, dim] = shape
    const pitch = before + dim + after
    this.#before = before
    this.#values = VALUES[dtype]
    this.strides = [heads * rows * pitch, rows * pitch, pitch]
    this.data = new Uint16Array(batch * heads * rows * pitch).fill(0x7fff)
    for (let b = 0; b < batch; b++)
      for (let h = 0; h < heads; h++)
        for (let r = 0; r < rows; r++) {
          const draw = fill(b, h, r)
          if (draw) for (let i = 0; i < dim; i++) this.data[this.at(b, h, r, i)] = bitsOfHalf(dtype, draw())
        }
  }

  at(batch: number, head: number, row: number, column: number): number {
    const [b, h, r] = this.strides
    return batch * b + head * h + row * r + this.#before + column
  }

  value(batch: number, head: number, row: number, column: number): number {
    return this.#values[this.data[this.at(batch, head, row, column)]!]!
  }
}

export interface Outcome {
  /** Greatest error as a part of the allowed: twice plain attention's in the same precision, and a few ulps. */
  readonly out: number
  readonly lse: number
  /** Rows that must be exactly empty and are not, and halves outside the output that were written. */
  readonly wrong: readonly string[]
}

export interface Run {
  readonly driver: CudaDriver
  readonly kernel: Kernel
  /** Before `attend`: an entry that makes tile lists. */
  readonly list?: { readonly threads: number; readonly sharedBytes: number }
  readonly sharedBytes: number
}

export async function runSkeleton(run: Run, given: Case, meaning: Meaning, seed = 1): Promise<Outcome> {
  const { driver, kernel } = run
  const { batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim } = given
  const { dtype, shape } = kernel
  const pad = given.pad ?? [0, 0]
  const lengths =
    given.lengths ?? Array.from({ length: batch }, () => [0, kvRows - qRows, qRows, 0, kvRows] as const)
  const draw = normals(seed)
  const realKey = (b: number, r: number) => r >= lengths[b]![3] && r < lengths[b]![3] + lengths[b]![4]
  const realQuery = (b: number, r: number) => r >= lengths[b]![0] && r < lengths[b]![0] + lengths[b]![2]
  const q = new Bits([batch, qHeads, qRows, headDim], pad, dtype, (b, _, r) =>
    realQuery(b, r) ? draw : null,
  )
  const k = new Bits([batch, kvHeads, kvRows, headDim], pad, dtype, (b, _, r) =>
    realKey(b, r) ? draw : null,
  )
  const v = new Bits([batch, kvHeads, kvRows, valueDim], pad, dtype, (b, _, r) =>
    realKey(b, r) ? draw : null,
  )
  const out = new Bits([batch, qHeads, qRows, valueDim], pad, dtype, () => null)
  const lse = new Float32Array(batch * qHeads * qRows).fill(Number.NaN)
  const scale = Math.fround(given.scale ?? headDim ** -0.5)
  const group = qHeads / kvHeads
  const qTiles = Math.ceil(qRows / shape.tile.q)
  const listStride = 1 + Math.ceil(kvRows / shape.tile.kv)

  const held: Address[] = []
  const place = (bytes: Uint8Array): Address => {
    const address = driver.alloc(bytes.length)
    driver.copyIn(address, bytes)
    held.push(address)
    return address
  }
  const bytesOf = (x: Uint16Array | Float32Array | Int32Array) =>
    new Uint8Array(x.buffer, x.byteOffset, x.byteLength)
  const at = { q: place(bytesOf(q.data)), k: place(bytesOf(k.data)), v: place(bytesOf(v.data)), out: place(bytesOf(out.data)) } // oxfmt-ignore
  const lseAt = place(bytesOf(lse))
  const pads = BigInt(2 * pad[0])
  const fields: Record<string, bigint | number | readonly (bigint | number)[]> = {
    q: at.q + pads, k: at.k + pads, v: at.v + pads, out: at.out + pads, lse: lseAt,
    lengths: place(bytesOf(Int32Array.from(lengths.flat()))),
    values: place(bytesOf(Int32Array.from(given.values ?? [0]))),
    list: place(new Uint8Array(4 * batch * qTiles * listStride).fill(0xff)),
    qStride: q.strides.map(BigInt), kStride: k.strides.map(BigInt), vStride: v.strides.map(BigInt), outStride: out.strides.map(BigInt),
    batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim, listStride, scale, splits: 1,
    vectors: [...q.strides, ...k.strides, ...v.strides, ...out.strides, pad[0]].every((x) => x % 8 === 0) ? 1 : 0,
  } // oxfmt-ignore
  const call = new Uint8Array(CALL_BYTES)
  const view = new DataView(call.buffer)
  for (const { name, type, offset } of CALL_FIELDS) {
    const value = fields[name] ?? 0
    ;[value].flat().forEach((x, i) => {
      if (type === 'pointer' || type === 'i64') view.setBigInt64(offset + 8 * i, BigInt(x as bigint), true)
      else if (type === 'i32') view.setInt32(offset + 4 * i, Number(x), true)
      else view.setFloat32(offset, Number(x), true)
    })
  }
  const code = textOf(kernel)
  const module = await driver.loadModule({
    pattern: 'section', id: `d${kernel.headDim}-${dtype}`, code, hash: createHash('sha256').update(code).digest('hex'),
    suffix: '', entries: [], cubins: [], readCubin: () => null,
  }) // oxfmt-ignore
  const launch = (name: string, blocks: number, threads: number, sharedBytes: number) =>
    driver.launch({ entry: module.entry(name, sharedBytes), grid: [blocks, 1, 1], threads, sharedBytes, params: [call], about: () => name }) // oxfmt-ignore
  if (run.list) launch('list', batch * qTiles, run.list.threads, run.list.sharedBytes)
  launch('attend', batch * qHeads * qTiles, shape.threads, run.sharedBytes)
  driver.synchronize()
  const before = out.data.slice()
  driver.copyOut(bytesOf(out.data), at.out)
  driver.copyOut(bytesOf(lse), lseAt)
  for (const address of held) driver.free(address)

  // The oracle in f64, and plain attention whose weights and output are rounded as the kernel's are.
  const round = (x: number) => halfOfBits(dtype, bitsOfHalf(dtype, x))
  const wrong: string[] = []
  const errors = { out: [0, 0], lse: [0, 0] } as const as Record<'out' | 'lse', [ours: number, plain: number]>
  let [logitMax, valueMax] = [0, 0]
  const note = (name: 'out' | 'lse', place: string, got: number, want: number, plain: number) => {
    if (!Number.isFinite(got)) wrong.push(`${name} ${place} is ${got}, not ${want}`)
    else errors[name][0] = Math.max(errors[name][0], Math.abs(got - want))
    errors[name][1] = Math.max(errors[name][1], Math.abs(plain - want))
  }
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < qHeads; h++)
      for (let r = 0; r < qRows; r++) {
        const [qRow, qStart, , kvStart, kvLen] = lengths[b]!
        const kvHead = Math.floor(h / group)
        const position = qStart + r - qRow
        const keys: number[] = []
        const logits: number[] = []
        for (let key = 0; realQuery(b, r) && key < kvLen; key++) {
          if (!meaning.keeps(position, key)) continue
          let dot = 0
          for (let i = 0; i < headDim; i++) dot += q.value(b, h, r, i) * k.value(b, kvHead, kvStart + key, i)
          const s = dot * scale
          keys.push(key)
          logits.push(meaning.score ? meaning.score(s, position, key, h) : s)
          logitMax = Math.max(logitMax, Math.abs(s), Math.abs(logits.at(-1)!))
        }
        const sink = meaning.sink && realQuery(b, r) ? meaning.sink(h) : -Infinity
        const top = Math.max(sink, ...logits)
        const rowLse = lse[(b * qHeads + h) * qRows + r]!
        const where = `[${b}, ${h}, ${r}]`
        if (keys.length === 0) {
          if (rowLse !== Math.fround(sink)) wrong.push(`lse ${where} is ${rowLse}, not ${sink}`)
          for (let i = 0; i < valueDim; i++)
            if (out.value(b, h, r, i) !== 0) wrong.push(`out ${where} is not 0 at ${i}`)
          continue
        }
        const weights = logits.map((s) => Math.exp(s - top))
        const sum = weights.reduce((x, y) => x + y, Math.exp(sink - top))
        note('lse', where, rowLse, top + Math.log(sum), Math.fround(top + Math.log(sum)))
        for (let i = 0; i < valueDim; i++) {
          let [exact, plain] = [0, 0]
          keys.forEach((key, n) => {
            const value = v.value(b, kvHead, kvStart + key, i)
            valueMax = Math.max(valueMax, Math.abs(value))
            exact += weights[n]! * value
            plain += round(weights[n]!) * value
          })
          note('out', `${where} ${i}`, out.value(b, h, r, i), exact / sum, round(plain / sum))
        }
      }
  // What lies between the rows belongs to somebody else.
  const inside = new Set<number>()
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < qHeads; h++)
      for (let r = 0; r < qRows; r++) for (let i = 0; i < valueDim; i++) inside.add(out.at(b, h, r, i))
  before.forEach((bits, i) => {
    if (!inside.has(i) && out.data[i] !== bits) wrong.push(`half ${i} outside the output was written`)
  })
  const slack = 8 * 2 ** -23 * (1 + logitMax)
  return {
    out: errors.out[0] / (2 * errors.out[1] + slack * valueMax),
    lse: errors.lse[0] / (2 * errors.lse[1] + slack),
    wrong: wrong.slice(0, 5),
  }
}

/** A unit and a device in; its random calls against the f64 oracle, exact sets of keys, long and far calls; what differed out. */

import type { CudaVariant } from '../codegen/cuda/manifest.ts'
import type { Pattern } from '../dsl/index.ts'
import { cudaAttention, loadCudaKernel, type CudaDriver, type CudaKernel } from '../runtime/cuda.ts'
import { plain16, reference, type ReferenceCall } from '../runtime/reference.ts'
import type { Shape, Tensor } from '../runtime/tensor.ts'
import {
  describeCase,
  drawCase,
  randomTensor,
  tensorsOf,
  type AttentionCase,
} from '../runtime/testing/cases.ts'
import { compareWithOracle } from '../runtime/testing/compare.ts'
import { drawSeeded, type Draw } from '../runtime/testing/draw.ts'
import { padRows, toPages, type PageChoice } from '../runtime/testing/placement.ts'
import { setDifference } from '../runtime/testing/sets.ts'
import type { Unit } from './check-cuda-units.ts'

export interface UnitReport {
  readonly cases: number
  readonly sets: number
  readonly extra: number
  readonly failures: readonly string[]
  /** The greatest error as a part of the error allowed. */
  readonly worst: number
  readonly loadMs: number
  readonly ms: number
  /** The device can no longer be used: a kernel has faulted. */
  readonly dead: boolean
  /** Rows that a rounding decides, which are not compared. */
  readonly undecided?: number
}

interface Placed {
  readonly call: AttentionCase
  /** Elements after each row of q, k and v. */
  readonly pads: readonly number[]
  readonly pages: PageChoice | null
}

/** Less than the text's dims in half of the cases: those run padded. */
function drawDim(d: Draw, most: number, vectors: boolean): number {
  if (!d.oneIn(2)) return most
  return vectors ? 8 * d.int(1, most / 8) : d.int(1, most)
}

function drawPlaced(
  d: Draw,
  pattern: Pattern,
  { headDim, valueDim, dtype, tile, needs }: CudaVariant,
): Placed {
  const { vectors, qRows, pages: paged } = needs
  const call = drawCase(d, pattern, {
    headDim: drawDim(d, headDim, vectors),
    valueDim: drawDim(d, valueDim, vectors),
    ...{ dtype, tile },
    ...(qRows === null ? { keyTiles: 5 } : { keyTiles: 20, fewRows: qRows }),
  })
  // A table's size is that of k's rows, which pages round up.
  const pages =
    paged && Object.keys(pattern.tables).length === 0 && call.kvRows > 0 && d.oneIn(2)
      ? {
          pageSize: d.pick([16, 1, 64, 24, 7, 256]),
          spare: d.int(0, 3),
          layout: d.pick(['bhld', 'blhd'] as const),
          seed: d.choose(2 ** 16),
        }
      : null
  const pads = d.list(3, () => d.pick(vectors ? [0, 0, 8, 24] : [0, 0, 8, 1, 3]))
  return { call, pads, pages }
}

const optionsOf = (c: AttentionCase) => ({
  params: c.params,
  tables: c.tables,
  layout: c.layout,
  ...(c.scale === undefined ? {} : { scale: c.scale }),
  ...(c.lengths === undefined ? {} : { lengths: c.lengths }),
})

async function runPlaced(
  kernel: CudaKernel,
  pattern: Pattern,
  { call: c, pads, pages }: Placed,
  variant: string,
) {
  const given = tensorsOf(c)
  const call: ReferenceCall = { ...given, ...optionsOf(c) }
  const padded = Object.fromEntries(
    (['q', 'k', 'v'] as const).map((name, i) => [
      name,
      pads[i] === 0 ? given[name] : padRows(given[name], pads[i]!),
    ]),
  )
  const paged = pages && toPages(given.k, given.v, pages)
  const whole = Array.from({ length: c.batch }, () => ({ kvLen: c.kvRows }))
  const lengths = c.lengths ?? whole
  const place = paged
    ? { q: padded['q']!, k: paged.k, v: paged.v, pages: { table: paged.table }, lengths }
    : (padded as { q: Tensor; k: Tensor; v: Tensor })
  const got = await cudaAttention(kernel, { ...call, ...place, variant })
  return compareWithOracle(pattern, call, got, reference(pattern, call), plain16(pattern, call))
}

/** Rows that are compared of a long call: its ends, both sides of the 65,536th, and the middle. */
const LONG_ROWS = 66_000
const SAMPLES = [0, 33_000, 65_532, LONG_ROWS - 8]
const SAMPLED = 8

/** More than 65,535 rows of q and k (of few query rows: of k alone); some rows are compared. */
async function runLong(kernel: CudaKernel, pattern: Pattern, v: CudaVariant): Promise<string | null> {
  const { dtype, headDim, valueDim, needs } = v
  const rows = needs.qRows ?? LONG_ROWS
  const q = randomTensor([1, 2, rows, headDim], dtype, 11)
  const [k, values] = [headDim, valueDim].map((dim, i) => randomTensor([1, 1, LONG_ROWS, dim], dtype, i)) as [
    Tensor,
    Tensor,
  ]
  const tables =
    pattern.name === 'document' ? { docId: Int32Array.from({ length: LONG_ROWS }, (_, i) => i >> 12) } : {}
  const got = await cudaAttention(kernel, { q, k, v: values, tables, variant: v.id })
  const starts = needs.qRows === null ? SAMPLES : [0]
  for (const start of starts) {
    const count = Math.min(SAMPLED, rows)
    const part = (t: Tensor, dim: number): Tensor => {
      const heads = [0, 1].map((h) =>
        t.data.subarray((h * rows + start) * dim, (h * rows + start + count) * dim),
      )
      const data = new Uint16Array(2 * count * dim)
      heads.forEach((head, h) => data.set(head as Uint16Array, h * count * dim))
      return { ...t, data, shape: [1, 2, count, dim] as Shape }
    }
    const lse = new Float32Array(2 * count)
    for (const h of [0, 1])
      lse.set(got.lse.data.subarray(h * rows + start, h * rows + start + count), h * count)
    const lengths = [{ qStart: LONG_ROWS - rows + start }]
    const call = { q: part(q, headDim), k, v: values, tables, lengths }
    const found = { out: part(got.out, valueDim), lse: { data: lse } }
    const { difference } = compareWithOracle(
      pattern,
      call,
      found,
      reference(pattern, call),
      plain16(pattern, call),
    )
    if (difference !== null) return `rows from ${start}: ${difference}`
  }
  return null
}

const FAR = 2 ** 31 + 64

/** Two batch entries, more than 2^31 elements apart in every tensor: the result is that of the same ones side by side. */
async function runFar(kernel: CudaKernel, driver: CudaDriver, v: CudaVariant): Promise<string | null> {
  const { dtype, headDim, valueDim, needs } = v
  const rows = Math.min(40, needs.qRows ?? 40)
  const near = [
    ['q', 4, rows, headDim],
    ['k', 2, 300, headDim],
    ['v', 2, 300, valueDim],
  ] as const
  const made = near.map(([, heads, count, dim], i) => randomTensor([2, heads, count, dim], dtype, i))
  const [q, k, values] = made as [Tensor, Tensor, Tensor]
  const want = await cudaAttention(kernel, { q, k, v: values, variant: v.id })
  const bytes = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  const sizes = [...made.map((t) => t.data.length / 2), want.out.data.length / 2]
  // All of them lie in one allocation, one after the other, their second batch entries FAR elements on.
  const starts = sizes.map((_, i) => sizes.slice(0, i).reduce((a, b) => a + Math.ceil(b / 64) * 64, 0))
  const total = starts.at(-1)! + Math.ceil(sizes.at(-1)! / 64) * 64
  const memory = driver.alloc(2 * (FAR + total))
  const lse = driver.alloc(want.lse.data.byteLength)
  try {
    const at = (i: number, batch: number) => memory + 2n * BigInt(starts[i]! + batch * FAR)
    made.forEach((t, i) => {
      for (const b of [0, 1])
        driver.copyIn(at(i, b), bytes(t.data.subarray(b * sizes[i]!, (b + 1) * sizes[i]!)))
    })
    const tensor = (i: number, [, heads, count, dim]: Shape) => ({
      address: at(i, 0),
      shape: [2, heads, count, dim] as const,
      strides: [FAR, count * dim, dim],
      dtype,
    })
    const [qFar, kFar, vFar, out] = [...made.map((t) => t.shape), want.out.shape].map((shape, i) =>
      tensor(i, shape),
    )
    await kernel.launch({ q: qFar!, k: kFar!, v: vFar!, out: out!, lse, variant: v.id })
    const got = new Uint16Array(want.out.data.length)
    for (const b of [0, 1]) driver.copyOut(bytes(got.subarray(b * sizes[3]!, (b + 1) * sizes[3]!)), at(3, b))
    const wrong = got.findIndex((x, i) => x !== want.out.data[i])
    return wrong < 0 ? null : `element ${wrong} of the output is not what it is with tensors side by side`
  } finally {
    driver.free(lse)
    driver.free(memory)
  }
}

/** A small call whose values tell one key from another. */
async function runSets(
  kernel: CudaKernel,
  pattern: Pattern,
  v: CudaVariant,
  seed: number,
): Promise<string | null> {
  const { value: placed } = drawSeeded((d) => drawPlaced(d, pattern, v), seed)
  const c = { ...placed.call, valueDim: v.valueDim, scale: 0.125 }
  const answer = (call: ReferenceCall) => cudaAttention(kernel, { ...call, variant: v.id })
  const difference = await setDifference(pattern, { ...tensorsOf(c), ...optionsOf(c) }, answer)
  return difference && `${difference}; ${describeCase(c)}`
}

const MOST_TOLD = 3
/** Errors of the driver after which nothing on the device works any more. */
export const isFatal = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'cuda-error'

export async function checkUnit(
  driver: CudaDriver,
  pattern: Pattern,
  { artifact, extra }: Unit,
  { cases, sets, seed }: { readonly cases: number; readonly sets: number; readonly seed: number },
): Promise<UnitReport> {
  const began = performance.now()
  const [variant] = artifact.variants
  const { id } = variant!
  const kernel = loadCudaKernel(artifact, driver)
  const failures: string[] = []
  let [worst, done, dead, loadMs] = [0, 0, false, 0]
  const attempt = async (what: string, run: () => Promise<string | null>): Promise<void> => {
    if (dead) return
    done++
    try {
      const difference = await run()
      if (difference !== null) failures.push(`${id}, ${what}: ${difference}`)
    } catch (error) {
      failures.push(`${id}, ${what}: ${error instanceof Error ? error.message : String(error)}`)
      dead = isFatal(error)
    }
  }
  try {
    await kernel.load(id)
    loadMs = performance.now() - began
  } catch (error) {
    failures.push(`${id}: ${error instanceof Error ? error.message : String(error)}`)
    return {
      cases,
      sets: 0,
      extra: 0,
      failures,
      worst,
      loadMs,
      ms: performance.now() - began,
      dead: isFatal(error),
    }
  }
  for (let n = 0; n < cases; n++) {
    await attempt(`seed ${seed + n}`, async () => {
      const { value: placed } = drawSeeded((d) => drawPlaced(d, pattern, variant!), seed + n)
      const { ratio, difference } = await runPlaced(kernel, pattern, placed, id)
      if (Number.isFinite(ratio)) worst = Math.max(worst, ratio)
      const { call, ...place } = placed
      return difference && `${difference}; ${describeCase(call)}, ${JSON.stringify(place)}`
    })
  }
  for (let n = 0; n < sets; n++)
    await attempt(`sets, seed ${seed + n}`, () => runSets(kernel, pattern, variant!, seed + n))
  // The emulation would take minutes for many rows.
  const long = extra.includes('long') && (driver.kind === 'gpu' || variant!.needs.qRows !== null)
  if (long) await attempt('long', () => runLong(kernel, pattern, variant!))
  if (extra.includes('far') && driver.kind === 'gpu')
    await attempt('far', () => runFar(kernel, driver, variant!))
  if (!dead) kernel.release()
  const more = failures.length - MOST_TOLD
  const told = [...failures.slice(0, MOST_TOLD), ...(more > 0 ? [`${id}: and ${more} more`] : [])]
  return {
    cases: Math.min(done, cases),
    sets: Math.min(Math.max(0, done - cases), sets),
    extra: Math.max(0, done - cases - sets),
    failures: told,
    worst,
    loadMs,
    ms: performance.now() - began,
    dead,
  }
}

/** Texts of the Hopper skeleton on the emulation: a pattern, dims and a call in; the worst error against the f64 oracle out. */

import { createHash } from 'node:crypto'
import { emitCuda } from '../../codegen/cuda/emit.ts'
import type { CudaArtifact, CudaDtype } from '../../codegen/cuda/manifest.ts'
import { contentHash } from '../../codegen/hash.ts'
import type { Pattern } from '../../dsl/index.ts'
import type { DeviceTensor } from '../../runtime/cuda/tensor.ts'
import { loadCudaKernel, type CudaDriver, type CudaKernel } from '../../runtime/cuda.ts'
import type { Length } from '../../runtime/lengths.ts'
import { plain16, reference, type ReferenceCall } from '../../runtime/reference.ts'
import { extentOf, stridesOf, type Shape, type Tensor } from '../../runtime/tensor.ts'
import { randomTensor } from '../../runtime/testing/cases.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { padRows } from '../../runtime/testing/placement.ts'
import { compiled } from '../helpers.ts'

export interface Text {
  readonly pattern: Pattern
  readonly dims: readonly [headDim: number, valueDim: number]
  readonly dtype: CudaDtype
  /** Which row of the shape table, of those for the dims and the pattern's masks. */
  readonly row?: number
}

export function artifactOf({ pattern, dims: [headDim, valueDim], dtype, row = 0 }: Text): CudaArtifact {
  return emitCuda(compiled(pattern), {
    headDims: [headDim],
    valueDims: [valueDim],
    dtypes: [dtype],
    skeletons: ['hopper'],
    shapes: (_spec, _request, shapes) => shapes[row]!,
  })
}

/** The same artefact of another text. */
export function rewritten(artifact: CudaArtifact, change: (code: string) => string): CudaArtifact {
  const variants = artifact.variants.map((v) => {
    const code = change(v.code)
    return { ...v, code, hash: createHash('sha256').update(code).digest('hex') }
  })
  const { hash: _, ...record } = { ...artifact, variants }
  return { ...record, hash: contentHash({ ...record, variants: variants.map(({ cubins: __, ...v }) => v) }) }
}

export interface Case extends Pick<ReferenceCall, 'params' | 'tables' | 'scale'> {
  readonly batch?: number
  readonly heads: readonly [query: number, kv: number]
  readonly rows: readonly [query: number, kv: number]
  /** Rows that are no tokens hold NaN. */
  readonly lengths?: readonly Length[]
}

const NAN_BITS = 0x7fff
const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** Rows outside [from, from + count) of each batch entry become NaN. */
function poisoned(t: Tensor, real: (batch: number) => readonly [from: number, count: number]): Tensor {
  const data = t.data.slice()
  const [batch, heads, rows, dim] = t.shape
  for (let b = 0; b < batch; b++) {
    const [from, count] = real(b)
    for (let h = 0; h < heads; h++)
      for (let r = 0; r < rows; r++) {
        const at = ((b * heads + h) * rows + r) * dim
        if (r < from || r >= from + count) data.fill(NAN_BITS, at, at + dim)
      }
  }
  return { ...t, data }
}

/** At least eight unused halves after each row, which begins at a multiple of sixteen bytes. */
const gapOf = (dim: number) => 8 + ((8 - (dim % 8)) % 8)

/** Null, or where the kernel is wrong. */
export async function difference(
  kernel: CudaKernel,
  { pattern, dims: [headDim, valueDim], dtype }: Text,
  given: Case,
): Promise<string | null> {
  const { driver } = kernel
  const { batch = 1, heads, rows, lengths, ...options } = given
  const [q, k, v] = (
    [[0, headDim], [1, headDim], [1, valueDim]] as const
  ).map(([side, dim], i) => randomTensor([batch, heads[side], rows[side], dim], dtype, i + 1)) as [Tensor, Tensor, Tensor] // oxfmt-ignore
  const call: ReferenceCall = { q, k, v, ...options, ...(lengths === undefined ? {} : { lengths }) }
  const keys = (b: number) => [lengths?.[b]?.kvStart ?? 0, lengths?.[b]?.kvLen ?? rows[1]] as const
  const queries = (b: number) => [lengths?.[b]?.qRow ?? 0, lengths?.[b]?.qLen ?? rows[0]] as const
  const held: bigint[] = []
  const place = (data: ArrayBufferView) => {
    const address = driver.alloc(data.byteLength)
    driver.copyIn(address, bytesOf(data))
    held.push(address)
    return address
  }
  const placed = (t: Tensor): DeviceTensor => {
    const padded = padRows(t, gapOf(t.shape[3]))
    return { address: place(padded.data), shape: t.shape, strides: padded.strides!, dtype }
  }
  const shape: Shape = [batch, heads[0], rows[0], valueDim]
  const strides = stridesOf(shape, 'bhld', valueDim + gapOf(valueDim))
  const out = new Uint16Array(extentOf(shape, strides)).fill(NAN_BITS)
  const lse = new Float32Array(batch * heads[0] * rows[0]).fill(Number.NaN)
  const [outAt, lseAt] = [place(out), place(lse)]
  try {
    await kernel.launch({
      q: placed(poisoned(q, queries)), k: placed(poisoned(k, keys)), v: placed(poisoned(v, keys)),
      out: { address: outAt, shape, strides, dtype }, lse: lseAt,
      tables: Object.fromEntries(Object.entries(given.tables ?? {}).map(([name, data]) => [name, place(data as Float32Array)])),
      ...(given.params && { params: given.params }),
      ...(given.scale === undefined ? {} : { scale: given.scale }),
      ...(lengths && { lengths }),
    }) // oxfmt-ignore
    driver.synchronize()
    driver.copyOut(bytesOf(out), outAt)
    driver.copyOut(bytesOf(lse), lseAt)
  } finally {
    for (const address of held) driver.free(address)
  }
  const pitch = strides[2]
  if (out.some((bits, i) => i % pitch >= valueDim && bits !== NAN_BITS)) return 'written between the rows'
  const got = { out: { data: out, shape, strides, dtype } as Tensor, lse: { data: lse } }
  return compareWithOracle(pattern, call, got, reference(pattern, call), plain16(pattern, call)).difference
}

/** Kernels of one device, each built when it is first asked for. */
export class Kernels {
  readonly #driver: CudaDriver
  readonly #built = new Map<string, CudaKernel>()

  constructor(driver: CudaDriver) {
    this.#driver = driver
  }

  of(text: Text): CudaKernel {
    const key = `${text.pattern.name} ${text.dims.join()} ${text.dtype} ${text.row ?? 0}`
    const kernel = this.#built.get(key) ?? loadCudaKernel(artifactOf(text), this.#driver)
    this.#built.set(key, kernel)
    return kernel
  }

  release(): void {
    for (const kernel of this.#built.values()) kernel.release()
  }
}

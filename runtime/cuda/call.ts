/** One call of a CUDA kernel, checked: tensors on the device and the caller's options in; all that a launch needs out. */

import type { CudaArtifact, CudaVariant } from '../../codegen/cuda/manifest.ts'
import { floatBits } from '../derived.ts'
import { resolveLengths, type Length, type RealLength } from '../lengths.ts'
import { checkListCount } from '../lists.ts'
import { HeddleError } from '../messages.ts'
import { listStrideOf, metaWords } from '../meta.ts'
import { resolveParams, type Params, type ParamValues } from '../params.ts'
import { checkTableNames } from '../tables.ts'
import { checkRowShapes } from '../stage-sizes.ts'
import { LIMITS, sizesOf, type Layout, type Shape, type Sizes } from '../tensor.ts'
import type { CallValues } from './block.ts'
import type { Address } from './driver.ts'
import { checkEntries, pageShape, type Pages } from './pages.ts'
import { planOf, ruleOf, type Plan } from './sizes.ts'
import type { DeviceRows } from './stages.ts'
import { deviceView, misalignment, type DeviceTensor, type DeviceView, type TensorName } from './tensor.ts'
import { chooseCudaVariant, type CudaPowers } from './variant.ts'

/** What a call may say beside its tensors. */
export interface CudaCallOptions {
  readonly params?: ParamValues
  /** Factor of q . k; headDim ** -0.5 by default. */
  readonly scale?: number
  /** One entry per batch entry, where rows are padding or positions do not start at kvLen - qLen. */
  readonly lengths?: readonly Length[]
  /** k and v are pages; which sequence has which. */
  readonly pages?: Pages
  /** Of tensors that name none. */
  readonly layout?: Layout
  /** Runs this variant, by id, in place of the first that fits. */
  readonly variant?: string
}

export interface CudaCall extends CudaCallOptions {
  readonly q: DeviceTensor
  readonly k: DeviceTensor
  readonly v: DeviceTensor
  /** [batch, qHeads, qLen, valueDim]. */
  readonly out: DeviceTensor
  /** [batch, qHeads, qLen] in f32, contiguous. */
  readonly lse: Address
  /** For each of the pattern's tables where its values lie, row-major. */
  readonly tables?: Readonly<Record<string, Address>>
  /** Of an artefact over lists: where the words of each lie, as codegen/artifact.ts says (LIST_HEADER). */
  readonly lists?: readonly Address[]
  /** Of a pattern with a `forward`: the vectors that it declares. */
  readonly rows?: Readonly<Record<string, DeviceRows>>
}

const META_PER_BATCH = 5

export interface CheckedCall {
  readonly variant: CudaVariant
  readonly sizes: Sizes
  readonly views: Readonly<Record<TensorName, DeviceView>>
  readonly plan: Plan
  /** Every field but those that a stream has: lengths, values, a page table on the host, workspace. */
  readonly values: CallValues
  readonly lengthWords: Int32Array
  readonly valueWords: Int32Array
  readonly pageWords: Int32Array | null
}

/** A call's tensors and options, checked, whichever kernel runs it. */
export interface Operands {
  readonly sizes: Sizes
  readonly views: Readonly<Record<TensorName, DeviceView>>
  readonly scale: number
  readonly lengths: readonly RealLength[]
  readonly params: Params
  readonly pages: ReturnType<typeof pageShape> | null
}

export function checkOperands(artifact: CudaArtifact, call: CudaCall): Operands {
  const [q, k, v] = (['q', 'k', 'v'] as const).map((name) => deviceView(name, call[name], call.layout)) as [
    DeviceView,
    DeviceView,
    DeviceView,
  ]
  for (const { name, dtype } of [k, v])
    if (dtype !== q.dtype)
      throw new HeddleError('dtype', { tensor: name, expected: `${q.dtype} as q`, got: dtype })
  const sizes = cudaSizes(q.shape, k.shape, v.shape, call.pages)
  const { batch, qHeads, qRows, headDim, valueDim } = sizes
  const pages = call.pages ? pageShape(call.pages, batch, k.shape) : null
  const out = deviceView('out', call.out, call.layout)
  const outShape: Shape = [batch, qHeads, qRows, valueDim]
  if (outShape.some((n, i) => n !== out.shape[i])) {
    const axes = ['batch', 'qHeads', 'qLen', 'valueDim']
    throw new HeddleError('shape', { tensor: 'out', axes, expected: outShape, got: out.shape })
  }
  if (out.dtype !== q.dtype)
    throw new HeddleError('dtype', { tensor: 'out', expected: `${q.dtype} as q`, got: out.dtype })
  const scale: unknown = call.scale ?? headDim ** -0.5
  if (typeof scale !== 'number' || !Number.isFinite(scale)) throw new HeddleError('scale', { got: scale })
  const lengths = resolveLengths(call.lengths, sizes)
  const params = resolveParams(artifact.params, call.params, qHeads)
  const table = call.pages?.table
  if (pages !== null && table instanceof Int32Array) checkEntries(table, pages, lengths)
  return { sizes, views: { q, k, v, out }, scale, lengths, params, pages }
}

/** What a program's kernels read of a call. */
export interface ProgramOperands extends Operands {
  readonly rows: ReadonlyMap<string, DeviceRows & { readonly channels: number }>
  readonly indexHeads: number
}

/** A call of a pattern with a `forward`. */
export function checkProgramCall(artifact: CudaArtifact, call: CudaCall): ProgramOperands {
  const { pattern, stages, tables } = artifact
  if (call.lengths !== undefined) throw new HeddleError('stages-lengths', { pattern })
  if (call.pages !== undefined) throw new HeddleError('stages-pages', { pattern })
  const operands = checkOperands(artifact, call)
  const given = call.rows ?? {}
  const known = stages!.rows.map((r) => r.name)
  for (const name of Object.keys(given))
    if (!known.includes(name)) throw new HeddleError('table-unknown', { name, known })
  const shapes = new Map(Object.entries(given).map(([name, { shape }]) => [name, shape]))
  const indexHeads = checkRowShapes(stages!.rows, shapes, operands.sizes)
  checkTableNames(tables, call.tables ?? {}, { ...operands.sizes, indexHeads })
  const rows = new Map(Object.entries(given).map(([name, r]) => [name, { ...r, channels: r.shape[3] }]))
  return { ...operands, rows, indexHeads }
}

export function checkCudaCall(
  artifact: CudaArtifact,
  powers: CudaPowers & { readonly multiprocessors: number },
  call: CudaCall,
): CheckedCall {
  const { sizes, views, scale, lengths, params, pages } = checkOperands(artifact, call)
  const { q, k, v, out } = views
  const { batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim } = sizes
  checkTableNames(artifact.tables, call.tables ?? {}, sizes)
  checkListCount(artifact.lists ?? [], call.lists)
  const table = call.pages?.table
  const misaligned = misalignment(Object.values(views))
  const scalar = (name: string) => params.get(name)![0]!
  const rule = ruleOf(sizes, powers.multiprocessors, scalar)
  const variant = chooseCudaVariant(
    artifact,
    { dtype: q.dtype, headDim, valueDim, qRows, paged: pages !== null, misaligned, rule },
    powers,
    call.variant,
  )
  const plan = planOf(variant, sizes, powers.multiprocessors, scalar)
  const meta = metaWords(artifact, sizes, lengths, params)
  const scalars = artifact.params
    .filter((p) => !p.perHead)
    .map(({ name, type }) => (type === 'f32' ? floatBits(scalar(name)) : scalar(name)))
  return {
    variant,
    sizes,
    views,
    plan,
    lengthWords: meta.subarray(0, META_PER_BATCH * batch),
    valueWords: Int32Array.from([...scalars, ...meta.subarray(META_PER_BATCH * batch)]),
    pageWords: table instanceof Int32Array ? table : null,
    values: {
      q: q.address,
      k: k.address,
      v: v.address,
      out: out.address,
      lse: call.lse,
      ...(typeof table === 'bigint' ? { pages: table } : {}),
      tables: artifact.tables.map((t) => call.tables![t.name]!),
      qStride: q.strides,
      kStride: k.strides,
      vStride: v.strides,
      outStride: out.strides,
      ...{ batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim, scale },
      pageSize: pages?.pageSize ?? 0,
      pageStride: pages?.perSequence ?? 0,
      pageCount: pages?.pageCount ?? 0,
      splits: plan.splits,
      vectors: misaligned === null ? 1 : 0,
      parts: call.lists?.[0] ?? 0n,
      listStride: 1 + variant.units * (listStrideOf(kvRows, variant.tile.kv) - 1),
    },
  }
}

/** The sizes of a call; of pages, as if keys and values lay one after the other. */
export function cudaSizes(q: Shape, k: Shape, v: Shape, pages?: Pages): Sizes {
  if (pages === undefined) return sizesOf(q, k, v)
  const [batch] = q
  const { perSequence, pageSize } = pageShape(pages, batch, k)
  if (k.slice(0, 3).some((n, i) => n !== v[i])) {
    const axes = ['pages', 'kvHeads', 'pageSize', 'valueDim']
    throw new HeddleError('shape', { tensor: 'v', axes, expected: [...k.slice(0, 3), 'valueDim'], got: v })
  }
  const rows = perSequence * pageSize
  if (rows > LIMITS.length) {
    const expected = `at most ${LIMITS.length} tokens a sequence`
    throw new HeddleError('page-table', { what: 'table', expected, got: rows })
  }
  const as = ([, heads, , dim]: Shape): Shape => [batch, heads, rows, dim]
  return sizesOf(q, as(k), as(v))
}

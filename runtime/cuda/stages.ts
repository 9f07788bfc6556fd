/** A `forward` program on CUDA: its kernels and a checked call in; launches one behind the other on the caller's stream out. */

import type {
  CudaArtifact,
  CudaFaster,
  CudaStageForm,
  CudaStageKernel,
  CudaStageVariant,
  CudaVariant,
} from '../../codegen/cuda/manifest.ts'
import { HeddleError } from '../messages.ts'
import { uniformBlock, type CallStrides } from '../meta.ts'
import { gridOf } from '../slices.ts'
import {
  formFor,
  groupsOf,
  sizesOfCall,
  stageUniforms,
  unitsInChunk,
  type StageRun,
  type StageSizes,
} from '../stage-sizes.ts'
import { countOf, tableSizes } from '../tables.ts'
import { extentOf, stridesOf } from '../tensor.ts'
import type { Operands, ProgramOperands } from './call.ts'
import type { Address, CudaDriver, CudaFunction } from './driver.ts'
import { placeStored, storedOf } from './stored.ts'
import { misalignment, type DeviceView } from './tensor.ts'

/** Vectors on the device that a call gives beside q, k and v: f32, contiguous. */
export interface DeviceRows {
  readonly address: Address
  /** [batch, sharers, tokens, channels]. */
  readonly shape: readonly [batch: number, sharers: number, tokens: number, channels: number]
}

/** A launch of one text; what the workspace says when it runs is patched into its argument. */
export interface StageLaunch {
  readonly kind: 'stage'
  readonly entry: CudaFunction
  readonly grid: readonly [number, number, number]
  readonly threads: number
  readonly sharedBytes: number
  /** The argument, with the addresses of stored values left out. */
  readonly block: Uint8Array<ArrayBuffer>
  /** Where in the argument an address stands that a run knows: that of a stored value, by name, or of the meta words (null). */
  readonly patches: readonly { readonly at: number; readonly name: string | null }[]
}

/** Launches of a kernel of a mask's own kind, over stored values. */
export interface FasterLaunch extends CudaFaster {
  readonly kind: 'faster'
  readonly entries: readonly CudaFunction[]
  /** Words of a record, and bytes of all; null: the variant says it. */
  readonly list: { readonly stride: number; readonly bytes: number } | null
  /** How many rows the stored keys have; null: they are the call's. */
  readonly keyRows: number | null
}

/** Words that a list begins with, copied before the kernel that makes it. */
export interface HeaderCopy {
  readonly kind: 'header'
  readonly name: string
  readonly words: Int32Array<ArrayBuffer>
}

type Work = StageLaunch | FasterLaunch | HeaderCopy

export interface StageWork {
  readonly launches: readonly Work[]
  /** Bytes of the stored values that are there at once, at most. */
  readonly bytes: number
  /** Where each begins. */
  readonly stored: ReadonlyMap<string, { readonly offset: number }>
}

/** Of what lies in the call's own memory. */
export interface StageAddresses {
  readonly lse: Address
  readonly metaWords: number
  readonly tables: Readonly<Record<string, Address>>
}

const MOST_BLOCKS = 2 ** 31 - 1

/** The first for the call's dims and type. */
export function chooseStages(
  { pattern, stages }: Pick<CudaArtifact, 'pattern' | 'stages'>,
  { sizes, views }: Operands,
  capability: number,
  id?: string,
): CudaStageVariant {
  const { headDim, valueDim } = sizes
  const { dtype } = views.q
  const fits = (v: CudaStageVariant) =>
    v.headDim === headDim &&
    v.valueDim === valueDim &&
    v.dtype === dtype &&
    v.capability.min <= capability &&
    capability <= v.capability.max &&
    (id === undefined || v.id === id)
  const found = stages!.variants.find(fits)
  if (found) return found
  const wanted = `${dtype}, headDim ${headDim}, valueDim ${valueDim}${id === undefined ? '' : ` called ${id}`}`
  const reasons = stages!.variants.map(
    (v) => `${v.id}: it is for ${v.dtype}, headDim ${v.headDim} and valueDim ${v.valueDim}`,
  )
  throw new HeddleError('cuda-variant', { pattern, wanted, reasons })
}

/** Programs read halves in pairs and in vectors. */
export function checkAlignment(views: readonly DeviceView[], align: number): void {
  const multiple = Math.max(2, align)
  for (const { name, address, strides, shape } of views) {
    const bytes = 2 * multiple
    if (address % BigInt(bytes) !== 0n)
      throw new HeddleError('alignment', {
        tensor: name,
        what: 'its address',
        multiple: bytes,
        got: Number(address),
      })
    for (const [i, axis] of (['batch', 'head', 'row'] as const).entries())
      if (shape[i]! > 1 && strides[i]! % multiple !== 0)
        throw new HeddleError('alignment', {
          tensor: name,
          what: `its ${axis} stride in elements`,
          multiple,
          got: strides[i]!,
        })
  }
}

/** A kernel's text on the device at hand: its own, or another form of it. */
export type StageText = Pick<
  CudaStageForm,
  'suffix' | 'threads' | 'sharedBytes' | 'hash' | 'code' | 'cubins'
> & { readonly tile: CudaStageForm['tile'] | number | null }

/** What a device has for kernels, and what a call's tensors allow them. */
export interface Powers {
  /** Compute capability times ten. */
  readonly capability: number
  readonly maxSharedBytes: number
  /** Everything lies in whole vectors. */
  readonly vectors: boolean
}

/** Elements of sixteen bytes: what a tensor's rows are read in. */
const VECTOR = 8
const VECTOR_BYTES = 16n

export const powersOf = (
  { capability: { major, minor }, maxSharedBytes }: Pick<CudaDriver, 'capability' | 'maxSharedBytes'>,
  { views, rows }: Pick<ProgramOperands, 'views' | 'rows'>,
): Powers => {
  const all = Object.values(views)
  const areWhole = misalignment(all) === null && all.every((v) => v.shape[3] % VECTOR === 0)
  const rowsToo = [...rows.values()].every((r) => r.address % VECTOR_BYTES === 0n)
  return { capability: 10 * major + minor, maxSharedBytes, vectors: areWhole && rowsToo }
}

interface Needs {
  readonly capability: CudaVariant['capability']
  readonly sharedBytes: number
  readonly vectors: boolean
}

const has = (powers: Powers, { capability: { min, max }, sharedBytes, vectors }: Needs): boolean =>
  min <= powers.capability &&
  powers.capability <= max &&
  sharedBytes <= powers.maxSharedBytes &&
  (powers.vectors || !vectors)

/** The first form that the device and the call take, or the text for every one. */
export function textOn(
  kernel: CudaStageKernel,
  powers: Powers,
  size: ReturnType<typeof sizesOfCall>,
): StageText {
  const { forms, grid } = kernel
  const found = formFor(
    forms.filter((form) => has(powers, form)),
    size,
  )
  return found ?? { ...kernel, suffix: '', tile: grid.kind === 'units' ? grid.tile : null }
}

/** The functions of a program's kernels, each of one of the two kinds. */
export interface Entries {
  readonly plain: ReadonlyMap<CudaStageKernel, { readonly entry: CudaFunction; readonly text: StageText }>
  readonly faster: ReadonlyMap<CudaStageKernel, readonly (readonly CudaFunction[])[]>
}

/** True if the device and the call's tensors allow the faster kernel. */
export const takesFaster = ({ faster }: CudaStageKernel, powers: Powers): boolean =>
  faster.length > 0 &&
  faster.every(({ variant: { capability, entries, needs } }) => {
    const sharedBytes = Math.max(...entries.map((e) => e.sharedBytes))
    return has(powers, { capability, sharedBytes, vectors: needs.vectors })
  })

/** Everything about a call's launches that its streams share. */
export function planStages(
  artifact: CudaArtifact,
  variant: CudaStageVariant,
  operands: ProgramOperands,
  entries: Entries,
  at: StageAddresses,
): StageWork {
  const { sizes, scale, params, views, rows, indexHeads } = operands
  const call: StageSizes = { sizes, scale, params, rows, indexHeads }
  const size = sizesOfCall(call)
  const { stored, bytes, headers: begins } = placeStored(variant, size)
  /** Of the lists whose first kernel is not launched yet. */
  const headers = new Map(begins)
  const strides: CallStrides = {
    q: views.q.strides,
    k: views.k.strides,
    v: views.v.strides,
    out: views.out.strides,
  }
  const count = sizes.batch * sizes.qHeads * sizes.qRows
  const held = ({ role, name }: CudaStageKernel['buffers'][number]): [Address, number] => {
    switch (role) {
      case 'q':
      case 'k':
      case 'v':
      case 'out':
        return [views[role].address, Math.ceil(extentOf(views[role].shape, views[role].strides) / 2)]
      case 'lse':
        return [at.lse, count]
      case 'meta':
        return [0n, at.metaWords]
      case 'rows':
        return [rows.get(name!)!.address, countOf(rows.get(name!)!.shape)]
      case 'table': {
        const info = artifact.tables.find((t) => t.name === name)!
        return [at.tables[name!]!, countOf(tableSizes(info, { ...sizes, indexHeads }))]
      }
      case 'stored':
        return [0n, stored.get(name!)!.words]
    }
  }
  /** Strides of what a kernel reads as keys and values. */
  const placed = (grid: CudaStageKernel['grid']): CallStrides => {
    if (grid.kind === 'units' || grid.rows === null) return strides
    const { batch, kvHeads, headDim, valueDim } = sizes
    const units = size(grid.rows)
    const along = (dim: number) => stridesOf([batch, kvHeads, units, dim], 'bhld')
    return { ...strides, k: along(headDim), v: along(valueDim) }
  }
  const launches: Work[] = []
  const launch = (kernel: CudaStageKernel, chunk: StageRun | null): void => {
    if (kernel.when !== null && size(kernel.when) === 0) return
    for (const name of storedOf(kernel)) {
      const words = headers.get(name)
      // Not before: what is there until now may be another value's.
      if (words) launches.push({ kind: 'header', name, words })
      headers.delete(name)
    }
    const faster = entries.faster.get(kernel)
    if (faster) {
      kernel.faster.forEach((f, i) => {
        const stride = f.records && size(f.records.stride)
        const list = f.records && { stride: stride!, bytes: 4 * stride! * size(f.records.count) }
        const keyRows = f.keys && size(f.keys.rows)
        launches.push({ kind: 'faster', ...f, entries: faster[i]!, list, keyRows })
      })
      return
    }
    const { grid } = kernel
    const { entry, text } = entries.plain.get(kernel)!
    const { threads, sharedBytes } = text
    const all = { base: 0, count: grid.kind === 'units' ? size(grid.units) : 0 }
    const { base, count: own } = chunk && grid.kind === 'units' ? unitsInChunk(grid, chunk, size) : all
    const slice = { batchBase: 0, batch: sizes.batch, headBase: 0, heads: sizes.qHeads }
    const tile = grid.kind === 'tiles' ? grid.tile : null
    const tiles = grid.kind === 'tiles' ? gridOf(slice, sizes, grid, MOST_BLOCKS) : null
    const blocks =
      tiles?.tiles ??
      (grid.kind === 'units' ? groupsOf(call, { ...grid, tile: text.tile }, own, size, threads) : 0)
    if (blocks === 0) return
    if (blocks > MOST_BLOCKS) throw new HeddleError('grid-limit', { tiles: blocks, most: MOST_BLOCKS })
    const uniforms = tiles
      ? uniformBlock(
          { ...kernel, tile: tile! },
          { sizes, slice, grid: tiles, scale, strides: placed(grid), params },
        )
      : stageUniforms(call, kernel.uniforms, strides, {
          unitBase: base,
          unitCount: own,
          gridX: blocks,
          groupCount: blocks,
        })
    const start = Math.ceil(kernel.uniforms.length / 2) * 8
    const block = new Uint8Array(start + 16 * kernel.buffers.length)
    block.set(new Uint8Array(uniforms, 0, 4 * kernel.uniforms.length))
    const view = new DataView(block.buffer)
    const patches: { at: number; name: string | null }[] = []
    kernel.buffers.forEach((buffer, i) => {
      const [address, words] = held(buffer)
      view.setBigUint64(start + 16 * i, address, true)
      view.setUint32(start + 16 * i + 8, Math.max(1, words), true)
      if (buffer.role === 'stored') patches.push({ at: start + 16 * i, name: buffer.name! })
      if (buffer.role === 'meta') patches.push({ at: start + 16 * i, name: null })
    })
    launches.push({ kind: 'stage', entry, grid: [blocks, 1, 1], threads, sharedBytes, block, patches })
  }
  for (const step of variant.steps) {
    if (step.kind === 'once') {
      launch(step.kernel, null)
      continue
    }
    const [ofChunk, units] = [size(step.rows), size(step.units)]
    for (let base = 0; base < units; base += ofChunk)
      for (const kernel of step.kernels) launch(kernel, { base, count: Math.min(ofChunk, units - base) })
  }
  return { launches, bytes, stored }
}

/** Dispatches of one call: tensor layouts and a device's binding limits in, slices over batch entries and heads out. */

import type { Variant } from '../codegen/artifact.ts'
import type { Grid, Slice } from './meta.ts'
import { HeddleError } from './messages.ts'
import { extentOf, type Shape, type Sizes, type Strides } from './tensor.ts'

/** A tensor as it lies in a buffer. */
export interface Placed {
  readonly name: 'q' | 'k' | 'v' | 'out'
  readonly shape: Shape
  readonly strides: Strides
  readonly bytesPerElement: number
  /** Where its first element stands in the buffer, in bytes. */
  readonly offset: number
}

/** Byte offset (of the buffer) and size of what a slice binds of a tensor. */
export interface Bound {
  readonly offset: number
  readonly size: number
}

export interface BindingLimits {
  /** Bytes of a slice's tile lists; 0 for a kernel without one. */
  readonly listBytes: (slice: Slice) => number
  readonly maxStorageBufferBindingSize: number
  readonly minStorageBufferOffsetAlignment: number
}

/** WGSL's largest array element here is a vec4 of f32; a binding that covers whole ones reaches every row. */
export const roundBinding = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16)

/** Which heads of a tensor a slice of query heads reads. */
function headsOf(
  { name, shape }: Placed,
  slice: Slice,
  qHeads: number,
): readonly [first: number, count: number] {
  if (name === 'q' || name === 'out') return [slice.headBase, slice.heads]
  const group = qHeads / shape[1]
  const first = Math.floor(slice.headBase / group)
  return [first, Math.floor((slice.headBase + slice.heads - 1) / group) - first + 1]
}

export function boundOf(tensor: Placed, slice: Slice, qHeads: number): Bound {
  const { shape, strides, bytesPerElement, offset } = tensor
  const [first, heads] = headsOf(tensor, slice, qHeads)
  const start = slice.batchBase * strides[0] + first * strides[1]
  const extent = extentOf([slice.batch, heads, shape[2], shape[3]], strides)
  return { offset: offset + start * bytesPerElement, size: extent * bytesPerElement }
}

/** The whole call if everything can be bound at once, else the largest even groups of batch entries, then of heads. */
export function slicesOf(
  tensors: readonly Placed[],
  { batch, qHeads, kvHeads }: { readonly batch: number; readonly qHeads: number; readonly kvHeads: number },
  limits: BindingLimits,
): Slice[] {
  const whole: Slice = { batchBase: 0, batch, headBase: 0, heads: qHeads }
  const fits = (slices: readonly Slice[]) => obstacle(tensors, slices, qHeads, limits) === null
  if (fits([whole])) return [whole]
  for (const size of divisors(batch)) {
    if (size < batch) {
      const slices = cut(batch, size).map((batchBase): Slice => ({
        batchBase,
        batch: size,
        headBase: 0,
        heads: qHeads,
      }))
      if (fits(slices)) return slices
    }
  }
  // Whole groups first, so that no kv head is bound twice; then parts of a group.
  const group = qHeads / kvHeads
  const sizes = [...divisors(kvHeads).map((n) => n * group), ...divisors(group)].filter((n) => n < qHeads)
  for (const heads of sizes) {
    const slices = cut(batch, 1).flatMap((batchBase) =>
      cut(qHeads, heads).map((headBase): Slice => ({ batchBase, batch: 1, headBase, heads })),
    )
    if (fits(slices)) return slices
  }
  const smallest = cut(batch, 1).flatMap((batchBase) =>
    cut(qHeads, 1).map((headBase): Slice => ({ batchBase, batch: 1, headBase, heads: 1 })),
  )
  throw obstacle(tensors, smallest, qHeads, limits)!
}

/** The whole call as one slice, or why it cannot be bound. */
export function wholeCall(
  tensors: readonly Placed[],
  { batch, qHeads }: { readonly batch: number; readonly qHeads: number },
  limits: BindingLimits,
): Slice[] {
  const whole = [{ batchBase: 0, batch, headBase: 0, heads: qHeads }]
  const error = obstacle(tensors, whole, qHeads, limits)
  if (error) throw error
  return whole
}

function obstacle(
  tensors: readonly Placed[],
  slices: readonly Slice[],
  qHeads: number,
  limits: BindingLimits,
): HeddleError | null {
  for (const slice of slices) {
    const listBytes = limits.listBytes(slice)
    if (listBytes > limits.maxStorageBufferBindingSize) {
      const what = `the list of ${slice.batch * slice.heads} heads`
      return new HeddleError('binding-limit', {
        tensor: 'tiles',
        what,
        needed: listBytes,
        limit: limits.maxStorageBufferBindingSize,
      })
    }
    for (const tensor of tensors) {
      const { offset, size } = boundOf(tensor, slice, qHeads)
      const { name } = tensor
      if (size > limits.maxStorageBufferBindingSize) {
        const what = slices.length === 1 ? 'the tensor' : 'one head of one batch entry'
        return new HeddleError('binding-limit', {
          tensor: name,
          what,
          needed: size,
          limit: limits.maxStorageBufferBindingSize,
        })
      }
      const multiple = limits.minStorageBufferOffsetAlignment
      if (offset % multiple !== 0) {
        return new HeddleError('alignment', {
          tensor: name,
          what: 'the byte offset of a slice',
          multiple,
          got: offset,
        })
      }
    }
  }
  return null
}

const cut = (total: number, size: number): number[] =>
  Array.from({ length: total / size }, (_, i) => i * size)

/** Largest first. */
const divisors = (n: number): number[] =>
  Array.from({ length: n }, (_, i) => n - i).filter((d) => n % d === 0)

/** How the heads of a dispatch become tiles: `groups` of heads in each batch entry share `tiles` tiles. */
export function tilingOf(
  { tile, unit }: Pick<Variant, 'tile' | 'unit'>,
  heads: number,
  { qRows, qHeads, kvHeads }: Pick<Sizes, 'qRows' | 'qHeads' | 'kvHeads'>,
): { readonly groups: number; readonly tiles: number } {
  if (unit === undefined) return { groups: heads, tiles: Math.ceil(qRows / tile.q) }
  const packs = unit.packs ? Math.min(qHeads / kvHeads, heads) : 1
  const units = unit.tokens === 1 ? qRows : Math.ceil(qRows / unit.tokens) + 1
  return { groups: heads / packs, tiles: units * Math.ceil((unit.tokens * packs) / tile.q) }
}

/** Workgroups of a dispatch: one per query tile, in rows of at most the device's count per dimension. */
export function gridOf(
  slice: Slice,
  sizes: Pick<Sizes, 'qRows' | 'qHeads' | 'kvHeads'>,
  variant: Pick<Variant, 'tile' | 'unit'>,
  most: number,
): Grid {
  const tiling = tilingOf(variant, slice.heads, sizes)
  const tiles = slice.batch * tiling.groups * tiling.tiles
  if (tiles > Math.min(most * most, 2 ** 32 - 1)) {
    throw new HeddleError('grid-limit', { tiles, most: Math.min(most * most, 2 ** 32 - 1) })
  }
  const x = Math.max(1, Math.min(tiles, most))
  return { x, y: Math.ceil(tiles / x), tiles }
}

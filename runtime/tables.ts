/** Tables of one call: typed arrays from the caller in, checked values with their sizes out. */

import type { Dim, TableInfo } from '../compiler/plan.ts'
import { HeddleError } from './messages.ts'
import type { Sizes } from './tensor.ts'

export type TableData = Int32Array | Float32Array

export interface Table {
  readonly info: TableInfo
  readonly data: TableData
  readonly sizes: readonly number[]
}

/** A table's shape in this call; qLen and kvLen are the rows of q and of k, padding included. */
export function tableSizes({ name, dims }: TableInfo, sizes: Sizes): number[] {
  const axes: Readonly<Record<Exclude<Dim, number>, number | null>> = {
    batch: sizes.batch,
    head: sizes.qHeads,
    kvHead: sizes.kvHeads,
    indexHead: sizes.indexHeads ?? null,
    qLen: sizes.qRows,
    kvLen: sizes.kvRows,
    headDim: sizes.headDim,
  }
  return dims.map((dim) => {
    const size = typeof dim === 'number' ? dim : axes[dim]
    if (size === null) throw new HeddleError('table-axis', { name, axis: String(dim) })
    return size
  })
}

export const countOf = (sizes: readonly number[]): number => sizes.reduce((a, b) => a * b, 1)

/** Every table of the pattern is there, and nothing else. */
export function checkTableNames(
  infos: readonly TableInfo[],
  given: Readonly<Record<string, unknown>>,
  sizes: Sizes,
): void {
  const known = infos.map((t) => t.name)
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw new HeddleError('table-unknown', { name, known })
  }
  for (const info of infos) {
    if (given[info.name] === undefined) {
      throw new HeddleError('table-missing', {
        name: info.name,
        dims: info.dims,
        sizes: tableSizes(info, sizes),
      })
    }
  }
}

export function resolveTables(
  infos: readonly TableInfo[],
  given: Readonly<Record<string, TableData>> | undefined,
  sizes: Sizes,
): Table[] {
  checkTableNames(infos, given ?? {}, sizes)
  return infos.map((info) => checkTable(info, given![info.name], sizes))
}

/** Type, size, range and, where it is promised, order. */
export function checkTable(info: TableInfo, data: unknown, all: Sizes): Table {
  const { name, type, dims, monotone } = info
  const sizes = tableSizes(info, all)
  const right = type === 'i32' ? data instanceof Int32Array : data instanceof Float32Array
  if (!right) {
    const got = typeof data === 'object' && data !== null ? data.constructor.name : String(data)
    throw new HeddleError('table-type', {
      name,
      expected: type === 'i32' ? 'an Int32Array' : 'a Float32Array',
      got,
    })
  }
  const values = data as TableData
  const needed = countOf(sizes)
  if (values.length !== needed)
    throw new HeddleError('table-size', { name, dims, sizes, needed, got: values.length })
  // JSON has no infinities: an unbounded f32 table's bounds arrive as null. The compiler's proofs start from these bounds.
  const [min, max] = [info.min ?? -Infinity, info.max ?? Infinity]
  for (let at = 0; at < needed; at++) {
    const got = values[at]!
    if (got < min || got > max) throw new HeddleError('table-value', { name, at, min, max, got })
  }
  const row = sizes.at(-1) ?? 1
  if (monotone) {
    for (let at = 1; at < needed; at++) {
      const before = values[at - 1]!
      const value = values[at]!
      if (at % row !== 0 && !(value >= before))
        throw new HeddleError('table-monotone', { name, at, before, value })
    }
  }
  return { info, data: values, sizes }
}

/** An element, 0 where an index is out of range: what `.at` means to the oracle. */
export function tableAt({ data, sizes }: Table, indices: readonly number[]): number {
  let at = 0
  for (let i = 0; i < sizes.length; i++) {
    const index = indices[i] ?? Number.NaN
    if (!(index >= 0 && index < sizes[i]!)) return 0
    at = at * sizes[i]! + index
  }
  return data[at]!
}

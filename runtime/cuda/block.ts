/** The struct that every kernel takes: a manifest's layout and values by name in, its bytes out. */

import type { CallField, CallType } from '../../codegen/cuda/call.ts'
import type { CudaArtifact } from '../../codegen/cuda/manifest.ts'

/** Tables that one pattern may read. */
export const MOST_TABLES = 8
/** Lists that one kernel walks. */
export const MOST_PARTS = 4

const one = (type: CallType, ...names: string[]) => names.map((name) => [name, { type, count: 1 }] as const)
const many = (type: CallType, count: number, ...names: string[]) =>
  names.map((name) => [name, { type, count }] as const)

/** The fields that this runtime has values for. */
export const CALL_KNOWN: ReadonlyMap<string, Pick<CallField, 'type' | 'count'>> = new Map([
  ...one(
    'pointer',
    'q',
    'k',
    'v',
    'out',
    'lse',
    'lengths',
    'values',
    'pages',
    'list',
    'order',
    'before',
    'state',
    'counters',
    'scratch',
  ),
  ...many('pointer', MOST_TABLES, 'tables'),
  ...many('pointer', MOST_PARTS, 'parts'),
  ...many('i64', 3, 'qStride', 'kStride', 'vStride', 'outStride'),
  ...one('i32', 'batch', 'qHeads', 'kvHeads', 'qRows', 'kvRows', 'headDim', 'valueDim'),
  ...one('i32', 'pageSize', 'pageStride', 'pageCount', 'splits', 'vectors', 'listStride'),
  ...one('f32', 'scale'),
])

export type CallValues = Readonly<Record<string, bigint | number | readonly (bigint | number)[]>>

const SIZE: Readonly<Record<CallType, number>> = { pointer: 8, i64: 8, i32: 4, f32: 4 }

/** Puts values into their places; names that the layout lacks are passed over. */
export function fillCall(
  { fields }: CudaArtifact['call'],
  values: CallValues,
  block: Uint8Array<ArrayBuffer>,
): void {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength)
  for (const { name, type, offset } of fields) {
    const value = values[name]
    if (value === undefined) continue
    const list = typeof value === 'object' ? value : [value]
    list.forEach((x, i) => {
      const at = offset + i * SIZE[type]
      if (type === 'pointer') view.setBigUint64(at, BigInt(x), true)
      else if (type === 'i64') view.setBigInt64(at, BigInt(x), true)
      else if (type === 'i32') view.setInt32(at, Number(x), true)
      else view.setFloat32(at, Number(x), true)
    })
  }
}

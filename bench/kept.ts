/** The share of a causal call's pairs that a kernel over lists attends, from the records that its entry `list` left on the device. */

import type { CudaArtifact, CudaFaster } from '../codegen/cuda/manifest.ts'
import type { CudaDriver } from '../runtime/cuda.ts'

/** Records that are read at most. */
const SAMPLE = 256

interface Walked {
  /** The argument of the launch. */
  readonly block: Uint8Array
  readonly faster: CudaFaster
  readonly heads: number
  readonly length: number
}

/** Keys of a record: runs, then single ones. */
type Keys = readonly (readonly [first: number, count: number])[]

/** Null: it has no records. All records of one head are as many queries, the last may have fewer. */
export function keptShare(
  driver: CudaDriver,
  { call }: CudaArtifact,
  { block, faster, heads, length }: Walked,
): number | null {
  const { skeleton, tile, units, code } = faster.variant
  const queries = skeleton === 'gather' ? Number(/RECORD_Q = (\d+)/.exec(code)![1]) : tile.q
  if ((skeleton !== 'gather' && skeleton !== 'lists') || queries === 0) return null
  const at = (name: string) => call.fields.find((f) => f.name === name)!.offset
  const view = new DataView(block.buffer, block.byteOffset)
  const [list, stride] = [view.getBigUint64(at('list'), true), view.getInt32(at('listStride'), true)]
  const perHead = Math.floor((length + 2 * queries - 2) / queries)
  const used = Math.ceil(length / queries)
  const step = Math.max(1, Math.floor((heads * used) / SAMPLE)) | 1
  let kept = 0
  let all = 0
  for (let n = 0; n < heads * used; n += step) {
    const [head, own] = [Math.floor(n / used), n % used]
    const words = new Uint32Array(stride)
    driver.copyOut(new Uint8Array(words.buffer), list + BigInt(4 * stride * (head * perHead + own)))
    const keys = skeleton === 'gather' ? runsOf(words) : unitsOf(words, units, tile.kv / units)
    const [first, end] = [own * queries, Math.min(length, (own + 1) * queries)]
    for (const [from, count] of keys)
      for (let key = from; key < from + count; key++) kept += Math.max(0, end - Math.max(first, key))
    all += ((first + end + 1) / 2) * (end - first)
  }
  return kept / all
}

const runsOf = (words: Uint32Array): Keys => {
  const [runs, columns] = [words[0]!, words[1]!]
  return [
    ...[...words.subarray(2, 2 + runs)].map((w) => [w & 0xffffff, (w >>> 24) + 1] as const),
    ...[...words.subarray(2 + runs, 2 + runs + columns)].map((w) => [w, 1] as const),
  ]
}
const unitsOf = (words: Uint32Array, units: number, size: number): Keys =>
  [...words.subarray(1, 1 + words[0]! * units)].map((w) => [(w & 0x7fffffff) * size, size] as const)

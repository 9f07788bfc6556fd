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

/** Keys of a record: runs, then single ones; `owners`: bit u: the u-th query unit of those that share the record has them. */
type Keys = readonly (readonly [first: number, count: number, owners: number])[]

/** Null: it has no records. All records of one head are as many queries, the last may have fewer. */
export function keptShare(
  driver: CudaDriver,
  { call }: CudaArtifact,
  { block, faster, heads, length }: Walked,
): number | null {
  const { skeleton, tile, units, code } = faster.variant
  const queries = skeleton === 'gather' ? Number(/RECORD_Q = (\d+)/.exec(code)![1]) : tile.q
  const paired = code.includes('PAIRED = true')
  const unit = paired ? queries / 2 : queries
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
    const keys =
      skeleton === 'gather' ? (paired ? pairOf : runsOf)(words) : unitsOf(words, units, tile.kv / units)
    for (let u = 0; u < queries / unit; u++) {
      const [first, end] = [own * queries + u * unit, Math.min(length, own * queries + (u + 1) * unit)]
      if (first >= end) continue
      for (const [from, count, owners] of keys)
        for (let key = from; key < from + count; key++)
          if ((owners >> u) & 1) kept += Math.max(0, end - Math.max(first, key))
      all += ((first + end + 1) / 2) * (end - first)
    }
  }
  return kept / all
}

const runsOf = (words: Uint32Array): Keys => {
  const [runs, columns] = [words[0]!, words[1]!]
  return [
    ...[...words.subarray(2, 2 + runs)].map((w) => [w & 0xffffff, (w >>> 24) + 1, 1] as const),
    ...[...words.subarray(2 + runs, 2 + runs + columns)].map((w) => [w, 1, 1] as const),
  ]
}
/** Of two query units: keys of both, of the first and of the second are behind the runs. */
const pairOf = (words: Uint32Array): Keys => {
  const [runs, ...counts] = [words[0]!, words[1]!, words[2]!, words[3]!]
  const owners = counts.flatMap((count, i) => Array.from({ length: count }, () => [3, 1, 2][i]!))
  return [
    ...[...words.subarray(4, 4 + runs)].map((w) => [w & 0xffffff, ((w >>> 24) & 63) + 1, w >>> 30] as const),
    ...owners.map((whose, i) => [words[4 + runs + i]!, 1, whose] as const),
  ]
}
const unitsOf = (words: Uint32Array, units: number, size: number): Keys =>
  [...words.subarray(1, 1 + words[0]! * units)].map((w) => [(w & 0x7fffffff) * size, size, 1] as const)

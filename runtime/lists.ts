/** Lists of a call: counts, starts and ids from the caller in, one checked buffer's words a list out. */

import type { ListInfo, Share } from '../codegen/artifact.ts'
import type { RealLength } from './lengths.ts'
import { HeddleError } from './messages.ts'
import type { Sizes } from './tensor.ts'

/**
 * Which kv units each unit of queries attends. Query units are cut at positions that are multiples of the list's q; a batch
 * entry's first record is that of the unit which holds its first real query.
 */
export interface GivenList {
  /** [batch, sharers, units]: how many kv units a record has. */
  readonly counts: Int32Array
  /** Where a record begins, in words of `ids`; by default records follow each other. */
  readonly starts?: Int32Array
  /** Indices of kv units; of spans, pairs of the first token and the one past the last. */
  readonly ids: Int32Array
}

/** Words before the counts, as codegen/artifact.ts says. */
const HEADER = 4

export const sharersOf = (share: Share, { qHeads, kvHeads }: Pick<Sizes, 'qHeads' | 'kvHeads'>): number =>
  share === 'head' ? qHeads : share === 'kvHead' ? kvHeads : 1

/** Records that each sharer has: units that the longest batch entry's queries meet. */
export function unitsOf({ q }: Pick<ListInfo, 'q'>, lengths: readonly RealLength[]): number {
  if (q === 'whole') return 1
  const met = ({ qStart, qLen }: RealLength) =>
    qLen === 0 ? 0 : Math.floor((qStart + qLen - 1) / q) - Math.floor(qStart / q) + 1
  return lengths.reduce((most, l) => Math.max(most, met(l)), 1)
}

/** Records of the whole call. */
export const recordsOf = (info: ListInfo, sizes: Sizes, lengths: readonly RealLength[]): number =>
  sizes.batch * sharersOf(info.share, sizes) * unitsOf(info, lengths)

export function resolveLists(
  infos: readonly ListInfo[],
  given: readonly GivenList[] | undefined,
  sizes: Sizes,
  lengths: readonly RealLength[],
): Int32Array<ArrayBuffer>[] {
  checkListCount(infos, given)
  return infos.map((info, n) => listWords(info, n, given![n]!, sizes, lengths))
}

export function checkListCount(infos: readonly ListInfo[], given: unknown): void {
  const got = Array.isArray(given) ? given.length : 0
  if (got !== infos.length) throw new HeddleError('lists-count', { expected: infos.length, got })
}

export function listWords(
  info: ListInfo,
  n: number,
  given: GivenList,
  sizes: Sizes,
  lengths: readonly RealLength[],
): Int32Array<ArrayBuffer> {
  for (const field of ['counts', 'starts', 'ids'] as const) {
    const got: unknown = given[field]
    if (!(got instanceof Int32Array) && !(field === 'starts' && got === undefined)) {
      const name = typeof got === 'object' && got !== null ? got.constructor.name : String(got)
      throw new HeddleError('list-type', { list: n, field, got: name })
    }
  }
  const { counts, ids } = given
  const shape = [sizes.batch, sharersOf(info.share, sizes), unitsOf(info, lengths)]
  const records = shape.reduce((a, b) => a * b, 1)
  const starts = given.starts ?? runningSums(counts, info.kv === 'span' ? 2 : 1)
  for (const [field, got] of [
    ['counts', counts.length],
    ['starts', starts.length],
  ] as const) {
    if (got !== records) throw new HeddleError('list-size', { list: n, field, shape, got })
  }
  for (let r = 0; r < records; r++) {
    checkRecord(info, n, r, starts[r]!, counts[r]!, ids, lengths[Math.floor(r / (records / sizes.batch))]!)
  }
  const words = new Int32Array(HEADER + 2 * records + ids.length)
  words[0] = shape[2]!
  words.set(counts, HEADER)
  words.set(starts, HEADER + records)
  words.set(ids, HEADER + 2 * records)
  return words
}

const runningSums = (counts: Int32Array, words: number): Int32Array => {
  let sum = 0
  return counts.map((count) => {
    const start = sum
    sum += count * words
    return start
  })
}

function checkRecord(
  { kv, order }: ListInfo,
  list: number,
  record: number,
  start: number,
  count: number,
  ids: Int32Array,
  { kvLen }: RealLength,
): void {
  const words = kv === 'span' ? 2 * count : count
  if (count < 0 || start < 0 || start + words > ids.length) {
    throw new HeddleError('list-record', { list, record, start, count, words: ids.length })
  }
  const most = kv === 'span' ? kvLen : Math.ceil(kvLen / kv) - 1
  for (let i = start; i < start + words; i++) {
    const got = ids[i]!
    if (got < 0 || got > most) throw new HeddleError('list-id', { list, at: i, most, got })
  }
  const own = ids.subarray(start, start + words)
  // A unit that stands twice would be attended twice.
  const sorted = order === 'index' ? own : sortedUnits(own, kv)
  for (let i = 1; i < words; i++) {
    const [before, value] = [sorted[i - 1]!, sorted[i]!]
    if (kv === 'span' ? value < before : value <= before)
      throw new HeddleError('list-order', { list, record, order, before, value })
  }
}

function sortedUnits(own: Int32Array, kv: ListInfo['kv']): Int32Array {
  if (kv !== 'span') return own.slice().sort()
  const spans = Array.from({ length: own.length / 2 }, (_, i) => [own[2 * i]!, own[2 * i + 1]!] as const)
  return Int32Array.from(spans.sort((a, b) => a[0] - b[0]).flat())
}

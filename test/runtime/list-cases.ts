/** Random calls with lists: a shape and a seed in; tensors, lists, and the pattern that keeps just their pairs out. */

import type { ListInfo } from '../../codegen/artifact.ts'
import type { Pattern } from '../../dsl/index.ts'
import { resolveLengths, type Length } from '../../runtime/lengths.ts'
import { sharersOf, unitsOf, type GivenList } from '../../runtime/lists.ts'
import type { ReferencePattern } from '../../runtime/reference.ts'
import { sizesOf, type Shape, type Tensor } from '../../runtime/tensor.ts'
import { seededRandom } from '../../runtime/testing/draw.ts'

export interface ListCase {
  readonly lists: readonly ListInfo[]
  readonly batch: number
  readonly kvHeads: number
  readonly group: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
  readonly lengths?: readonly Length[]
  /** Part of all kv units that a record has; some records have none. */
  readonly density: number
  readonly seed: number
}

export interface MadeCase {
  readonly call: {
    readonly q: Tensor
    readonly k: Tensor
    readonly v: Tensor
    readonly lengths?: readonly Length[]
  }
  readonly lists: readonly GivenList[]
  /** True of a pair that some list holds. */
  readonly holds: (batch: number, head: number, q: number, kv: number) => boolean
}

export function makeCase(c: ListCase): MadeCase {
  const random = seededRandom(c.seed)
  const tensor = (shape: Shape): Tensor => ({
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() * 4 - 2),
    shape,
  })
  const q = tensor([c.batch, c.kvHeads * c.group, c.qLen, c.headDim])
  const k = tensor([c.batch, c.kvHeads, c.kvLen, c.headDim])
  const v = tensor([c.batch, c.kvHeads, c.kvLen, c.headDim])
  const sizes = sizesOf(q.shape, k.shape, v.shape)
  const lengths = resolveLengths(c.lengths, sizes)
  const made = c.lists.map((info) => {
    const [sharers, units] = [sharersOf(info.share, sizes), unitsOf(info, lengths)]
    const records = Array.from({ length: c.batch * sharers * units }, (_, r) => {
      const { kvLen } = lengths[Math.floor(r / (sharers * units))]!
      return random() < 0.15 ? [] : record(info, kvLen, c.density, random)
    })
    // Records stand in no order and with gaps, as a caller's may.
    const order = shuffled([...records.keys()], random)
    const starts = new Int32Array(records.length)
    const ids: number[] = []
    for (const r of order) {
      if (random() < 0.3) ids.push(0)
      starts[r] = ids.length
      ids.push(...records[r]!.flat())
    }
    const counts = Int32Array.from(records, (own) => own.length)
    const list: GivenList = { counts, starts, ids: Int32Array.from(ids) }
    const holds = (batch: number, head: number, position: number, kv: number): boolean => {
      const first = Math.floor(lengths[batch]!.qStart / (info.q as number))
      const unit = info.q === 'whole' ? 0 : Math.floor(position / info.q) - first
      const sharer = info.share === 'head' ? head : info.share === 'kvHead' ? Math.floor(head / c.group) : 0
      return records[(batch * sharers + sharer) * units + unit]!.some(([a, b]) =>
        info.kv === 'span' ? a! <= kv && kv < b! : Math.floor(kv / info.kv) === a,
      )
    }
    return { list, holds }
  })
  return {
    call: { q, k, v, ...(c.lengths ? { lengths: c.lengths } : {}) },
    lists: made.map((m) => m.list),
    holds: (...pair) => made.some((m) => m.holds(...pair)),
  }
}

/** A record's units, ascending or not as its order says; of spans, their ends. */
function record({ kv, order }: ListInfo, kvLen: number, density: number, random: () => number): number[][] {
  if (kv !== 'span') {
    const units = Array.from({ length: Math.ceil(kvLen / kv) }, (_, u) => [u])
    const some = units.filter(() => random() < density)
    return order === 'score' ? shuffled(some, random) : some
  }
  const spans: number[][] = []
  for (let at = 0; at < kvLen;) {
    const start = at + Math.floor((random() * 6) / density)
    // Empty spans among them: they hold nothing.
    const end = Math.min(kvLen, start + Math.floor(random() * 12))
    if (start >= kvLen) break
    spans.push([start, end])
    at = end
  }
  return order === 'score' ? shuffled(spans, random) : spans
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const made = [...items]
  for (let i = made.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[made[i], made[j]] = [made[j]!, made[i]!]
  }
  return made
}

/** The pattern without the pairs that no list holds. */
export const within = (pattern: Pattern, holds: MadeCase['holds']): Pattern & ReferencePattern =>
  ({
    ...pattern,
    mask: (ix: { batch: number; head: number; q: number; kv: number }) =>
      (pattern.mask as (ix: unknown) => boolean)(ix) && holds(ix.batch, ix.head, ix.q, ix.kv),
  }) as Pattern & ReferencePattern

/**
 * Published selections written down once more, from their descriptions and in plain loops: a head's vectors and
 * parameters in, the keys of each query out. Nothing of the language is used, so that the two can disagree.
 */

export type Matrix = readonly (readonly number[])[]

/** One call of one batch entry, by head and row; key heads serve groups of query heads. */
export interface Plain {
  readonly q: readonly Matrix[]
  readonly k: readonly Matrix[]
  readonly v: readonly Matrix[]
  /** Position of the first query. */
  readonly start: number
  readonly scale: number
}

/** Whether a head's row keeps a key; every rule is met with causality. */
export type Kept = (head: number, row: number, kv: number) => boolean

export const range = (from: number, to: number): number[] =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
export const inner = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, x, i) => sum + x * b[i]!, 0)
const total = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0)
const sums = (rows: Matrix, width: number): number[] =>
  range(0, width).map((c) => total(rows.map((r) => r[c]!)))

export const softmaxOf = (xs: readonly number[]): number[] => {
  const top = Math.max(...xs)
  const weights = xs.map((x) => (x === -Infinity ? 0 : Math.exp(x - top)))
  const sum = total(weights)
  return weights.map((w) => (sum === 0 ? 0 : w / sum))
}

/** The indices of the n greatest, the lower one first among equals; -Infinity is never among them. */
const greatest = (xs: readonly number[], n: number): number[] =>
  range(0, xs.length)
    .filter((i) => xs[i]! > -Infinity)
    .sort((a, b) => Number(xs[a]! < xs[b]!) - Number(xs[a]! > xs[b]!) || a - b)
    .slice(0, n)

const kvHeadOf = ({ q, k }: Plain, head: number): number => Math.floor((head * k.length) / q.length)
const keyCount = ({ k }: Plain): number => k[0]!.length
const rowCount = ({ q }: Plain): number => q[0]!.length

/** Positions of a block that a side has. */
const inBlock = (block: number, size: number, from: number, to: number): number[] =>
  range(Math.max(from, block * size), Math.min(to, (block + 1) * size))

/** Remembers a set for each head and row number, or whatever else it is made for. */
function once<T>(make: (a: number, b: number) => T): (a: number, b: number) => T {
  const made = new Map<string, T>()
  return (a, b) => {
    const known = made.get(`${a},${b}`)
    if (known !== undefined) return known
    const value = make(a, b)
    made.set(`${a},${b}`, value)
    return value
  }
}

const rowsAt = (p: Plain, head: number, positions: readonly number[]): number[][] =>
  positions.map((t) => [...p.q[head]![t - p.start]!])

export function minferenceBlock(p: Plain, block: number, k: readonly number[]): Kept {
  const [n, end, width] = [keyCount(p), p.start + rowCount(p), p.q[0]![0]!.length]
  const keysOf = once((head, i) => {
    const q = sums(rowsAt(p, head, inBlock(i, block, p.start, end)), width)
    const scores = range(0, Math.ceil(n / block)).map((j) => {
      const keys = inBlock(j, block, 0, n).map((t) => p.k[kvHeadOf(p, head)]![t]!)
      return j <= i ? inner(q, sums(keys, width)) : -Infinity
    })
    return new Set(greatest(scores, k[head]!))
  })
  return (head, row, kv) => keysOf(head, Math.floor((p.start + row) / block)).has(Math.floor(kv / block))
}

/** Causal probabilities of the last rows, by position. */
function lastRows(p: Plain, head: number, last: number): { position: number; p: number[] }[] {
  const rows = rowCount(p)
  return range(Math.max(0, rows - last), rows).map((row) => {
    const position = p.start + row
    const logits = p.k[kvHeadOf(p, head)]!.map((key, t) =>
      t <= position ? p.scale * inner(p.q[head]![row]!, key) : -Infinity,
    )
    return { position, p: softmaxOf(logits) }
  })
}

export function minferenceVerticalSlash(
  p: Plain,
  sizes: {
    readonly block: number
    readonly last: number
    readonly firstKeys: number
    readonly nearest: number
  },
  vertical: readonly number[],
  slash: readonly number[],
): Kept {
  const [n, end] = [keyCount(p), p.start + rowCount(p)]
  const linesOf = once((head) => {
    const last = lastRows(p, head, sizes.last)
    const byKey = range(0, n).map((t) => (t < sizes.firstKeys ? Infinity : total(last.map((r) => r.p[t]!))))
    const byDistance = range(0, n).map((o) =>
      o < sizes.nearest ? Infinity : total(last.map((r) => r.p[r.position - o] ?? 0)),
    )
    return {
      verticals: new Set(greatest(byKey, Math.max(vertical[head]!, sizes.firstKeys))),
      slashes: new Set(greatest(byDistance, Math.max(slash[head]!, sizes.nearest))),
    }
  })
  return (head, row, kv) => {
    const { verticals, slashes } = linesOf(head, 0)
    const block = inBlock(Math.floor((p.start + row) / sizes.block), sizes.block, p.start, end)
    return verticals.has(kv) || block.some((q) => slashes.has(q - kv))
  }
}

export function xattention(p: Plain, block: number, step: number, mass: readonly number[]): Kept {
  const [n, end] = [keyCount(p), p.start + rowCount(p)]
  const patchRow = once((head, a) => {
    const logits = range(0, a + 1).map((b) => {
      const pairs = range(0, step).map((i) => [step * a + step - 1 - i, step * b + i] as const)
      const there = pairs.filter(([q, t]) => q >= p.start && q < end && t < n)
      return (
        (total(there.map(([q, t]) => inner(p.q[head]![q - p.start]!, p.k[kvHeadOf(p, head)]![t]!))) *
          p.scale) /
        step
      )
    })
    return softmaxOf(logits)
  })
  const keysOf = once((head, i) => {
    const patches = range((i * block) / step, ((i + 1) * block) / step).filter(
      (a) => inBlock(a, step, p.start, end).length > 0,
    )
    const weights = range(0, i + 1).map((j) =>
      total(patches.flatMap((a) => patchRow(head, a).slice((j * block) / step, ((j + 1) * block) / step))),
    )
    const chosen = new Set([0, i])
    const rest = greatest(weights, weights.length).filter((j) => !chosen.has(j))
    let sum = total([...chosen].map((j) => weights[j]!))
    for (const j of mass[head]! >= 1 ? [] : rest) {
      if (sum >= mass[head]! * total(weights)) break
      chosen.add(j)
      sum += weights[j]!
    }
    return mass[head]! >= 1 ? new Set(range(0, i + 1)) : chosen
  })
  return (head, row, kv) => keysOf(head, Math.floor((p.start + row) / block)).has(Math.floor(kv / block))
}

export function moba(p: Plain, block: number, k: number): Kept {
  const [n, width] = [keyCount(p), p.q[0]![0]!.length]
  const meanOf = once((kvHead, j) => {
    const keys = inBlock(j, block, 0, n).map((t) => p.k[kvHead]![t]!)
    return sums(keys, width).map((x) => x / keys.length)
  })
  const keysOf = once((head, row) => {
    const own = Math.floor((p.start + row) / block)
    const scores = range(0, own).map((j) => inner(p.q[head]![row]!, meanOf(kvHeadOf(p, head), j)))
    return new Set([own, ...greatest(scores, k - 1)])
  })
  return (head, row, kv) => keysOf(head, row).has(Math.floor(kv / block))
}

export function quest(p: Plain, page: number, pages: number): Kept {
  const n = keyCount(p)
  const keysOf = once((kvHead, row) => {
    const position = p.start + row
    const own = Math.floor(position / page)
    const heads = range(0, p.q.length).filter((h) => kvHeadOf(p, h) === kvHead)
    const bounds = range(0, own).map((j) => {
      const keys = inBlock(j, page, 0, n).map((t) => p.k[kvHead]![t]!)
      const bound = (q: readonly number[]) =>
        total(
          q.map((x, c) => {
            const [least, most] = [
              Math.min(...keys.map((key) => key[c]!)),
              Math.max(...keys.map((key) => key[c]!)),
            ]
            return Math.max(x * least, x * most)
          }),
        )
      return total(heads.map((h) => bound(p.q[h]![row]!)))
    })
    return new Set([own, ...greatest(bounds, pages - 1)])
  })
  return (head, row, kv) => keysOf(kvHeadOf(p, head), row).has(Math.floor(kv / page))
}

export function anchor(p: Plain, block: number, group: number, theta: number): Kept {
  const [n, end, width] = [keyCount(p), p.start + rowCount(p), p.q[0]![0]!.length]
  const inBase = (q: number, kv: number) => kv < block || Math.floor(q / group) === Math.floor(kv / group)
  const stripesOf = once((head, g) => {
    const keys = p.k[kvHeadOf(p, head)]!
    const units = range((g * group) / block, ((g + 1) * group) / block)
      .map((b) => inBlock(b, block, p.start, end))
      .filter((rows) => rows.length > 0)
      .map((rows) => {
        const tops = rows.map((q) =>
          Math.max(
            ...range(0, q + 1)
              .filter((t) => inBase(q, t))
              .map((t) => p.scale * inner(p.q[head]![q - p.start]!, keys[t]!)),
          ),
        )
        const mean = sums(rowsAt(p, head, rows), width).map((x) => x / rows.length)
        return { bar: total(tops) / rows.length, mean }
      })
    const before = range(block, Math.min(n, g * group))
    return new Set(
      before.filter((t) => units.some((u) => p.scale * inner(u.mean, keys[t]!) + theta >= u.bar)),
    )
  })
  return (head, row, kv) => {
    const q = p.start + row
    return inBase(q, kv) || stripesOf(head, Math.floor(q / group)).has(kv)
  }
}

export function pbs(p: Plain, block: number, segment: number, mass: number): Kept {
  const [n, end, width, rows] = [keyCount(p), p.start + rowCount(p), p.q[0]![0]!.length, rowCount(p)]
  const whole = Math.floor(n / segment) * segment
  const orderOf = once((head) => {
    const last = range(Math.max(0, rows - block), rows).map((row) =>
      softmaxOf(p.k[kvHeadOf(p, head)]!.slice(0, whole).map((key) => p.scale * inner(p.q[head]![row]!, key))),
    )
    const weight = range(0, whole).map((t) => total(last.map((r) => r[t]!)) / last.length)
    const segments = range(0, whole / segment).flatMap((s) =>
      range(s * segment, (s + 1) * segment).sort((a, b) => weight[b]! - weight[a]! || a - b),
    )
    return [...segments, ...range(whole, n)]
  })
  const keysOf = once((head, i) => {
    const order = orderOf(head, 0)
    const q = sums(rowsAt(p, head, inBlock(i, block, p.start, end)), width).map((x) => x / block)
    const members = (j: number) => order.slice(j * block, (j + 1) * block)
    const own = (j: number) => Math.floor((i * block) / segment) === Math.floor((j * block) / segment)
    const count = Math.ceil(n / block)
    const logits = range(0, count).map((j) => {
      const keys = members(j).map((t) => p.k[kvHeadOf(p, head)]![t]!)
      const mean = sums(keys, width).map((x) => x / block)
      return j * block < i * block && !own(j) ? p.scale * inner(q, mean) : -Infinity
    })
    const weights = softmaxOf(logits)
    const chosen = new Set<number>()
    let sum = 0
    for (const j of greatest(logits, count)) {
      if (mass < 1 && sum >= mass) break
      chosen.add(j)
      sum += weights[j]!
    }
    for (const j of range(0, count)) if (own(j) || members(j).includes(0)) chosen.add(j)
    return new Set([...chosen].flatMap(members))
  })
  return (head, row, kv) => keysOf(head, Math.floor((p.start + row) / block)).has(kv)
}

/** Every number of type e4m3, in order, so that the nearest is found by looking. */
const FP8 = range(0, 256)
  .map((code) => {
    const [sign, exponent, bits] = [code >> 7 ? -1 : 1, (code >> 3) & 15, code & 7]
    const value = exponent === 0 ? (bits / 8) * 2 ** -6 : (1 + bits / 8) * 2 ** (exponent - 7)
    return { value: sign * value, even: bits % 2 === 0, isNumber: exponent < 15 || bits < 7 }
  })
  .filter(({ isNumber }) => isNumber)

export function fp8Of(vector: readonly number[]): number[] {
  const scale = Math.max(...vector.map(Math.abs)) / 448
  if (scale === 0) return vector.map(() => 0)
  return vector.map((x) => {
    const nearest = FP8.reduce((best, code) => {
      const [d, least] = [Math.abs(code.value - x / scale), Math.abs(best.value - x / scale)]
      return d < least || (d === least && code.even) ? code : best
    })
    return nearest.value * scale
  })
}

export interface Indexer {
  /** By index head and row. */
  readonly queries: readonly Matrix[]
  readonly keys: Matrix
  /** By row and index head. */
  readonly weights: Matrix
}

/** The indexer with its vectors as fp8 holds them. */
const rounded = ({ queries, keys, weights }: Indexer): Indexer => ({
  queries: queries.map((rows) => rows.map((q) => fp8Of(q))),
  keys: keys.map((key) => fp8Of(key)),
  weights,
})

const indexScore = ({ queries, weights }: Indexer, row: number, key: readonly number[]): number =>
  total(queries.map((q, h) => weights[row]![h]! * Math.max(0, inner(q[row]!, key))))

export function dsa(p: Plain, given: Indexer, k: number): Kept {
  const indexer = rounded(given)
  const { keys } = indexer
  const keysOf = once((_, row) => {
    const scores = keys.map((key, t) => (t <= p.start + row ? indexScore(indexer, row, key) : -Infinity))
    return new Set(greatest(scores, k))
  })
  return (_, row, kv) => keysOf(0, row).has(kv)
}

export function hisa(p: Plain, given: Indexer, block: number, coarse: number, k: number): Kept {
  const indexer = rounded(given)
  const { keys } = indexer
  const [n, width] = [keyCount(p), keys[0]!.length]
  const means = range(0, Math.ceil(n / block)).map((b) => {
    const members = inBlock(b, block, 0, n).map((t) => keys[t]!)
    return fp8Of(sums(members, width).map((x) => x / members.length))
  })
  const keysOf = once((_, row) => {
    const position = p.start + row
    const own = Math.floor(position / block)
    const blockScores = means.map((mean, b) =>
      b === 0 || b === own ? Infinity : b < own ? indexScore(indexer, row, mean) : -Infinity,
    )
    const candidates = new Set(greatest(blockScores, coarse))
    const scores = keys.map((key, t) =>
      t <= position && candidates.has(Math.floor(t / block)) ? indexScore(indexer, row, key) : -Infinity,
    )
    return new Set(greatest(scores, k))
  })
  return (_, row, kv) => keysOf(0, row).has(kv)
}

export interface Attended {
  readonly out: readonly number[]
  readonly lse: number
}

/** A softmax of logits over values. */
export function attendTo(logits: readonly number[], values: Matrix, width: number): Attended {
  const top = Math.max(-Infinity, ...logits)
  if (top === -Infinity) return { out: range(0, width).map(() => 0), lse: -Infinity }
  const weights = logits.map((x) => Math.exp(x - top))
  const sum = total(weights)
  const out = range(0, width).map((c) => total(values.map((v, i) => weights[i]! * v[c]!)) / sum)
  return { out, lse: top + Math.log(sum) }
}

/** Attention over the keys that a rule keeps. */
export function attended(p: Plain, kept: Kept, head: number, row: number): Attended {
  const g = kvHeadOf(p, head)
  const keys = range(0, Math.min(keyCount(p), p.start + row + 1)).filter((t) => kept(head, row, t))
  const logits = keys.map((t) => p.scale * inner(p.q[head]![row]!, p.k[g]![t]!))
  return attendTo(
    logits,
    keys.map((t) => p.v[g]![t]!),
    p.v[g]![0]!.length,
  )
}

export interface Nsa {
  readonly size: number
  readonly step: number
  readonly block: number
  readonly n: number
  readonly window: number
  /** [kv head][member][in][out] and [kv head][out], for keys and for values. */
  readonly maps: readonly { readonly weight: readonly (readonly Matrix[])[]; readonly bias: Matrix }[]
  /** [head][row][branch]. */
  readonly gates: readonly Matrix[]
}

/** The compressed rows of one kv head: each window of tokens flattened and mapped. */
const compressed = (
  rows: Matrix,
  kvHead: number,
  { size, step }: Nsa,
  map: Nsa['maps'][number],
): number[][] => {
  const count = rows.length < size ? 0 : Math.floor((rows.length - size) / step) + 1
  return range(0, count).map((c) =>
    map.bias[kvHead]!.map(
      (b, out) =>
        b +
        total(
          range(0, size).map((m) =>
            total(rows[c * step + m]!.map((x, i) => x * map.weight[kvHead]![m]![i]![out]!)),
          ),
        ),
    ),
  )
}

export function nsa(p: Plain, given: Nsa) {
  const { size, step, block, n, window, maps, gates } = given
  const keys = p.k.map((rows, g) => compressed(rows, g, given, maps[0]!))
  const values = p.v.map((rows, g) => compressed(rows, g, given, maps[1]!))
  const width = p.v[0]![0]!.length
  const open = (row: number, g: number) =>
    range(0, keys[g]!.length).filter((c) => c * step + size - 1 <= p.start + row)
  const chosenOf = once((g, row) => {
    const own = Math.floor((p.start + row) / block)
    const heads = range(0, p.q.length).filter((h) => kvHeadOf(p, h) === g)
    const shared = range(0, keys[g]!.length).map(() => 0)
    for (const head of heads) {
      const seen = open(row, g)
      const probabilities = softmaxOf(seen.map((c) => p.scale * inner(p.q[head]![row]!, keys[g]![c]!)))
      seen.forEach((c, i) => (shared[c]! += probabilities[i]!))
    }
    const ratio = [block / step, size / step] as const
    const importance = range(0, own + 1).map((b) => {
      if (b === 0 || own - b < 2) return Infinity
      return total(
        range(0, ratio[0]).flatMap((m) => range(0, ratio[1]).map((i) => shared[b * ratio[0] + m - i] ?? 0)),
      )
    })
    const forced = importance.filter((x) => x === Infinity).length
    return new Set(greatest(importance, Math.max(n, forced)))
  })
  const selected: Kept = (head, row, kv) => chosenOf(kvHeadOf(p, head), row).has(Math.floor(kv / block))
  const near: Kept = (_, row, kv) => p.start + row - kv < window
  const out = (head: number, row: number): number[] => {
    const g = kvHeadOf(p, head)
    const seen = open(row, g)
    const branches = [
      attendTo(
        seen.map((c) => p.scale * inner(p.q[head]![row]!, keys[g]![c]!)),
        seen.map((c) => values[g]![c]!),
        width,
      ),
      attended(p, selected, head, row),
      attended(p, near, head, row),
    ]
    return range(0, width).map((c) => total(branches.map((b, i) => gates[head]![row]![i]! * b.out[c]!)))
  }
  return { out, selected }
}

/** Which tiles are visited, and the attention that is left. */
export function blasst(p: Plain, tileQ: number, tileKv: number, lambda: number) {
  const [n, end, width] = [keyCount(p), p.start + rowCount(p), p.v[0]![0]!.length]
  let skipped = 0
  const answers = p.q.map((rows, head) => {
    const g = kvHeadOf(p, head)
    const out: Attended[] = []
    for (let i = Math.floor(p.start / tileQ); i * tileQ < end; i++) {
      const queries = inBlock(i, tileQ, p.start, end)
      const state = queries.map(() => ({ max: -Infinity, sum: 0, acc: range(0, width).map(() => 0) }))
      for (let j = 0; j * tileKv < n; j++) {
        const logits = queries.map((q) =>
          inBlock(j, tileKv, 0, n)
            .filter((t) => t <= q)
            .map((t) => ({ t, logit: p.scale * inner(rows[q - p.start]!, p.k[g]![t]!) })),
        )
        const tops = logits.map((row) => Math.max(-Infinity, ...row.map(({ logit }) => logit)))
        if (tops.every((top) => top === -Infinity)) continue
        if (tops.every((top, r) => top < state[r]!.max + Math.log(lambda))) {
          skipped++
          continue
        }
        logits.forEach((row, r) => {
          const s = state[r]!
          const max = Math.max(s.max, tops[r]!)
          if (max === -Infinity) return
          const decay = Math.exp(s.max - max)
          s.sum = s.sum * decay + total(row.map(({ logit }) => Math.exp(logit - max)))
          s.acc = s.acc.map(
            (x, c) => x * decay + total(row.map(({ t, logit }) => Math.exp(logit - max) * p.v[g]![t]![c]!)),
          )
          s.max = max
        })
      }
      out.push(...state.map((s) => ({ out: s.acc.map((x) => x / s.sum), lse: s.max + Math.log(s.sum) })))
    }
    return out
  })
  return { answers, skipped }
}

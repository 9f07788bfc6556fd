/** Queries and keys that a model made in; how many pairs a pattern keeps of them by its oracle, on some rows of a head, out. */

import { PATTERNS, SELECTIONS } from '../../patterns/index.ts'
import type { ParamValues } from '../../runtime/params.ts'
import { reference, type ReferencePattern } from '../../runtime/reference.ts'
import type { QueriesAndKeys } from '../../runtime/model/capture.ts'
import { BLOCK } from './counts.ts'
import type { Density } from './density.ts'
import { SETTINGS } from './settings.ts'
import { paramsAt, type Subject } from './subject.ts'

export interface HeadSizes {
  readonly qHeads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly length: number
  /** Tokens that the model takes together: a pattern chooses for these. */
  readonly chunk: number
}

export interface Sampled extends Density {
  /** In words: which of all there are. */
  readonly of: string
}

/** Pairs that the oracle is asked of at most in one layer: it takes about ten seconds a million. */
const MOST_PAIRS = 2.5e6
const UNITS = 2

const library = (name: string): ReferencePattern | null =>
  ([...PATTERNS, ...SELECTIONS].find((e) => e.pattern.name === name)?.pattern ??
    null) as ReferencePattern | null

/** The rows that choose alike, from their first, as many of them as are asked. */
export function sampledRows(
  { pattern, consts }: Pick<Subject, 'pattern' | 'consts'>,
  { length, chunk }: HeadSizes,
): { readonly first: number; readonly rows: number }[] | null {
  const entry = SETTINGS[pattern]
  const local = entry && 'at' in entry ? entry.local?.(consts) : undefined
  const rows = Math.min(local ?? chunk, chunk, length)
  // Units are cut from the first token, steps at multiples of their length: they have to agree.
  if (chunk < length && chunk % rows !== 0) return null
  const units = Math.ceil(length / rows)
  const chosen = [
    ...new Set(Array.from({ length: UNITS }, (_, n) => Math.floor(((n + 0.5) * units) / UNITS))),
  ]
  const asked = chosen.map((n) => ({ first: n * rows, rows: Math.min(rows, length - n * rows) }))
  const pairs = asked.reduce((sum, u) => sum + u.rows * (u.first + u.rows), 0)
  return pairs > MOST_PAIRS ? null : asked
}

/** Null: the oracle does not know the pattern, or it would take too long. */
export function oracleDensity(
  subject: Subject,
  layer: number,
  { q, k }: QueriesAndKeys,
  sizes: HeadSizes,
): Sampled | null {
  const pattern = library(subject.pattern)
  const asked = pattern && sampledRows(subject, sizes)
  if (!asked) return null
  const { qHeads, kvHeads, headDim, length } = sizes
  const head = layer % qHeads
  const kvHead = Math.floor((head * kvHeads) / qHeads)
  const params = ofHead(paramsAt(subject, layer), head)
  let [kept, pairs, tiles, causal] = [0, 0, 0, 0]
  for (const { first, rows } of asked) {
    const end = first + rows
    const queries = q.slice((head * length + first) * headDim, (head * length + end) * headDim)
    const keys = k.slice(kvHead * length * headDim, (kvHead * length + end) * headDim)
    const found = reference(
      { ...pattern, consts: { ...pattern.consts, ...subject.consts } },
      {
        q: { data: queries, shape: [1, 1, rows, headDim] },
        k: { data: keys, shape: [1, 1, end, headDim] },
        v: { data: new Float32Array(end), shape: [1, 1, end, 1] },
        params,
      },
    )
    const seen = new Set<number>()
    for (let row = 0; row < rows; row++) {
      for (let kv = 0; kv <= first + row; kv++) {
        if (!found.keeps(0, 0, row, kv)) continue
        kept++
        seen.add(Math.floor((first + row) / BLOCK) * 2 ** 20 + Math.floor(kv / BLOCK))
      }
    }
    tiles += seen.size
    pairs += rows * first + (rows * (rows + 1)) / 2
    for (let b = Math.floor(first / BLOCK); b * BLOCK < end; b++) causal += b + 1
  }
  const where = asked.map(({ first, rows }) => `${first}-${first + rows - 1}`).join(', ')
  return {
    density: kept / pairs,
    tiles: tiles / causal,
    of: `layer ${layer}, head ${head}, rows ${where}`,
  }
}

const ofHead = (params: ParamValues, head: number): ParamValues =>
  Object.fromEntries(
    Object.entries(params).map(([name, value]) => [
      name,
      typeof value === 'number' || value.length === 1 ? value : value.slice(head, head + 1),
    ]),
  )

/**
 * A pattern's name and sizes in; small params and valid table contents to look at it and test it with out.
 */

import { hash } from '../dsl/index.ts'
import { patternError } from '../dsl/messages.ts'
import { alibiSlopes } from './alibi.ts'
import { DENSE, LOCAL, NONE, STRIDED } from './modality.ts'

export interface ExampleSizes {
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim?: number
  /** Of a learned indexer, where a pattern has one; absent: a few. */
  readonly indexer?: { readonly heads: number; readonly channels: number }
}

/** A number in [0, 1), another at each call. */
export type Random = () => number
type TableMaker = (sizes: ExampleSizes, random: Random) => Int32Array | Float32Array

/** A configuration small enough for a picture and a test, large enough for the pattern to show. */
export interface Example {
  readonly qLen: number
  readonly kvLen: number
  readonly heads: number
  readonly kvHeads: number
  /** A perHead param has one value for each of `heads`. */
  readonly params: Readonly<Record<string, number | readonly number[]>>
  /** Contents that are valid at any sizes. */
  readonly tables: Readonly<Record<string, TableMaker>>
}

const example = (
  length: number,
  params: Example['params'] = {},
  tables: Example['tables'] = {},
): Example => ({ qLen: length, kvLen: length, heads: 4, kvHeads: 2, params, tables })

/**
 * Cuts each batch entry's tokens into runs, about six, and writes a value for each run; lengths differ from
 * run to run.
 */
function runs(
  sizes: ExampleSizes,
  random: Random,
  valueOf: (start: number, random: Random) => number,
): Int32Array {
  const { batch, kvLen } = sizes
  const values = new Int32Array(batch * kvLen)
  for (let b = 0; b < batch; b++) {
    for (let start = 0; start < kvLen;) {
      const length = 1 + Math.floor((random() * kvLen) / 3)
      const end = Math.min(kvLen, start + length)
      values.fill(valueOf(start, random), b * kvLen + start, b * kvLen + end)
      start = end
    }
  }
  return values
}

const floats = (length: number, random: Random, lo: number, hi: number): Float32Array =>
  Float32Array.from({ length }, () => lo + (hi - lo) * random())

/** Heads take turns: one rule for all pairs, one for each query class, one for each pair of classes. */
function rules({ qHeads }: ExampleSizes, random: Random): Int32Array {
  const oneOf = (list: readonly number[]) => list[Math.floor(random() * list.length)]!
  const CLASSES = 4
  const values: number[] = []
  for (let head = 0; head < qHeads; head++) {
    const forHead = head % 3 === 0 ? LOCAL : null
    for (let a = 0; a < CLASSES; a++) {
      const forRow = head % 3 === 1 ? oneOf([LOCAL, STRIDED, DENSE]) : null
      // A token sees its own class at least nearby, so that no row is empty.
      for (let b = 0; b < CLASSES; b++) {
        values.push(
          forHead ?? forRow ?? oneOf(a === b ? [LOCAL, STRIDED] : [NONE, NONE, LOCAL, STRIDED, DENSE]),
        )
      }
    }
  }
  return Int32Array.from(values)
}

/** One example for each pattern of the library, by the pattern's name. */
export const EXAMPLES: Readonly<Record<string, Example>> = {
  full: example(256),
  causal: example(384),
  'sliding-window': example(384, { window: 96 }),
  'dilated-window': example(384, { window: 16, dilation: 8 }),
  'prefix-lm': example(384, { prefixTokens: 100 }),
  'block-causal': example(384, { block: 48 }),
  // Few ids, so that a document is often continued after another one.
  document: example(
    384,
    {},
    { docId: (sizes, random) => runs(sizes, random, (_, r) => Math.floor(r() * 6)) },
  ),
  'document-starts': example(384, {}, { docStart: (sizes, random) => runs(sizes, random, (start) => start) }),
  'a-shape': example(384, { window: 96, sinkTokens: 16 }),
  'tri-shape': example(384, { window: 72, sinkTokens: 16, lastRows: 40 }),
  'streaming-heads': example(384, { retrieval: [0, 0, 1, 1], recent: 64, sinkTokens: 16 }),
  'moa-span': example(384, { alpha: [0, 64, 192, -100], beta: [0.25, 0.25, 0, 1], sinkTokens: 16 }),
  strided: example(384, { stride: 48 }),
  fixed: example(384, { stride: 64, summary: 8, groups: 2 }),
  'global-window': example(384, { reach: 40, globalTokens: 12 }),
  bigbird: example(384, { block: 24, seed: 1 }),
  's2-shard': example(384, { block: 16, local: 3, stride: 8, offset: 1, spread: 1, denseHeads: 0 }),
  power: example(384, { block: 16, window: 24, sinkTokens: 8 }),
  'shifted-groups': example(384, { group: 96 }),
  grid: example(384, { stride: [48, 32, 64, 40], phase: [5, 0, 63, 7], window: 40 }),
  modality: example(
    384,
    { window: 48, sinkTokens: 8, stride: 16 },
    { modality: (sizes, random) => runs(sizes, random, (_, r) => Math.floor(r() * 4)), rule: rules },
  ),
  'neighborhood-1d': example(384, { window: 65 }),
  'neighborhood-2d': example(384, { height: 16, width: 24, windowHeight: 5, windowWidth: 7 }),
  // 24 tiles of 12 tokens, then 32 tokens of text.
  'sliding-tile-3d': example(320, {
    tilesT: 3,
    tilesH: 2,
    tilesW: 4,
    tileTokens: 12,
    windowT: [1, 3, 3, 1],
    windowH: [1, 1, 2, 1],
    windowW: [3, 1, 3, 4],
  }),
  alibi: example(256, {}, { slope: ({ qHeads }) => alibiSlopes(qHeads) }),
  softcap: example(256, { cap: 2 }),
  'relative-bias': example(256, {}, { bias: ({ qHeads }, random) => floats(qHeads * 32, random, -1, 1) }),
  'sink-logit': example(256, {}, { sink: ({ qHeads }, random) => floats(qHeads, random, -1, 2) }),
}

const found = (name: string): Example => {
  const own = Object.hasOwn(EXAMPLES, name) ? EXAMPLES[name] : undefined
  if (!own) throw patternError('no-example', { name, known: Object.keys(EXAMPLES) })
  return own
}

/** A source of numbers in [0, 1) that is the same for the same seed on every machine. */
export const exampleSource = (seed: number): Random => {
  let step = 0
  return () => hash(seed, step++) / 2 ** 31
}

/**
 * Valid contents for every table of a library pattern, at any sizes.
 *
 * @param random a seed, or a source of numbers in [0, 1)
 * @throws PatternError `no-example` if the library has no pattern of that name
 */
export function exampleTables(
  name: string,
  sizes: ExampleSizes,
  random: number | Random = 1,
): Record<string, Int32Array | Float32Array> {
  const source = typeof random === 'number' ? exampleSource(random) : random
  return Object.fromEntries(
    Object.entries(found(name).tables).map(([table, make]) => [table, make(sizes, source)]),
  )
}

/**
 * The example's params for any number of query heads: a perHead param's values are repeated in turn.
 *
 * @throws PatternError `no-example` if the library has no pattern of that name
 */
export function exampleParams(name: string, heads: number): Record<string, number | number[]> {
  const fit = (value: number | readonly number[]) =>
    typeof value === 'number' ? value : Array.from({ length: heads }, (_, h) => value[h % value.length]!)
  return Object.fromEntries(Object.entries(found(name).params).map(([param, value]) => [param, fit(value)]))
}

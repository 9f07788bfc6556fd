/**
 * A selecting pattern's name and sizes in; small consts and params and valid tables and rows to test it
 * with out.
 */

import { patternError } from '../dsl/messages.ts'
import { exampleSource, type Example, type ExampleSizes, type Random } from './examples.ts'

/** Vectors as a call takes them: [batch, sharers, tokens, channels]. */
export interface RowsData {
  readonly data: Float32Array
  readonly shape: readonly [batch: number, sharers: number, tokens: number, channels: number]
}
type RowsMaker = (sizes: ExampleSizes, random: Random) => RowsData

/** An example whose blocks are small, too, so that few tokens show what the pattern does. */
export interface SelectionExample extends Example {
  readonly consts: Readonly<Record<string, number>>
  readonly rows: Readonly<Record<string, RowsMaker>>
}

const example = (
  consts: SelectionExample['consts'],
  params: Example['params'],
  more: Partial<Pick<SelectionExample, 'tables' | 'rows'>> = {},
): SelectionExample => ({
  qLen: 96,
  kvLen: 96,
  heads: 4,
  kvHeads: 2,
  consts,
  params,
  tables: {},
  rows: {},
  ...more,
})

const FEW: NonNullable<ExampleSizes['indexer']> = { heads: 3, channels: 8 }

/** Multiples of 1/64 within [-1, 1], the same numbers in f16. */
const floats = (length: number, random: Random): Float32Array =>
  Float32Array.from({ length }, () => Math.round((2 * random() - 1) * 64) / 64)

const vectors = (shape: RowsData['shape'], random: Random): RowsData => ({
  data: floats(
    shape.reduce((a, b) => a * b, 1),
    random,
  ),
  shape,
})

const INDEXER = {
  tables: {
    weight: ({ batch, qLen, indexer = FEW }: ExampleSizes, random: Random) =>
      floats(batch * qLen * indexer.heads, random),
  },
  rows: {
    qIndex: ({ batch, qLen, indexer = FEW }: ExampleSizes, random: Random) =>
      vectors([batch, indexer.heads, qLen, indexer.channels], random),
    kIndex: ({ batch, kvLen, indexer = FEW }: ExampleSizes, random: Random) =>
      vectors([batch, 1, kvLen, indexer.channels], random),
  },
}

const NSA_SIZE = 8

/** A map that averages a window's members, with a little of everything else in it. */
function compression({ kvHeads, headDim = 64 }: ExampleSizes, random: Random): Float32Array {
  const weights = floats(kvHeads * NSA_SIZE * headDim * headDim, random).map((x) => x / 64)
  for (let at = 0; at < kvHeads * NSA_SIZE; at++) {
    for (let c = 0; c < headDim; c++) weights[(at * headDim + c) * headDim + c]! += 1 / NSA_SIZE
  }
  return weights
}

/** One example for each selecting pattern of the library, by the pattern's name. */
export const SELECTION_EXAMPLES: Readonly<Record<string, SelectionExample>> = {
  'minference-block': example({ block: 8 }, { k: [1, 2, 3, 5] }),
  xattention: example({ block: 8, step: 4 }, { mass: [0.3, 0.5, 0.7, 0.9] }),
  'minference-vertical-slash': example(
    { block: 8, last: 8, firstKeys: 2, nearest: 4 },
    { vertical: [2, 5, 9, 3], slash: [9, 4, 6, 12] },
  ),
  // In turn: verticals and slashes, blocks, an A-shape, few verticals and slashes.
  minference: example(
    { block: 8, last: 8, firstKeys: 2, nearest: 4 },
    {
      vertical: [5, 0, 0, 2],
      slash: [9, 0, 0, 6],
      k: [0, 3, 0, 0],
      window: [0, 0, 13, 0],
      sinkTokens: [0, 0, 3, 0],
    },
  ),
  anchor: example({ block: 8, group: 32 }, { theta: 0.5 }),
  pbs: example({ block: 8, segment: 16 }, { mass: 0.6 }),
  moba: example({ block: 8 }, { k: 3 }),
  quest: example({ page: 4 }, { pages: 5 }),
  dsa: example({}, { k: 12 }, INDEXER),
  hisa: example({ block: 8 }, { coarse: 3, k: 12 }, INDEXER),
  nsa: example(
    { size: NSA_SIZE, step: 4, block: 8 },
    { n: 4, window: 12 },
    {
      tables: {
        wk: compression,
        bk: ({ kvHeads, headDim = 64 }, random) => floats(kvHeads * headDim, random),
        wv: compression,
        bv: ({ kvHeads, headDim = 64 }, random) => floats(kvHeads * headDim, random),
        gate: ({ batch, qHeads, qLen }, random) =>
          Float32Array.from({ length: batch * qHeads * qLen * 3 }, random),
      },
    },
  ),
  blasst: example({ tileQ: 8, tileKv: 8 }, { lambda: 0.25 }),
}

/** Everything that a call of a selecting pattern needs besides q, k and v. */
export interface SelectionInputs {
  readonly consts: Readonly<Record<string, number>>
  readonly params: Readonly<Record<string, number | number[]>>
  readonly tables: Readonly<Record<string, Int32Array | Float32Array>>
  readonly rows: Readonly<Record<string, RowsData>>
}

/**
 * An example's inputs at any sizes: a perHead param's values are repeated in turn.
 *
 * @throws PatternError `no-example` if no selecting pattern has that name
 */
export function selectionInputs(name: string, sizes: ExampleSizes, seed = 1): SelectionInputs {
  const found = Object.hasOwn(SELECTION_EXAMPLES, name) ? SELECTION_EXAMPLES[name] : undefined
  if (!found) throw patternError('no-example', { name, known: Object.keys(SELECTION_EXAMPLES) })
  const random = exampleSource(seed)
  const fit = (value: number | readonly number[]) =>
    typeof value === 'number'
      ? value
      : Array.from({ length: sizes.qHeads }, (_, h) => value[h % value.length]!)
  const each = <V, R>(record: Readonly<Record<string, V>>, f: (value: V) => R): Record<string, R> =>
    Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))
  return {
    consts: found.consts,
    params: each(found.params, fit),
    tables: each(found.tables, (make) => make(sizes, random)),
    rows: each(found.rows, (make) => make(sizes, random)),
  }
}

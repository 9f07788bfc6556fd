/** What a forward program gets: declarations of row inputs in, the record of its values out. */

import { describe, patternError } from '../messages.ts'
import type { TableSpec, TableView } from '../tables.ts'
import { isCoarser, sharerAt, type Share, type Sharer } from './call.ts'
import type { Rows } from './rows.ts'
import type { Grain, KvTokens, QTokens, Side, Units } from './units.ts'

/** Vectors that a pattern reads besides Q, K and V: inputs before RoPE, an indexer's queries and keys. */
export interface RowsSpec<S extends Side = Side, H extends Share = Share, G extends Grain = Grain> {
  readonly kind: 'rows-input'
  readonly side: S
  readonly share: H
  readonly grain: G
}

const SHARES: readonly Share[] = ['head', 'kvHead', 'request', 'indexHead']

/**
 * Declares an input of vectors among a pattern's tables: one vector for each token of a side and each sharer.
 * The caller passes a tensor [batch, sharers, tokens, channels]. With the grain 'whole' it is one vector for
 * all tokens of the side.
 *
 * @throws PatternError `bad-rows`
 * @example tables: { qIndex: rows('q', 'indexHead'), kIndex: rows('kv', 'request') }
 */
export function rows<S extends Side, H extends Share, G extends 'token' | 'whole' = 'token'>(
  side: S,
  share: H,
  grain: G = 'token' as G,
): RowsSpec<S, H, G> {
  const good =
    (side === 'q' || side === 'kv') && SHARES.includes(share) && (grain === 'token' || grain === 'whole')
  if (!good) throw patternError('bad-rows', { got: [side, share, grain].map(describe).join(', ') })
  return { kind: 'rows-input', side, share, grain }
}

export const isRowsSpec = (x: unknown): x is RowsSpec =>
  typeof x === 'object' && x !== null && 'kind' in x && x.kind === 'rows-input'

/** Who shares a table: its first dim's heads, behind a batch dim. */
type ShareOfDims<D extends readonly unknown[]> = D extends readonly ['batch', ...infer Rest]
  ? ShareOfDims<Rest>
  : D extends readonly [infer First extends Share, ...unknown[]]
    ? First
    : 'request'

/** A table as a forward program sees it: read by `.at`, or given to a word as a whole. */
export interface ForwardTable<
  D extends readonly unknown[] = readonly unknown[],
  H extends Share = Share,
> extends TableView<D> {
  readonly kind: 'table-input'
  readonly name: string
  readonly share: H
  readonly dims: D
  readonly sizes: readonly number[]
}
export type ForwardTableOf<S> = S extends TableSpec<infer D> ? ForwardTable<D, ShareOfDims<D>> : never
export type RowsOf<S> =
  S extends RowsSpec<infer Sd, infer H, infer G> ? Rows<H, Units<Sd, G, 'natural'>> : never

/** The values that every forward program gets, besides the pattern's own params, consts and tables. */
export interface Inputs {
  readonly Q: Rows<'head', QTokens>
  readonly K: Rows<'kvHead', KvTokens>
  readonly V: Rows<'kvHead', KvTokens>
  /** What attend() multiplies inner products with: headDim^-0.5 unless the call says otherwise. */
  readonly scale: number
  readonly headDim: number
  readonly qLen: number
  readonly kvLen: number
  readonly qHeads: number
  readonly kvHeads: number
}
export const INPUT_FIELDS = ['Q', 'K', 'V', 'scale'] as const satisfies readonly (keyof Inputs)[]

/**
 * A sharer's part of a table: the dims behind batch and heads.
 *
 * @param dims how many of them there must be, or may be up to `most`
 */
export function partOf(
  word: string,
  table: ForwardTable,
  { call, share, at }: Sharer,
  dims: number,
  most = dims,
): { readonly sizes: readonly number[]; at(...index: readonly number[]): number } {
  const names = table.dims.map(String)
  const batched = names[0] === 'batch'
  const shared = table.share !== 'request'
  const leading = Number(batched) + Number(shared)
  const sizes = table.sizes.slice(leading)
  if (sizes.length < dims || sizes.length > most)
    throw patternError('table-shape', { word, table: table.name, dims: names, due: dims })
  if (!isCoarser(table.share, share))
    throw patternError('shares-differ', { word, first: share, second: table.share })
  const before = [
    ...(batched ? [call.batch] : []),
    ...(shared ? [sharerAt(table.share, share, at, call)] : []),
  ]
  // The dims are counted above; the view's own type knows them only for tables of one declaration.
  const read = table.at as (...index: readonly number[]) => number
  return { sizes, at: (...index) => read(...before, ...index) }
}

/** A sharer's part of a table of one dim. */
export function indexed(
  word: string,
  table: ForwardTable,
  sharer: Sharer,
): { length: number; at(i: number): number } {
  const { sizes, at } = partOf(word, table, sharer, 1)
  return { length: sizes[0]!, at: (i) => at(i) }
}

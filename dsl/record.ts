/** The index record: what a mask, a score and every function of a pattern know of one (query, key) pair. */

/**
 * What a mask or score is called with, besides the pattern's own params, consts and tables: one (query, key)
 * pair. All are integers. With fewer queries than keys the queries are the last ones: q starts at `kvLen -
 * qLen`.
 */
export type IndexRecord = {
  readonly batch: number
  /** Query head, 0 to qHeads - 1. */
  readonly head: number
  /** The kv head that the query head reads: `floorDiv(head, qHeads / kvHeads)`. */
  readonly kvHead: number
  /** Absolute position of the query token. */
  readonly q: number
  /** Absolute position of the key token, 0 to kvLen - 1. */
  readonly kv: number
  /** Number of real query tokens of this batch entry. */
  readonly qLen: number
  /** Number of real key tokens of this batch entry. */
  readonly kvLen: number
  readonly qHeads: number
  readonly kvHeads: number
  /** Length of a query or key vector. */
  readonly headDim: number
}
export type IndexField = keyof IndexRecord

/** The index record's fields, whose names no param, const or table may take. */
export const INDEX_FIELDS = [
  'batch',
  'head',
  'kvHead',
  'q',
  'kv',
  'qLen',
  'kvLen',
  'qHeads',
  'kvHeads',
  'headDim',
] as const satisfies readonly IndexField[]

/** What a pattern's record may hold: the checks when it runs and when it is compiled ask the same list. */
export const PATTERN_FIELDS = [
  'name',
  'cite',
  'consts',
  'params',
  'tables',
  'mask',
  'score',
  'sinkLogit',
  'forward',
] as const

/** The public words of the language, re-exported: what a pattern file may import. */

export { pattern, isPattern, INDEX_FIELDS } from './pattern.ts'
export type {
  Consts,
  IndexField,
  IndexRecord,
  PairIndex,
  Params,
  Pattern,
  PatternFields,
  RowIndex,
  Tables,
} from './pattern.ts'
export { i32, f32, perHead } from './params.ts'
export type { Bounds, ParamSpec } from './params.ts'
export { table, AXES } from './tables.ts'
export type { Axis, Dim, TableOptions, TableSpec, TableView } from './tables.ts'
export { and, or, not, rename } from './combine.ts'
export { abs, clamp, floorDiv, hash, isPow2, log2Floor, max, min, mod, popcount } from './math.ts'
export { PatternError } from './messages.ts'

/** The public words of the language, re-exported: what a pattern file may import. */

export { pattern, isPattern } from './pattern.ts'
export type {
  Consts,
  ForwardInputs,
  PairIndex,
  Params,
  Pattern,
  PatternFields,
  PerHead,
  RowIndex,
  Tables,
} from './pattern.ts'
export { INDEX_FIELDS } from './record.ts'
export type { IndexField, IndexRecord } from './record.ts'
export { i32, f32, perHead } from './params.ts'
export type { Bounds, ParamSpec } from './params.ts'
export { elementTables, table, AXES } from './tables.ts'
export type { Axis, Dim, TableOptions, TableSpec, TableView } from './tables.ts'
export {
  blocks,
  chunks,
  clusters,
  residues,
  tokens,
  whole,
  windows,
  type Grouping,
} from './stages/groupings.ts'
export { rows, type ForwardTable, type Inputs, type RowsSpec } from './stages/inputs.ts'
export { channels, concat, linear, quantize, rope, slice, type Rows } from './stages/rows.ts'
export { argmax, dot, map, softmax, values, type DotOptions } from './stages/score-words.ts'
export type { Scores, UnitPair, Visible } from './stages/scores.ts'
export { pool } from './stages/pool.ts'
export { skew, unskew } from './stages/skew.ts'
export { topK, topP, where, type Amount, type TopKOptions, type TopPOptions } from './stages/choose.ts'
export { count, difference, intersect, union, within } from './stages/set-words.ts'
export type { Sel } from './stages/sets.ts'
export { range, split } from './stages/spans.ts'
export { argsort, permute, type Permutation } from './stages/order.ts'
export { attend, type AttendOptions } from './stages/attend.ts'
export type { Step } from './stages/trace.ts'
export { gated, merge } from './stages/merge.ts'
export type { Output, State } from './stages/state.ts'
export { reuse, type ReuseRule } from './stages/reuse.ts'
export type { Share } from './stages/call.ts'
export type { Grain, Order, Side, Unit, Units } from './stages/units.ts'
export { and, or, not, rename } from './combine.ts'
export { abs, clamp, floorDiv, hash, isPow2, log2Floor, max, min, mod, popcount } from './math.ts'
export { PatternError } from './messages.ts'

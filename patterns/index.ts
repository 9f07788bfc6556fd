/**
 * The library of patterns: each by its name; PATTERNS, the list that tests, command line and docs walk; and
 * SELECTIONS, the list of those that select by data.
 */

import type { Pattern } from '../dsl/index.ts'
import { aShape } from './a-shape.ts'
import { alibi } from './alibi.ts'
import { anchor } from './anchor.ts'
import { bigbird } from './bigbird.ts'
import { blasst } from './blasst.ts'
import { blockCausal } from './block-causal.ts'
import { causal } from './causal.ts'
import { dilatedWindow } from './dilated-window.ts'
import { documentStarts } from './document-starts.ts'
import { document } from './document.ts'
import { dsa } from './dsa.ts'
import { fixed } from './fixed.ts'
import { full } from './full.ts'
import { globalWindow } from './global-window.ts'
import { grid } from './grid.ts'
import { hisa } from './hisa.ts'
import { minference } from './minference.ts'
import { minferenceBlock } from './minference-block.ts'
import { minferenceVerticalSlash } from './minference-vertical-slash.ts'
import { moaSpan } from './moa-span.ts'
import { moba } from './moba.ts'
import { modality } from './modality.ts'
import { neighborhood1d } from './neighborhood-1d.ts'
import { neighborhood2d } from './neighborhood-2d.ts'
import { nsa } from './nsa.ts'
import { pbs } from './pbs.ts'
import { power } from './power.ts'
import { prefixLm } from './prefix-lm.ts'
import { quest } from './quest.ts'
import { relativeBias } from './relative-bias.ts'
import { s2Shard } from './s2-shard.ts'
import { shiftedGroups } from './shifted-groups.ts'
import { sinkLogit } from './sink-logit.ts'
import { slidingTile3d } from './sliding-tile-3d.ts'
import { slidingWindow } from './sliding-window.ts'
import { softcap } from './softcap.ts'
import { streamingHeads } from './streaming-heads.ts'
import { strided } from './strided.ts'
import { triShape } from './tri-shape.ts'
import { xattention } from './xattention.ts'

export {
  aShape,
  alibi,
  anchor,
  bigbird,
  blasst,
  blockCausal,
  causal,
  dilatedWindow,
  document,
  documentStarts,
  dsa,
  fixed,
  full,
  globalWindow,
  grid,
  hisa,
  minference,
  minferenceBlock,
  minferenceVerticalSlash,
  moaSpan,
  moba,
  modality,
  neighborhood1d,
  neighborhood2d,
  nsa,
  pbs,
  power,
  prefixLm,
  quest,
  relativeBias,
  s2Shard,
  shiftedGroups,
  sinkLogit,
  slidingTile3d,
  slidingWindow,
  softcap,
  streamingHeads,
  strided,
  triShape,
  xattention,
}
export { alibiSlopes } from './alibi.ts'
export { DENSE, LOCAL, NONE, STRIDED } from './modality.ts'
export {
  SELECTION_EXAMPLES,
  selectionInputs,
  type RowsData,
  type SelectionExample,
  type SelectionInputs,
} from './selection-examples.ts'
export { EXAMPLES, exampleParams, exampleTables, type Example, type ExampleSizes } from './examples.ts'

export interface LibraryEntry {
  readonly pattern: Pattern
  /** The pattern's source, relative to the package's root. */
  readonly file: string
}

/** Every pattern of the library, from the plain ones to the structured ones, in an order to read them in. */
export const PATTERNS: readonly LibraryEntry[] = [
  // Dense, and windows
  full,
  causal,
  slidingWindow,
  dilatedWindow,
  prefixLm,
  blockCausal,
  // Packed sequences
  document,
  documentStarts,
  // Sinks and recent tokens, some per head
  aShape,
  triShape,
  streamingHeads,
  moaSpan,
  // Strides and blocks of long-context transformers
  strided,
  fixed,
  globalWindow,
  bigbird,
  s2Shard,
  power,
  shiftedGroups,
  // Images, video and mixed modalities
  grid,
  modality,
  neighborhood1d,
  neighborhood2d,
  slidingTile3d,
  // Changes of the logits
  alibi,
  softcap,
  relativeBias,
  sinkLogit,
].map((pattern: Pattern) => ({ pattern, file: `patterns/${pattern.name}.ts` }))

/** The patterns that choose by what queries and keys say, from single blocks to several softmaxes. */
export const SELECTIONS: readonly LibraryEntry[] = [
  // Blocks of prefill
  minferenceBlock,
  xattention,
  // Columns, diagonals, stripes and sorted keys
  minferenceVerticalSlash,
  anchor,
  pbs,
  // Heads of several kinds
  minference,
  // Blocks and pages of single queries
  moba,
  quest,
  // Learned indexers
  dsa,
  hisa,
  // Several softmaxes, and decisions inside one
  nsa,
  blasst,
].map((pattern: Pattern) => ({ pattern, file: `patterns/${pattern.name}.ts` }))

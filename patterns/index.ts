/**
 * The library of patterns: each by its name, and PATTERNS, the list that tests, command line and docs walk.
 */

import type { Pattern } from '../dsl/index.ts'
import { aShape } from './a-shape.ts'
import { alibi } from './alibi.ts'
import { bigbird } from './bigbird.ts'
import { blockCausal } from './block-causal.ts'
import { causal } from './causal.ts'
import { dilatedWindow } from './dilated-window.ts'
import { documentStarts } from './document-starts.ts'
import { document } from './document.ts'
import { fixed } from './fixed.ts'
import { full } from './full.ts'
import { globalWindow } from './global-window.ts'
import { grid } from './grid.ts'
import { moaSpan } from './moa-span.ts'
import { modality } from './modality.ts'
import { neighborhood1d } from './neighborhood-1d.ts'
import { neighborhood2d } from './neighborhood-2d.ts'
import { power } from './power.ts'
import { prefixLm } from './prefix-lm.ts'
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

export {
  aShape,
  alibi,
  bigbird,
  blockCausal,
  causal,
  dilatedWindow,
  document,
  documentStarts,
  fixed,
  full,
  globalWindow,
  grid,
  moaSpan,
  modality,
  neighborhood1d,
  neighborhood2d,
  power,
  prefixLm,
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
}
export { alibiSlopes } from './alibi.ts'
export { DENSE, LOCAL, NONE, STRIDED } from './modality.ts'
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

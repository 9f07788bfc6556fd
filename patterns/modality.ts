/** modality: a rule for each pair of token classes. */

import { i32, mod, pattern, table } from '../dsl/index.ts'

/** The pair of classes does not meet. */
export const NONE = 0
/** Sinks and recent keys, as in a-shape. */
export const LOCAL = 1
/** The same, and every stride-th key back from the query, as in strided. */
export const STRIDED = 2
/** Every key before the query. */
export const DENSE = 3

/**
 * Modality boundaries (MMInference, 2025): tokens have classes, such as text, image, video and audio, and
 * head h treats a query of class a and a key of class b by `rule` [h, a, b]: NONE, LOCAL, STRIDED or DENSE. A
 * Q-boundary head has one rule per query class (its rows are constant), a 2D-boundary head one per pair, a
 * no-boundary head one for all. MMInference permutes tokens by class for speed; causality is that of the
 * original positions, as here. `modality` holds one class a token, 0 to `classes` - 1 (a class beyond that
 * meets nothing); `window`, `sinkTokens` and `stride` count tokens.
 */
export const modality = pattern({
  name: 'modality',
  cite: 'MMInference, arXiv:2504.16083',
  consts: { classes: 4 },
  params: {
    window: i32(1024, { min: 1, max: 2 ** 24 }),
    sinkTokens: i32(128, { min: 0, max: 2 ** 24 }),
    stride: i32(64, { min: 1, max: 2 ** 20 }),
  },
  tables: {
    modality: table('i32', ['batch', 'kvLen'], { min: 0, max: 1023 }),
    rule: table('i32', ['head', 'classes', 'classes'], { min: NONE, max: DENSE }),
  },
  mask: ({ batch, head, q, kv, window, sinkTokens, stride, modality, rule }) => {
    const kind = rule.at(head, modality.at(batch, q), modality.at(batch, kv))
    const isLocal = q - kv < window || kv < sinkTokens
    const isStrided = mod(q - kv, stride) === 0
    return kv <= q && (kind === DENSE || (kind >= LOCAL && isLocal) || (kind === STRIDED && isStrided))
  },
})

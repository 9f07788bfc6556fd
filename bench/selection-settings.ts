/** Settings that patterns with a `forward` are timed at: params, lengths and heads; a share of the keys each where random data has one. */

import type { ParamValues } from '../runtime/params.ts'

export interface TimedSetting {
  /** In words, for the row; empty: the pattern's own. */
  readonly about: string
  readonly params: ParamValues
  /** Rising; rows are of those from the plan's `shown` on, the others say what the longer ones would take. */
  readonly lengths: readonly number[]
  readonly heads?: { readonly qHeads: number; readonly kvHeads: number }
  /** One query row, as a step of decoding has. */
  readonly decodes?: true
}

const UP_TO_32K = [4096, 8192, 32768]
const UP_TO_128K = [...UP_TO_32K, 131072]

/**
 * On random data a distance keeps 127 keys of a block of queries, where there are as many before it; 163 of them are near ones that are
 * forced. Scores of pooled blocks are even, so that a share of their mass is that share of the blocks.
 */
export const TIMED_SETTINGS: Readonly<Record<string, readonly TimedSetting[]>> = {
  'minference-vertical-slash': [
    { about: '1000 keys, 170 distances', params: { vertical: 1000, slash: 170 }, lengths: UP_TO_32K },
    { about: '1000 keys, 280 distances', params: { vertical: 1000, slash: 280 }, lengths: UP_TO_128K },
    {
      about: '4 heads, 1000 keys, 280 distances',
      params: { vertical: 1000, slash: 280 },
      lengths: [32768, 131072, 1048576],
      heads: { qHeads: 4, kvHeads: 4 },
    },
  ],
  'minference-block': [{ about: '100 blocks', params: { k: 100 }, lengths: UP_TO_128K }],
  minference: [
    {
      about: 'heads of three kinds',
      params: {
        vertical: kinds(1000, 0, 0),
        slash: kinds(280, 0, 0),
        k: kinds(0, 100, 0),
        window: kinds(0, 0, 4096),
        sinkTokens: kinds(0, 0, 1024),
      },
      lengths: UP_TO_128K,
    },
  ],
  xattention: [{ about: 'mass 0.1', params: { mass: 0.1 }, lengths: UP_TO_128K }],
  anchor: [{ about: 'theta 2.77', params: { theta: 2.77 }, lengths: UP_TO_128K }],
  pbs: [0.1, 0.3].map((mass) => ({ about: `mass ${mass}`, params: { mass }, lengths: UP_TO_128K })),
  moba: [{ about: '', params: {}, lengths: UP_TO_32K }],
  nsa: [
    { about: '64/4 heads', params: {}, lengths: [...UP_TO_32K, 65536], heads: { qHeads: 64, kvHeads: 4 } },
  ],
  dsa: [{ about: '', params: {}, lengths: UP_TO_32K }],
  hisa: [{ about: '', params: {}, lengths: UP_TO_128K }],
  quest: [{ about: 'one query row', params: {}, lengths: UP_TO_128K, decodes: true }],
}

/** Of 32 heads: 20 of the first kind, 8 of the second, 4 of the third. */
function kinds(...values: readonly [number, number, number]): readonly number[] {
  return Array.from({ length: 32 }, (_, head) => values[head < 20 ? 0 : head < 28 ? 1 : 2])
}

/** Dense attention stands beside all. */
export const DENSE_LENGTHS = UP_TO_128K

/** What each pattern of the library is judged with: a text's length and a model's heads in; consts and params that keep about a quarter of the pairs, or why it cannot be judged, out. */

import { alibiSlopes } from '../../patterns/alibi.ts'
import type { ParamValues } from '../../runtime/params.ts'
import type { TableData } from '../../runtime/tables.ts'

export interface TextSizes {
  readonly length: number
  readonly qHeads: number
  readonly kvHeads: number
}

export interface Setting {
  /** In words. */
  readonly about: string
  readonly consts?: Readonly<Record<string, number>>
  readonly params?: ParamValues
  /** Keys behind a query that it surely sees: facts within it are near. By default a quarter of the text. */
  readonly near?: number
}

export interface Judged {
  readonly at: (sizes: TextSizes) => Setting
  readonly tables?: (sizes: TextSizes) => Readonly<Record<string, TableData>>
  /** Queries that choose for themselves: the oracle may be asked of them alone. */
  readonly local?: (consts: Readonly<Record<string, number>>) => number
}

export type Entry = Judged | { readonly refused: string }

const AHEAD: Entry = {
  refused:
    'lets a query see keys behind it: a causal model was not trained for that, and the answers would be seen',
}
const learned = (what: string): Entry => ({
  refused: `reads ${what}, which only a model that was trained with it has`,
})

/** Of n keys or blocks, so many for each row that a quarter of the causal pairs is kept: 2x - x^2 = 1/4. */
const quarter = (n: number): number => Math.max(1, Math.floor(0.134 * n))
const part = (length: number, of: number, least = 1): number => Math.max(least, Math.floor(length / of))
/** A block of tokens of which a text has about 32, at least 16 and at most 64. */
const blockOf = (length: number): number =>
  Math.min(64, Math.max(16, 2 ** Math.round(Math.log2(length / 32))))
const byHead = (heads: number, values: readonly number[]): number[] =>
  Array.from({ length: heads }, (_, head) => values[head % values.length]!)
const whole = (block: number, length: number): number => Math.ceil(length / block)

export const SETTINGS: Readonly<Record<string, Entry>> = {
  full: AHEAD,
  causal: { at: ({ length }) => ({ about: 'dense: every key before a query', near: length }) },
  'sliding-window': {
    at: ({ length }) => {
      const window = quarter(length)
      return { about: 'the last eighth of the text', params: { window }, near: window }
    },
  },
  'dilated-window': {
    at: ({ length }) => ({
      about: 'every fourth of the last quarter',
      params: { window: part(length, 16), dilation: 4 },
    }),
  },
  'prefix-lm': AHEAD,
  'block-causal': AHEAD,
  document: { refused: 'reads which document a token is of: the texts are one each' },
  'document-starts': { refused: 'reads where documents start: the texts are one each' },
  'a-shape': {
    at: ({ length }) => {
      const sinkTokens = part(length, 64, 4)
      const window = Math.max(1, quarter(length) - sinkTokens)
      return { about: 'the first keys and the last eighth', params: { window, sinkTokens }, near: window }
    },
  },
  'tri-shape': {
    at: ({ length }) => {
      const window = part(length, 40)
      const params = { window, sinkTokens: part(length, 64, 4), lastRows: part(length, 16, 96) }
      return { about: 'as a-shape, and the last rows, which have the questions, dense', params, near: window }
    },
  },
  'streaming-heads': {
    at: ({ length, qHeads, kvHeads }) => {
      const dense = Math.max(1, Math.floor(kvHeads / 4))
      const group = qHeads / kvHeads
      const retrieval = Array.from({ length: qHeads }, (_, h) => Number(Math.floor(h / group) < dense))
      const recent = part(length, 32)
      return {
        about: `${dense} of ${kvHeads} kv heads dense, found by no search, the others streaming`,
        params: { retrieval, recent, sinkTokens: 4 },
        near: recent,
      }
    },
  },
  'moa-span': {
    at: ({ length, qHeads }) => ({
      about: 'spans of a 32nd to an eighth, by head',
      params: {
        alpha: byHead(qHeads, [0]),
        beta: byHead(qHeads, [1 / 32, 1 / 16, 1 / 8, 1 / 8]),
        sinkTokens: 4,
      },
      near: Math.max(128, part(length, 32)),
    }),
  },
  strided: {
    at: ({ length }) => {
      const stride = part(length, 16)
      return { about: 'the last 16th, and one key in as many', params: { stride }, near: stride }
    },
  },
  fixed: {
    at: () => ({
      about: 'its own 64 tokens, and the last 8 of all others',
      params: { stride: 64, summary: 8, groups: 1 },
      near: 1,
    }),
  },
  'global-window': AHEAD,
  bigbird: AHEAD,
  's2-shard': {
    at: ({ length }) => ({
      about: 'three near blocks of 64, and one block in eight, other ones for each kv head',
      params: { block: part(length, 64), local: 3, stride: 8, offset: 0, spread: 1, denseHeads: 0 },
      near: 2 * part(length, 64),
    }),
  },
  power: {
    at: ({ length }) => {
      const params = {
        block: part(length, 128, 4),
        window: part(length, 16),
        sinkTokens: part(length, 128, 4),
      }
      return { about: 'a window, and blocks at distances of powers of two', params, near: params.window }
    },
  },
  'shifted-groups': {
    at: ({ length }) => ({
      about: 'its own quarter, of half the heads a shifted one',
      params: { group: Math.max(1, Math.floor(length / 4.2)) },
      near: 1,
    }),
  },
  grid: {
    at: ({ length, qHeads }) => ({
      about: 'one key and one query in 16, other ones for each head, and a window',
      params: { stride: 16, phase: byHead(qHeads, [0, 5, 10, 15]), window: part(length, 20) },
      near: part(length, 20),
    }),
  },
  modality: { refused: 'reads which tokens are of an image: the texts have none' },
  'neighborhood-1d': AHEAD,
  'neighborhood-2d': { refused: 'is of the points of an image: the texts have none' },
  'sliding-tile-3d': { refused: 'is of the points of a video: the texts have none' },
  alibi: {
    at: ({ length }) => ({
      about: 'dense, with distances in the logits that the model was not trained with',
      near: length,
    }),
    tables: ({ qHeads }) => ({ slope: alibiSlopes(qHeads) }),
  },
  softcap: {
    at: ({ length }) => ({
      about: 'dense, logits capped as Gemma 2 has them',
      params: { cap: 50 },
      near: length,
    }),
  },
  'relative-bias': learned('a table of biases'),
  'sink-logit': learned('a sink logit of each head'),

  'minference-block': {
    at: ({ length }) => {
      const block = blockOf(length)
      const k = quarter(whole(block, length))
      return { about: `${k} blocks of ${block}`, consts: { block }, params: { k } }
    },
  },
  xattention: {
    at: ({ length }) => {
      const block = blockOf(length)
      return {
        about: `blocks of ${block} that hold 0.45 of the mass`,
        consts: { block, step: 8 },
        params: { mass: 0.45 },
      }
    },
  },
  'minference-vertical-slash': {
    at: ({ length }) => {
      const consts = verticalSlash(length)
      const params = { vertical: part(length, 16), slash: consts.nearest + part(length, 256) }
      return { about: `${params.vertical} keys, ${params.slash} distances`, consts, params }
    },
  },
  anchor: {
    at: ({ length }) => {
      const block = blockOf(length) / 2
      const consts = { block, group: 4 * block }
      // The best of more keys lies farther above the others.
      const theta = Math.min(5.4, 3.8 + 0.6 * Math.log2(length / 1024))
      return { about: `its own ${consts.group} tokens, and keys near the best`, consts, params: { theta } }
    },
    local: ({ group }) => group!,
  },
  pbs: {
    at: ({ length }) => {
      const block = blockOf(length) / 2
      const consts = { block, segment: 2 * block }
      return {
        about: `sorted blocks of ${block} that hold 0.4 of the mass`,
        consts,
        params: { mass: 0.4 },
      }
    },
  },
  minference: {
    at: ({ length, qHeads }) => {
      const consts = verticalSlash(length)
      const kinds = (values: readonly [slashes: number, blocks: number, shape: number]) =>
        byHead(qHeads, [values[0], values[1], values[0], values[2]])
      return {
        about: 'of four heads two of columns and distances, one of blocks, one A-shape, found by no search',
        consts,
        params: {
          vertical: kinds([part(length, 16), 0, 0]),
          slash: kinds([consts.nearest + part(length, 256), 0, 0]),
          k: kinds([0, quarter(whole(consts.block, length)), 0]),
          window: kinds([0, 0, part(length, 9)]),
          sinkTokens: kinds([0, 0, part(length, 64, 4)]),
        },
      }
    },
  },
  moba: {
    at: ({ length }) => {
      const block = blockOf(length)
      const k = quarter(whole(block, length))
      return { about: `${k} blocks of ${block} for each query`, consts: { block }, params: { k } }
    },
  },
  quest: {
    at: ({ length }) => {
      const pages = quarter(whole(16, length))
      return { about: `${pages} pages of 16 for each query`, consts: { page: 16 }, params: { pages } }
    },
  },
  dsa: learned("an indexer's queries, keys and weights"),
  hisa: learned("an indexer's queries, keys and weights"),
  nsa: learned('maps that compress keys and values, and gates'),
  blasst: {
    at: () => ({
      about: 'tiles of 32 whose best weight is below a hundredth of the best so far are left out',
      consts: { tileQ: 32, tileKv: 32 },
      params: { lambda: 0.01 },
    }),
    local: ({ tileQ }) => tileQ!,
  },
}

/** Distances are drawn for blocks of queries, so blocks are small where texts are short. */
function verticalSlash(length: number) {
  return { block: Math.min(64, part(length, 64, 8)), last: 64, firstKeys: 4, nearest: part(length, 64, 8) }
}

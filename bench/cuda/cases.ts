/** What the CUDA suite measures, as data: sizes, patterns with their params and tables, peers, and what ours must reach. */

import { hash } from '../../dsl/index.ts'
import type { Skeleton } from '../../codegen/cuda/manifest.ts'

export type Peer = 'cuDNN' | 'FlashAttention-2' | 'FlexAttention'

/** A table as runs of one value: [value, how often]. Its last dimension is the keys; it has one batch entry. */
export type Runs = readonly (readonly [value: number, count: number])[]

export function expand(runs: Runs): Int32Array {
  const values = new Int32Array(runs.reduce((sum, [, count]) => sum + count, 0))
  let at = 0
  for (const [value, count] of runs) values.fill(value, at, (at += count))
  return values
}

export type Goal =
  /** At least this often as fast as the peer. */
  | { readonly kind: 'peer'; readonly peer: Peer; readonly least: number }
  /** TFLOP/s on pairs of visited tiles, or on kept pairs, as a share of that of the case named. */
  | { readonly kind: 'visited rate' | 'kept rate'; readonly of: string; readonly least: number }
  /** Time above the launch floor as a share of the case named, against the share of the bytes touched; at most this. */
  | { readonly kind: 'bytes'; readonly of: string; readonly most: number }

/** One kernel of ours that a case times. */
export interface Ours {
  readonly pattern: string
  /** Forced; the loader's own choice if it is left out. */
  readonly skeleton?: Skeleton
  readonly params?: Readonly<Record<string, number | readonly number[]>>
  readonly tables?: Readonly<Record<string, Runs>>
  /** Params that leave next to nothing to do: the time of a launch, measured beside it. */
  readonly floor?: Readonly<Record<string, number>>
  readonly goals?: readonly Goal[]
}

export interface CudaCase {
  readonly name: string
  readonly batch: number
  readonly qHeads: number
  readonly kvHeads: number
  readonly qLen: number
  readonly kvLen: number
  readonly headDim: number
  readonly peers: readonly Peer[]
  /** Several kernels of one case are timed beside the same peers. */
  readonly ours: readonly Ours[]
  /** Why the figure is to be read with care. */
  readonly note?: string
}

const SIZES = { batch: 1, qHeads: 32, kvHeads: 8, headDim: 128 } as const
const K = 1024

interface Rest {
  readonly peers?: readonly Peer[]
  readonly headDim?: number
  readonly note?: string
}

const prefill = (name: string, length: number, ours: readonly Ours[], rest: Rest = {}): CudaCase => ({
  ...SIZES,
  name: `${name}, N ${length / K}k`,
  qLen: length,
  kvLen: length,
  peers: [],
  ours,
  ...rest,
})

const decode = (
  name: string,
  batch: number,
  length: number,
  ours: Ours,
  peers: readonly Peer[],
): CudaCase => ({
  ...SIZES,
  name: `decode, ${name}, B ${batch}, S ${length / K}k`,
  batch,
  qLen: 1,
  kvLen: length,
  peers,
  ours: [ours],
})

/** A factor of the fastest dense kernel's rate; its case comes first, so that the rate is known. */
const DENSE = 'causal, N 128k'
const ofPeer = (peer: Peer, least: number): Goal => ({ kind: 'peer', peer, least })
const ofDense = (least: number): Goal => ({ kind: 'visited rate', of: DENSE, least })
const ofDensePairs = (least: number): Goal => ({ kind: 'kept rate', of: DENSE, least })

const ALL: readonly Peer[] = ['cuDNN', 'FlashAttention-2', 'FlexAttention']
const FLEX: readonly Peer[] = ['FlexAttention']

/** Cuts `length` tokens into `count` runs of random lengths, none empty, the same ones at every call. */
export function documents(length: number, count: number): readonly number[] {
  const starts = new Set([0])
  for (let i = 0; starts.size < count; i++) starts.add(hash(length, count, i) % length)
  return [...starts].sort((a, b) => a - b)
}

const runsOf = (starts: readonly number[], length: number, valueOf: (i: number) => number): Runs =>
  starts.map((start, i) => [valueOf(i), (starts[i + 1] ?? length) - start])

const dense = (length: number, ampere: boolean): CudaCase =>
  prefill(
    'causal',
    length,
    [
      { pattern: 'causal', goals: [ofPeer('cuDNN', 0.97)] },
      ...(ampere
        ? [
            {
              pattern: 'causal',
              skeleton: 'ampere',
              goals: [ofPeer('FlashAttention-2', 1)],
            } satisfies Ours,
          ]
        : []),
    ],
    { peers: ALL },
  )

const STARTS = documents(32 * K, 16)
const PACKED = 32 * K
/** Every second kv head, with its query heads, is dense. */
const RETRIEVAL = Array.from({ length: SIZES.qHeads }, (_, head) => Math.floor(head / 4) % 2)

/** In the order of running: what other cases are compared with comes first, what matters least comes last. */
export const CASES: readonly CudaCase[] = [
  dense(128 * K, false),
  dense(32 * K, true),
  dense(8 * K, true),
  prefill('full', 32 * K, [{ pattern: 'full', goals: [ofPeer('cuDNN', 0.97)] }], {
    peers: ['cuDNN', 'FlashAttention-2'],
  }),
  ...[64, 256].map((headDim) =>
    prefill(`causal, d ${headDim}`, 16 * K, [{ pattern: 'causal', goals: [ofPeer('cuDNN', 0.95)] }], {
      headDim,
      peers: ['cuDNN', 'FlashAttention-2'],
    }),
  ),
  ...[
    { sinkTokens: 128, window: 1024 },
    { sinkTokens: 1024, window: 4096 },
  ].map((params) =>
    prefill(
      `a-shape ${params.sinkTokens} + ${params.window}`,
      128 * K,
      [{ pattern: 'a-shape', params, goals: [ofDense(0.95)] }],
      { peers: FLEX },
    ),
  ),
  prefill(
    'sliding-window 1024',
    32 * K,
    [{ pattern: 'sliding-window', params: { window: 1024 }, goals: [ofPeer('FlexAttention', 1.5)] }],
    { peers: FLEX },
  ),
  prefill(
    `causal documents, ${STARTS.length} of random length`,
    PACKED,
    [
      {
        pattern: 'document-starts',
        tables: { docStart: runsOf(STARTS, PACKED, (i) => STARTS[i]!) },
        goals: [ofPeer('FlexAttention', 1.6)],
      },
      { pattern: 'document', tables: { docId: runsOf(STARTS, PACKED, (i) => i) } },
    ],
    { peers: FLEX },
  ),
  decode('dense', 1, 128 * K, { pattern: 'causal', goals: [ofPeer('cuDNN', 1)] }, [
    'cuDNN',
    'FlashAttention-2',
  ]),
  decode('dense', 16, 32 * K, { pattern: 'causal', goals: [ofPeer('cuDNN', 1)] }, [
    'cuDNN',
    'FlashAttention-2',
  ]),
  ...[16, 1].map((batch) =>
    decode(
      'a-shape 128 + 1024',
      batch,
      32 * K,
      {
        pattern: 'a-shape',
        params: { sinkTokens: 128, window: 1024 },
        floor: { sinkTokens: 0, window: 1 },
        goals: batch === 16 ? [{ kind: 'bytes', of: 'decode, dense, B 16, S 32k', most: 1.3 }] : [],
      },
      [],
    ),
  ),
  prefill(
    'power',
    128 * K,
    [{ pattern: 'power', params: { block: 64, window: 256, sinkTokens: 64 }, goals: [ofDense(0.85)] }],
    { peers: FLEX },
  ),
  prefill(
    'streaming-heads, half of the heads',
    128 * K,
    [
      {
        pattern: 'streaming-heads',
        params: { retrieval: RETRIEVAL, recent: 256, sinkTokens: 64 },
        goals: [ofDense(0.85)],
      },
    ],
    { peers: FLEX },
  ),
  prefill(
    's2-shard',
    128 * K,
    [
      {
        pattern: 's2-shard',
        params: { block: 64, local: 16, stride: 16, offset: 0, spread: 1, denseHeads: 0 },
        goals: [ofDense(0.85)],
      },
    ],
    { peers: FLEX },
  ),
  prefill(
    'fixed, stride 2048, summary 128',
    128 * K,
    [{ pattern: 'fixed', params: { stride: 2048, summary: 128, groups: 1 }, goals: [ofDense(0.85)] }],
    { peers: FLEX },
  ),
  prefill(
    'fixed, stride 128, summary 8',
    128 * K,
    [{ pattern: 'fixed', params: { stride: 128, summary: 8, groups: 1 }, goals: [ofDense(0.85)] }],
    { note: 'every tile holds a summary column' },
  ),
  prefill('dilated-window 512, dilation 4', 128 * K, [
    { pattern: 'dilated-window', params: { window: 512, dilation: 4 }, goals: [ofDensePairs(0.5)] },
  ]),
  prefill('strided 128', 128 * K, [
    { pattern: 'strided', params: { stride: 128 }, goals: [ofDensePairs(0.5)] },
  ]),
]

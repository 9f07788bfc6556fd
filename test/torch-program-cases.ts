/** Calls of programs for the PyTorch package's tests: a method in; its artefact and calls with the oracle's output, in the files of torch-cases.ts, out. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { emitCuda } from '../codegen/cuda/emit.ts'
import { SELECTIONS } from '../patterns/index.ts'
import { selectionInputs } from '../patterns/selection-examples.ts'
import { bfloatArray } from '../runtime/bfloat.ts'
import { halfArray } from '../runtime/half.ts'
import { resolveLengths, type Length } from '../runtime/lengths.ts'
import { plain16, reference, type ReferencePattern } from '../runtime/reference.ts'
import { randomTensor } from '../runtime/testing/cases.ts'
import { compilePattern } from '../runtime/testing/subject.ts'
import type { Tensor } from '../runtime/tensor.ts'
import { BUILT, Pieces } from './torch-pieces.ts'

type Numbers = Readonly<Record<string, number>>
type ParamNumbers = Readonly<Record<string, number | readonly number[]>>

interface Method {
  readonly consts: Numbers
  readonly params: ParamNumbers
  readonly short?: boolean
}

/** Consts and params under which a few hundred tokens show what a method does: mostly those that it has by itself. */
const METHODS: Readonly<Record<string, Method>> = {
  'minference-block': { consts: {}, params: { k: [1, 2, 3, 4] } },
  xattention: { consts: { block: 64 }, params: { mass: [0.3, 0.5, 0.7, 0.9] } },
  'minference-vertical-slash': {
    consts: {},
    params: { vertical: [40, 60, 35, 80], slash: [110, 150, 120, 101] },
  },
  anchor: { consts: { block: 64, group: 128 }, params: { theta: 2 } },
  pbs: { consts: { block: 64, segment: 128 }, params: { mass: 0.6 } },
  minference: {
    consts: {},
    params: {
      vertical: [40, 0, 0, 35],
      slash: [120, 0, 0, 110],
      k: [0, 3, 0, 0],
      window: [0, 0, 90, 0],
      sinkTokens: [0, 0, 20, 0],
    },
  },
  moba: { consts: { block: 64 }, params: { k: 2 } },
  quest: { consts: {}, params: { pages: 7 } },
  dsa: { consts: {}, params: { k: 12 }, short: true },
  hisa: { consts: { block: 8 }, params: { coarse: 3, k: 12 }, short: true },
  nsa: { consts: { size: 8, step: 4, block: 64 }, params: { n: 4, window: 70 } },
  blasst: { consts: { tileQ: 64, tileKv: 64 }, params: { lambda: 0.25 } },
}

export const METHOD_CASES: readonly string[] = Object.keys(METHODS)

interface Sizes {
  readonly batch: number
  readonly qLen: number
  readonly kvLen: number
  readonly lengths?: readonly Length[]
}

/** A prompt; a chunk behind keys; and prompts of a batch of which one is padded on the left, the other on the right. */
const CALLS: readonly Sizes[] = callsOf(260, 30)
/** Where quantized scores tie: of few keys the last that is chosen and the first that is not are far enough apart. */
const SHORT: readonly Sizes[] = callsOf(75, 9)

function callsOf(length: number, padding: number): readonly Sizes[] {
  const [chunk, each] = [Math.floor(length / 5), Math.floor(length / 2)]
  const real = each - padding
  return [
    { batch: 1, qLen: length, kvLen: length },
    { batch: 1, qLen: chunk, kvLen: length - padding },
    {
      batch: 2,
      qLen: each,
      kvLen: each,
      lengths: [
        { qRow: padding, kvStart: padding },
        { qLen: real, kvLen: real },
      ],
    },
  ]
}

const HEADS = { qHeads: 4, kvHeads: 2 } as const
/** Writes one method's files. */
export function writeProgramCases(name: string, folder: string, cases: number, seed: number): void {
  const { pattern, file } = SELECTIONS.find((s) => s.pattern.name === name)!
  const { consts, params, short = false } = METHODS[name]!
  const pieces = new Pieces()
  const made = { ...pattern, consts: { ...pattern.consts, ...consts } } as unknown as ReferencePattern
  const calls = (short ? SHORT : CALLS)
    .slice(0, cases)
    .map((sizes, i) => record(name, made, sizes, params, pieces, seed + i))
  mkdirSync(folder, { recursive: true })
  const path = (end: string): string => join(folder, `${name}${end}`)
  writeFileSync(path('.json'), JSON.stringify(emitCuda(compilePattern(pattern, { file, consts }), BUILT)))
  writeFileSync(path('.cases.json'), JSON.stringify({ pattern: name, calls }))
  writeFileSync(path('.bin'), pieces.bytes())
}

function record(
  name: string,
  pattern: ReferencePattern,
  { batch, qLen, kvLen, lengths }: Sizes,
  params: ParamNumbers,
  pieces: Pieces,
  seed: number,
): unknown {
  const { qHeads, kvHeads } = HEADS
  const headDim = BUILT.headDims[seed % BUILT.headDims.length]!
  const dtype = seed % 3 === 1 ? 'bf16' : 'f16'
  // Every other call has as many index heads as have products of their own.
  const indexer = seed % 2 === 1 ? { indexer: { heads: 24, channels: 16 } } : {}
  const sizes = { batch, qHeads, kvHeads, qLen, kvLen, headDim, ...indexer }
  const { tables, rows } = selectionInputs(name, sizes, seed + 1)
  const tensor = (heads: number, length: number, part: number): Tensor => {
    const { data, shape } = randomTensor([batch, heads, length, headDim], 'f32', seed * 4 + part)
    const numbers = data as Float32Array
    return dtype === 'bf16'
      ? { data: bfloatArray(numbers), shape, dtype }
      : { data: halfArray(numbers), shape }
  }
  const call = {
    q: tensor(qHeads, qLen, 1),
    k: tensor(kvHeads, kvLen, 2),
    v: tensor(kvHeads, kvLen, 3),
    params: params as Readonly<Record<string, number | number[]>>,
    tables,
    rows,
    ...(lengths ? { lengths } : {}),
  }
  const oracle = reference(pattern, call)
  const plain = plain16(pattern, call)
  const { valueMax, logitMax } = oracle
  const shape = { batch, qHeads, kvHeads, qRows: qLen, kvRows: kvLen, headDim, valueDim: headDim }
  const slack = 4 * 2 ** -23 * (1 + logitMax)
  return {
    ...shape,
    ...{ dtype, layout: seed % 2 === 0 ? 'bhld' : 'blhd', seed, params },
    scale: null,
    lengths: lengths ? resolveLengths(lengths, shape) : null,
    tables: Object.fromEntries(
      Object.entries(tables).map(([of, data]) => [
        of,
        { at: pieces.add(data), count: data.length, type: data instanceof Int32Array ? 'i32' : 'f32' },
      ]),
    ),
    rows: Object.fromEntries(
      Object.entries(rows).map(([of, { data, shape: axes }]) => [of, { at: pieces.add(data), shape: axes }]),
    ),
    mask: null,
    oracle: {
      out: pieces.add(Float32Array.from(oracle.out)),
      lse: pieces.add(Float32Array.from(oracle.lse)),
      valueMax,
      logitMax,
      // At most twice the error of plain attention of the same precision.
      allowed: {
        out: 2 * furthest(plain.out, oracle.out) + slack * valueMax,
        lse: 2 * furthest(plain.lse, oracle.lse) + slack,
      },
    },
  }
}

/** The greatest difference of numbers that are finite. */
function furthest(a: Float64Array, b: Float64Array): number {
  return a.reduce(
    (most, x, i) => (Number.isFinite(x - b[i]!) ? Math.max(most, Math.abs(x - b[i]!)) : most),
    0,
  )
}

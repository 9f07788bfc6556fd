/**
 * `npx tsx test/torch-cases.ts FOLDER [--cases N] [--seed S]`: what the PyTorch package's tests on a GPU compare with. Writes
 * into FOLDER an artefact per library pattern and, beside it, random calls of it with the pairs that the pattern keeps, asked
 * of the pattern itself; where it changes the logits, the oracle's output too. Tensors are named by their seed.
 *
 * Of programs the oracle's output is what they compare with; they have three calls at most.
 *
 * `NAME.cases.json`: the calls; `NAME.bin`: their tables, masks (a bit a pair, [batch, head, row, kv row], first bit lowest)
 * and outputs, each found by its byte offset.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import { emitCuda } from '../codegen/cuda/emit.ts'
import type { Pattern } from '../dsl/index.ts'
import { exampleParams, exampleTables, EXAMPLES } from '../patterns/examples.ts'
import { PATTERNS } from '../patterns/index.ts'
import { roundHalf } from '../runtime/half.ts'
import { resolveLengths } from '../runtime/lengths.ts'
import { reference } from '../runtime/reference.ts'
import { drawCase, randomTensor, type AttentionCase } from '../runtime/testing/cases.ts'
import { drawSeeded } from '../runtime/testing/draw.ts'
import { compilePattern } from '../runtime/testing/subject.ts'
import { BUILT, Pieces } from './torch-pieces.ts'
import { METHOD_CASES, writeProgramCases } from './torch-program-cases.ts'
import type { Tensor } from '../runtime/tensor.ts'

/** Head dims and value dims of the calls: the kernels' own, smaller ones, odd ones, unequal ones. */
const DIMS = [
  [64, 64],
  [128, 128],
  [40, 40],
  [64, 128],
  [59, 33],
  [100, 72],
] as const

/** The nearest number with eight significant bits, ties to even. */
function roundBrain(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer)
  bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000
  return new Float32Array(bits.buffer)[0]!
}

function rounded({ data, shape }: Tensor, round: (x: number) => number): Tensor {
  return { data: Float32Array.from(data as Float32Array, round), shape }
}

/** Random sizes and lengths; every third call has few enough rows to be decoded. */
function drawn(pattern: Pattern, seed: number): AttentionCase {
  const small = { headDim: 8, valueDim: 8, dtype: 'f32', tile: { q: 128, kv: 128 } } as const
  for (let at = seed * 1000; ; at++) {
    const { value } = drawSeeded((d) => drawCase(d, pattern, small), at)
    const { qRows, kvRows } = value
    if (qRows < 1 || kvRows < 1) continue
    if (seed % 3 === 0 ? qRows <= 16 && kvRows > 60 : qRows > 30 && kvRows > 60) return value
  }
}

/** The pattern's example: long enough for all kinds of tiles, every row real. */
function example({ name }: Pattern, seed: number): AttentionCase {
  const { heads, kvHeads, qLen, kvLen } = EXAMPLES[name]!
  const sizes = { batch: 1, qHeads: heads, kvHeads, qRows: qLen, kvRows: kvLen, headDim: 8, valueDim: 8 }
  return {
    ...sizes,
    dtype: 'f32',
    layout: 'bhld',
    scale: undefined,
    params: exampleParams(name, heads),
    tables: exampleTables(name, { ...sizes, qLen, kvLen }, seed),
    lengths: undefined,
    seed,
  }
}

function record(
  pattern: Pattern,
  c: AttentionCase,
  dims: readonly [number, number],
  pieces: Pieces,
): unknown {
  const [headDim, valueDim] = dims
  const { batch, qHeads, kvHeads, qRows, kvRows, params, tables, layout, seed, scale } = c
  const plain = pattern.score === null && pattern.sinkLogit === null
  const dtype = seed % 2 === 0 ? 'bf16' : 'f16'
  const tensor = (heads: number, rows: number, dim: number, part: number): Tensor =>
    rounded(
      randomTensor([batch, heads, rows, dim], 'f32', seed * 4 + part),
      dtype === 'f16' ? roundHalf : roundBrain,
    )
  // Where the mask alone is asked for, tensors of one column do.
  const [d, v] = plain ? [1, 1] : [headDim, valueDim]
  const call = {
    q: tensor(qHeads, qRows, d, 1),
    k: tensor(kvHeads, kvRows, d, 2),
    v: tensor(kvHeads, kvRows, v, 3),
    params,
    tables,
    scale: scale ?? headDim ** -0.5,
    ...(c.lengths ? { lengths: c.lengths } : {}),
  }
  const { keeps, out, lse, valueMax, logitMax } = reference(pattern, call)
  const bits = new Uint8Array(Math.ceil((batch * qHeads * qRows * kvRows) / 8))
  let at = 0
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < qHeads; h++)
      for (let r = 0; r < qRows; r++)
        for (let j = 0; j < kvRows; j++, at++) if (keeps(b, h, r, j)) bits[at >> 3]! |= 1 << (at & 7)
  return {
    ...{ batch, qHeads, kvHeads, qRows, kvRows, headDim, valueDim, dtype, layout, seed, params },
    scale: scale ?? null,
    lengths: c.lengths ? resolveLengths(c.lengths, c) : null,
    tables: Object.fromEntries(
      Object.entries(tables).map(([name, data]) => [
        name,
        { at: pieces.add(data), count: data.length, type: data instanceof Int32Array ? 'i32' : 'f32' },
      ]),
    ),
    mask: pieces.add(bits),
    oracle: plain
      ? null
      : {
          out: pieces.add(Float32Array.from(out)),
          lse: pieces.add(Float32Array.from(lse)),
          valueMax,
          logitMax,
        },
  }
}

/** Writes one pattern's files. */
export function writeCases(pattern: Pattern, folder: string, cases: number, seed: number): void {
  const pieces = new Pieces()
  const calls = Array.from({ length: cases }, (_, i) => {
    const c = i === 1 ? example(pattern, seed) : drawn(pattern, seed + i)
    // Another start for each pattern, so that few patterns and few calls meet all dims.
    const dims = DIMS[(seed + i + pattern.name.length) % DIMS.length]!
    return record(pattern, { ...c, seed: seed + i }, dims, pieces)
  })
  mkdirSync(folder, { recursive: true })
  const file = (end: string): string => join(folder, `${pattern.name}${end}`)
  writeFileSync(file('.json'), JSON.stringify(emitCuda(compilePattern(pattern), BUILT)))
  writeFileSync(file('.cases.json'), JSON.stringify({ pattern: pattern.name, calls }))
  writeFileSync(file('.bin'), pieces.bytes())
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { cases: { type: 'string', default: '6' }, seed: { type: 'string', default: '0' } },
  })
  const folder = positionals[0] ?? 'out/torch-cases'
  const [cases, seed] = [Number(values.cases), Number(values.seed)]
  for (const { pattern } of PATTERNS) writeCases(pattern, folder, cases, seed)
  for (const name of METHOD_CASES) writeProgramCases(name, folder, cases, seed)
  console.log(`${PATTERNS.length + METHOD_CASES.length} patterns, ${cases} calls each: ${folder}`)
}

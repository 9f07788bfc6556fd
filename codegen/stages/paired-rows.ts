/**
 * Pools of halves that a call gives, over many units: a kernel of rows in; the entry whose threads have both halves of a word out. What
 * a thread does beside reading is most of its work; of few units there would be too few threads.
 */

import { isWord, type StageNode } from '../../compiler/stages/graph.ts'
import type { RowsKernel } from '../../compiler/stages/plan.ts'
import { rowsOf } from '../../compiler/stages/typing.ts'
import { add, at, fromU32, i32, lt, mul, op, quotient, toU32, u32, type Entry } from '../kernel.ts'
import { ALONE, tileAt } from './grid.ts'
import { knownDim } from './known-dims.ts'
import type { Cells } from './place.ts'
import { pooledRows } from './pooled-rows.ts'
import { inputRow, rowIndex } from './rows.ts'
import type { StageProblem } from './text.ts'

export interface Pairs {
  readonly pools: readonly StageNode<'poolRows'>[]
  readonly input: 'Q' | 'K' | 'V'
  readonly channels: number
}

/** A unit of a workgroup, and as many channels as its threads have. */
export const PAIRS_TILE = { q: 1, kv: 2 * ALONE } as const
export const LEAST_PAIRED = 512

/** Null: the kernel makes something else. */
export function pairsOf(
  problem: Pick<StageProblem, 'sizes' | 'headDim' | 'valueDim' | 'dtype'>,
  { node, also }: RowsKernel,
): Pairs | null {
  if (!isWord(node, 'poolRows') || node.arg.how === 'concat' || problem.dtype !== 'f16') return null
  const [source] = node.src as [StageNode]
  const input = isWord(source, 'input') ? (['Q', 'K', 'V'] as const).find((n) => n === source.arg.name) : null
  const channels = knownDim(problem, rowsOf(node).channels)
  if (!input || channels === null || channels % 2 !== 0) return null
  return { pools: [node, ...also], input, channels }
}

export function pairsEntry({ text: t }: Cells, { node, grid }: RowsKernel, pairs: Pairs): Entry {
  const { pools, input, channels } = pairs
  const targets = pools.map((n) => t.stored(t.find(n, 'rows')!))
  const { buffer } = t.input(input)
  const role = ({ Q: 'q', K: 'k', V: 'v' } as const)[input]
  const { block, of, base, firstRow, firstColumn } = tileAt(t, grid.share, i32(channels), PAIRS_TILE)
  const row = block.let('row', add(base, firstRow))
  const pair = block.let('pair', add(quotient(firstColumn, i32(2)), fromU32(op('u32', 'thread'))))
  block.if(lt(pair, i32(channels / 2)), (b) => {
    const made = pooledRows(t, b, pools, { axis: rowsOf(node).axis, place: row, of }, 2, (d, member) => {
      const begin = quotient(inputRow(t, role, of, member), u32(2))
      const word = d.let('word', at(buffer, add(begin, toU32(pair))))
      return [0, 1].map((half) => op('f32', 'unpackHalf', word, u32(half)))
    })
    const first = b.let('first', rowIndex(t, node, of, row, mul(pair, i32(2))))
    for (const [i, values] of made.entries())
      for (const [n, value] of values.entries()) b.set(at(targets[i]!, add(first, i32(n))), value)
  })
  return { name: 'run', threads: ALONE, body: block.stmts }
}

/** The table that documents show of a suite. */

import { expect, test } from 'vitest'
import type { Row } from '../../bench/results.ts'
import { suiteTable } from '../../bench/tables.ts'

const row: Row = {
  case: 'causal, N 128k',
  target: 'cuda d128-bf16-hopper',
  ours: { ms: 234.56, tflops: 600.1 },
  peer: { name: 'cuDNN', ms: 249.5, tflops: 564.3 },
  ratio: 1.064,
  tiles: { needed: 524800, visited: 524800 },
  limit: '0.97 x cuDNN',
  ok: true,
  more: { 'TFLOP/s on visited tiles': 600.6, 'spread %': 0.4 },
}

test('a row with a peer shows both rates, and what it promises', () => {
  const [head, rule, line] = suiteTable([row]).split('\n')
  expect(head).toBe(
    '| case | target | ms | TFLOP/s | peer | peer / ours | tiles needed | visited | TFLOP/s on visited tiles | spread % | limit |',
  )
  expect(rule).toBe('|---|---|---|---|---|---|---|---|---|---|---|')
  expect(line).toBe(
    '| causal, N 128k | cuda d128-bf16-hopper | 235 | 600 | cuDNN 250 ms, 564 TFLOP/s | 1.06 | 524800 | 524800 | 601 | 0.400 | 0.97 x cuDNN |',
  )
})

test('a promise that was missed says so, and columns that no row fills are left out', () => {
  const { case: name, target, ours, limit } = row
  const text = suiteTable([{ case: name, target, ours, limit: limit!, ok: false, note: 'a | b' }])
  expect(text).toContain('0.97 x cuDNN: missed')
  expect(text).not.toContain('peer')
  expect(text).toContain('a \\| b')
})

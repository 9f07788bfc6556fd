/** The share of pairs that a record of two query units keeps. */

import { expect, test } from 'vitest'
import type { CudaArtifact, CudaFaster } from '../../codegen/cuda/manifest.ts'
import { keptShare } from '../../bench/kept.ts'
import type { CudaDriver } from '../../runtime/cuda.ts'

const [FIRST, SECOND, BOTH] = [1, 2, 3]
const run = (first: number, length: number, owners: number) =>
  first + (length - 1) * 2 ** 24 + owners * 2 ** 30

const CAUSAL = (128 * 129) / 2
const OWN = (64 * 65) / 2

test.each<[about: string, words: readonly number[], pairs: number]>([
  ['all of both', [2, 0, 0, 0, run(0, 64, BOTH), run(64, 64, SECOND)], CAUSAL],
  ['the first unit', [1, 0, 0, 0, run(0, 64, FIRST)], OWN],
  ['keys of both, of the first, of the second', [0, 1, 2, 1, 0, 1, 2, 100], 128 + 63 + 62 + 28],
])('%s', (_, words, pairs) => {
  const driver = { copyOut: (to: Uint8Array) => to.set(new Uint8Array(Uint32Array.from(words).buffer)) }
  const call = { fields: ['list', 'listStride'].map((name, i) => ({ name, offset: 8 * i })) }
  const code = 'constexpr bool PAIRED = true;\nconstexpr int RECORD_Q = 128;'
  const block = new Uint8Array(16)
  new DataView(block.buffer).setInt32(8, words.length, true)
  const faster = { variant: { skeleton: 'gather', tile: { q: 128, kv: 64 }, units: 1, code } }
  const share = keptShare(driver as unknown as CudaDriver, { call } as unknown as CudaArtifact, {
    ...{ block, heads: 1, length: 128 },
    faster: faster as unknown as CudaFaster,
  })
  expect(share).toBeCloseTo(pairs / CAUSAL, 12)
})

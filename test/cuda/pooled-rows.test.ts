/** Pools of the same rows over the same units: one kernel sweeps for all of them, and each is what the words say. */

import { afterAll, expect, test } from 'vitest'
import type { CompiledPattern } from '../../compiler/index.ts'
import { emitCuda } from '../../codegen/index.ts'
import { loadCudaKernel } from '../../runtime/cuda.ts'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { kernelsOf } from '../../runtime/cuda/stored.ts'
import { evaluateJson } from '../../runtime/derived.ts'
import { randomTensor } from '../../runtime/testing/index.ts'
import { DSL, program } from '../helpers.ts'
import { brainDifference } from './brain-call.ts'

const driver = await openEmulation({ multiprocessors: 2 })
afterAll(() => driver.release())

/** @param pools of the keys, one beside the other */
const made = (pools: readonly string[]) =>
  program(`
    import { attend, blocks, concat, dot, pattern, pool, topK } from '${DSL}'
    export const program = pattern({
      name: 'pools',
      mask: ({ q, kv }) => kv <= q,
      forward: ({ Q, K, V }) => {
        const keys = concat(${pools.join(', ')})
        const queries = concat(${pools.map(() => 'Q').join(', ')})
        return attend(Q, K, V, topK(dot(queries, keys), 3))
      },
    })`)

const rowsOf = ({ stages }: CompiledPattern): string[][] =>
  stages!.steps.flatMap((s) =>
    s.kind === 'once' && s.kernel.kind === 'rows' ? [s.kernel.writes.map((b) => b.name.slice(0, 4))] : [],
  )

const ODD = '({ index }) => index % 3 !== 1'

test('are made together, with the same filter', { timeout: 120_000 }, async () => {
  const pools = ['max', 'min', 'mean'].map((how) => `pool(K, blocks(8), '${how}', ${ODD})`)
  const { pattern, compiled } = made(pools)
  expect(rowsOf(compiled)).toEqual([['rows', 'rows', 'rows']])
  const kernel = loadCudaKernel(emitCuda(compiled, { headDims: [8], dtypes: ['bf16'] }), driver)
  const tensor = (heads: number, rows: number, seed: number) => randomTensor([1, heads, rows, 8], 'f32', seed)
  const call = { q: tensor(4, 11, 1), k: tensor(2, 61, 2), v: tensor(2, 61, 3) }
  expect(await brainDifference(kernel, pattern, call)).toBeNull()
  kernel.release()
})

test('of many units have two channels a thread', { timeout: 120_000 }, async () => {
  const { pattern, compiled } = made(
    ['max', 'min', 'mean'].map((how) => `pool(K, blocks(2), '${how}', ${ODD})`),
  )
  const artifact = emitCuda(compiled, { headDims: [20], dtypes: ['bf16'] })
  const [rows] = kernelsOf(artifact.stages!.variants[0]!)
  const takes = (kvLen: number) => evaluateJson(rows!.forms[0]!.when!, { vars: { kvLen }, param: () => 0 })
  expect(rows!.forms.map((f) => f.id)).toEqual(['pairs'])
  expect([1022, 1023].map(takes)).toEqual([false, true])
  const kernel = loadCudaKernel(artifact, driver)
  const tensor = (heads: number, length: number, seed: number) =>
    randomTensor([1, heads, length, 20], 'f32', seed)
  const call = { q: tensor(4, 3, 1), k: tensor(2, 1041, 2), v: tensor(2, 1041, 3) }
  expect(await brainDifference(kernel, pattern, call)).toBeNull()
  kernel.release()
})

test('are not over other units, or of what another filter lets pass', () => {
  const { compiled } = made([
    "pool(K, blocks(8), 'max')",
    `pool(K, blocks(8), 'min', ${ODD})`,
    "pool(pool(K, blocks(4), 'mean'), blocks(8), 'max')",
  ])
  expect(rowsOf(compiled)).toEqual([['rows'], ['rows'], ['rows'], ['rows']])
})

/** Patterns that choose by the data, end to end on a device, against the oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { attention, reference } from '../../runtime/index.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { Bench, elements, maxDifference, openTestDevice } from '../helpers.ts'
import { stageCase, type StageSizes } from './stage-cases.ts'

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

const METHODS = [
  'minference-block',
  'moba',
  'quest',
  'minference-vertical-slash',
  'anchor',
  'xattention',
  'dsa',
  'hisa',
  'pbs',
  'nsa',
  'blasst',
]

const BASE: StageSizes = { batch: 1, qHeads: 4, kvHeads: 2, qLen: 75, kvLen: 75, headDim: 8 }

async function difference(name: string, sizes: StageSizes, seed: number): Promise<string | null> {
  const { pattern, compiled, call } = stageCase(name, sizes, seed)
  const kernel = bench!.kernel(compiled, { headDim: sizes.headDim, capabilities: ['portable'] })
  const got = await attention(kernel, call)
  const oracle = reference(pattern, call)
  // A gated sum has no log-sum-exp, by which rows are told to be within what kernels promise.
  if (oracle.lse.some(Number.isNaN))
    return maxDifference(elements(got.out), oracle.out) < 1e-5 ? null : 'the output'
  return compareWithOracle(pattern, call, got, oracle).difference
}

describe.skipIf(!opened)('against the oracle', () => {
  test.each(METHODS)('%s', { timeout: 120_000 }, async (name) => {
    expect(await difference(name, BASE, 1)).toBeNull()
    expect(await difference(name, { ...BASE, qLen: 1, kvLen: 66 }, 2)).toBeNull()
    const batch = name === 'nsa' ? 1 : 2
    expect(await difference(name, { ...BASE, qLen: 21, kvLen: 70, batch }, 3)).toBeNull()
  })
})

/** Short rows on WebGPU: keys chosen by several teams of a workgroup, and by whole workgroups, are the oracle's. */

import { afterAll, describe, expect, test } from 'vitest'
import { attention } from '../../runtime/index.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { Bench, openTestDevice } from '../helpers.ts'
import { stageCase } from './stage-cases.ts'
import { SHORT_CHOICES, SHORT_HEAD_DIM, shortCalls, shortProgram } from './short-rows.ts'

const opened = await openTestDevice()
const bench = opened ? new Bench(opened) : null
afterAll(() => bench?.close())

describe.skipIf(!opened)('keys', () => {
  test.each(SHORT_CHOICES)('by %s', { timeout: 120_000 }, async (choice) => {
    const { pattern, compiled } = shortProgram(choice)
    const kernel = bench!.kernel(compiled, {
      headDim: SHORT_HEAD_DIM,
      dtype: 'f32',
      capabilities: ['portable'],
    })
    for (const call of shortCalls(choice, [256])) {
      const { difference } = compareWithOracle(pattern, call, await attention(kernel, call))
      expect(difference, JSON.stringify([call.q.shape, call.k.shape, call.params])).toBeNull()
    }
  })

  test('by a softmax, whose statistics are of such rows', { timeout: 120_000 }, async () => {
    const name = 'minference-vertical-slash'
    const sizes = (kvLen: number) => ({ batch: 1, qHeads: 2, kvHeads: 1, qLen: 5, kvLen, headDim: 8 })
    const { compiled, pattern } = stageCase(name, sizes(256), 1)
    const kernel = bench!.kernel(compiled, { headDim: 8, dtype: 'f32', capabilities: ['portable'] })
    for (const kvLen of [30, 256, 257]) {
      const { call } = stageCase(name, sizes(kvLen), kvLen)
      const { difference } = compareWithOracle(pattern, call, await attention(kernel, call))
      expect(difference, String(kvLen)).toBeNull()
    }
  })
})

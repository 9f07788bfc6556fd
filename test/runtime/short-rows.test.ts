/** Short rows on WebGPU: keys chosen by several teams of a workgroup, and by whole workgroups, are the oracle's. */

import { afterAll, describe, expect, test } from 'vitest'
import { attention } from '../../runtime/index.ts'
import { compareWithOracle } from '../../runtime/testing/compare.ts'
import { Bench, openTestDevice } from '../helpers.ts'
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
})

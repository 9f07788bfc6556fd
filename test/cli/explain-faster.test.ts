/** The forms of kernels as `heddle explain` has them: those that calls of the explained sizes take, and what the others hang on. */

import { expect, test } from 'vitest'
import { fasterKernels } from '../../runtime/cli/explain-faster.ts'
import { stageCase } from '../runtime/stage-cases.ts'

const { compiled } = stageCase('dsa', { batch: 1, qHeads: 2, kvHeads: 1, qLen: 4, kvLen: 64, headDim: 16 }, 1)

const formsAt = async (qLen: number, kvLen: number): Promise<string[]> => {
  const heads = { batch: 0, batches: 1, head: 0, qHeads: 2, kvHeads: 1, headDim: 16 }
  const lines = await fasterKernels(compiled, { ...heads, qLen, kvLen, params: { k: 8 }, tables: {} })
  return lines.flatMap(({ kernel, variant }) => {
    const form = /^form (.*)$/.exec(variant)?.[1]
    return form === undefined ? [] : [`${kernel.replace(/\d+$/, '')} ${form}`]
  })
}

const PACKED =
  'scores packed, where 8 <= indexHeads and indexHeads <= 16 and qIndex.channels mod 8 = 0 and 1 <= qIndex.channels and qIndex.channels <= 128'
const SHARERS =
  'scores sharers, where 16 <= indexHeads and indexHeads <= 64 and qIndex.channels mod 8 = 0 and 1 <= qIndex.channels and qIndex.channels <= 128'

test('what is not known of a call is said, what its lengths refuse is not', async () => {
  expect(await formsAt(9, 300)).toEqual([PACKED, SHARERS, 'scores wgmma', 'select cells1024'])
  expect(await formsAt(8, 64)).toEqual([
    'scores few, where qLen <= 8 and qIndex.channels <= 128',
    PACKED,
    SHARERS,
    'scores wgmma',
    'select cells64',
  ])
})

test('longer rows than forms have are left to the text for all', async () => {
  expect(await formsAt(300, 2000)).not.toContainEqual(expect.stringContaining('select'))
})

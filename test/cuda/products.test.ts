/** Products on the matrix units: tiles that are cut, chunks that begin within a block, vectors of any width, both types of halves. */

import { afterAll, describe, expect, test } from 'vitest'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { difference, METHODS, SIZES } from './product-cases.ts'

const driver = await openEmulation({ multiprocessors: 2, order: 7 })
afterAll(() => driver.release())

describe('against the oracle', () => {
  test.each(METHODS)('%s over several tiles', { timeout: 300_000 }, async (name) => {
    expect(await difference(driver, name, 'bf16', SIZES)).toBeNull()
  })

  test('IEEE halves, whose eleven bits are two parts beside an f32', { timeout: 300_000 }, async () => {
    for (const name of ['moba', 'xattention', 'anchor'])
      expect(await difference(driver, name, 'f16', { ...SIZES, qLen: 37, kvLen: 133 }), name).toBeNull()
  })

  test('vectors that are not in eights', { timeout: 300_000 }, async () => {
    for (const name of ['moba', 'xattention', 'minference-block'])
      expect(
        await difference(driver, name, 'bf16', { ...SIZES, qLen: 37, kvLen: 133, headDim: 20 }),
        name,
      ).toBeNull()
  })
})

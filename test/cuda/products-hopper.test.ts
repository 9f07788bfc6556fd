/** The same products by warpgroups, where a device has them, and softmaxes by blocks in their epilogue. */

import { afterAll, expect, test } from 'vitest'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { difference, SIZES, testProducts } from './product-cases.ts'

const driver = await openEmulation({ multiprocessors: 2, order: 7, capability: { major: 9, minor: 0 } })
afterAll(() => driver.release())
testProducts(driver)

test('softmaxes by blocks of 4, 8, 16 and 32 patches', { timeout: 300_000 }, async () => {
  for (const block of [8, 16, 32, 64])
    expect(
      await difference(driver, 'xattention', 'bf16', { ...SIZES, qLen: 75 }, { block, step: 2 }),
      `${block}`,
    ).toBeNull()
})

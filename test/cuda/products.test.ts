/** Products on the matrix units of any device that has them. */

import { afterAll } from 'vitest'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { testProducts } from './product-cases.ts'

const driver = await openEmulation({ multiprocessors: 2, order: 7 })
afterAll(() => driver.release())
testProducts(driver)

/** The parts of every method's attends own each pair once. */

import { describe, expect, test } from 'vitest'
import { METHODS, runOf } from './methods.ts'
import { strayPair } from './one-part.ts'

describe.each(METHODS)('%s', (method) => {
  test.each([0, 2])('meets each pair in one part, seed %d', async (seed) => {
    expect(strayPair(await runOf(method, seed))).toBe(null)
  })
})

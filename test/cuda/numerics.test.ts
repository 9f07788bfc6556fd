/** Every pattern of the library through the CUDA skeletons on the emulation, on random calls, against the f64 oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { openEmulation } from '../../runtime/cuda/emulated.ts'
import { PATTERNS } from '../../patterns/index.ts'
import { cudaRunner } from '../../runtime/testing/cuda.ts'
import { examinePattern } from '../../runtime/testing/index.ts'
import { RUNS_PER_VARIANT } from '../../runtime/testing/runner.ts'

const driver = await openEmulation({ multiprocessors: 4 })
afterAll(() => driver.release())

/** Building a text costs as much as some fifty cases, and each pattern has one of each skeleton: another dim for each. */
const RUNS = 12

// Concurrent: while one pattern's kernel runs, the next one's is compiled.
describe.concurrent.each(['ampere', 'decode'] as const)('%s', (skeleton) => {
  const runner = cudaRunner(driver, { skeletons: [skeleton] })
  const library = PATTERNS.map(({ pattern }, i) => [pattern.name, pattern, i] as const)

  test.each(library)('%s', { timeout: 300_000 }, async (_, pattern, i) => {
    const seed = (i + (skeleton === 'decode' ? library.length : 0)) * RUNS_PER_VARIANT
    const { failures, counterExample } = await examinePattern(pattern, { runner, runs: RUNS, seed })
    expect(counterExample?.text ?? null).toBeNull()
    expect(failures).toBe(0)
  })
})

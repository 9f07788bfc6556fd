/** A skeleton's numerics in CI: every pattern of the library on the emulation, on random calls, against the f64 oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { PATTERNS } from '../../patterns/index.ts'
import { openEmulation, type EmulationOptions } from '../../runtime/cuda/emulated.ts'
import { cudaRunner } from '../../runtime/testing/cuda.ts'
import { examinePattern } from '../../runtime/testing/index.ts'
import { RUNS_PER_VARIANT } from '../../runtime/testing/runner.ts'
import { compiled } from '../helpers.ts'

const SKELETONS = ['ampere', 'decode', 'hopper', 'residues'] as const

/** Building a text costs as much as some fifty cases, and each pattern has one of each skeleton: another dim for each. */
const RUNS = 12

export async function testNumerics(
  skeleton: (typeof SKELETONS)[number],
  options: EmulationOptions,
): Promise<void> {
  const driver = await openEmulation(options)
  afterAll(() => driver.release())
  const runner = cudaRunner(driver, { skeletons: [skeleton] })
  const library = PATTERNS.flatMap(({ pattern }, i) =>
    skeleton === 'residues' && compiled(pattern).plan.residues === null
      ? []
      : [[pattern.name, pattern, i] as const],
  )

  // Concurrent: while one pattern's kernel runs, the next one's is compiled.
  describe.concurrent(`the ${skeleton} skeleton`, () => {
    test.each(library)('%s', { timeout: 300_000 }, async (_, pattern, i) => {
      const seed = (i + SKELETONS.indexOf(skeleton) * library.length) * RUNS_PER_VARIANT
      const { failures, counterExample } = await examinePattern(pattern, { runner, runs: RUNS, seed })
      expect(counterExample?.text ?? null).toBeNull()
      expect(failures).toBe(0)
    })
  })
}

/** Every pattern of the library on a device, on random calls, against the f64 oracle. */

import { afterAll, describe, expect, test } from 'vitest'
import { CAPABILITY_NAMES } from '../codegen/index.ts'
import type { Pattern } from '../dsl/index.ts'
import { aShape, causal, document, PATTERNS, sinkLogit } from '../patterns/index.ts'
import { examinePattern, type CheckOptions } from '../runtime/testing/index.ts'
import { RUNS_PER_VARIANT } from '../runtime/testing/runner.ts'
import { powersOf, unmetNeed } from '../runtime/variant.ts'
import { Bench, compiled, openTestDevice } from './helpers.ts'

const opened = await openTestDevice()
afterAll(() => opened?.close())

async function expectRight(pattern: Pattern, options: CheckOptions): Promise<void> {
  const { failures, counterExample } = await examinePattern(pattern, { ...options, adapter: opened! })
  expect(counterExample?.text ?? null).toBeNull()
  expect(failures).toBe(0)
}

describe.skipIf(!opened)('the library against dense attention', () => {
  // One variant a pattern and type, another one for each, so that the library meets all head dims.
  const library = PATTERNS.map(({ pattern }, i) => [pattern.name, pattern, i] as const)

  describe.each([
    ['f32', 0],
    ['f16', PATTERNS.length],
  ] as const)('%s', (dtype, first) => {
    test.each(library)('%s', { timeout: 120_000 }, async (_, pattern, i) => {
      await expectRight(pattern, { runs: RUNS_PER_VARIANT, seed: (first + i) * RUNS_PER_VARIANT, dtype })
    })
  })
})

describe.skipIf(!opened)('other capabilities of the target', () => {
  // Closed-form ranges, a list of tiles, and a sink: the parts of the skeleton.
  const patterns = [aShape, document, sinkLogit]

  test.for(CAPABILITY_NAMES.filter((name) => name !== 'portable'))(
    '%s',
    { timeout: 120_000 },
    async (name, { skip }) => {
      const [variant] = new Bench(opened!).artifact(compiled(causal), {
        dtype: 'f16',
        capabilities: [name],
      }).variants
      const need = unmetNeed(variant!, powersOf(opened!.device))
      skip(need !== null, need ?? undefined)
      for (const [i, pattern] of patterns.entries()) {
        await expectRight(pattern, { runs: 8, seed: i * RUNS_PER_VARIANT, capabilities: [name] })
      }
    },
  )
})
